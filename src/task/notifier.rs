//! The notifier: tells whoever listens that an event is done.
//!
//! Owns: the bounded way out of the lanes, and a connection of its own. What it is given was settled before: it takes receipts, and
//! only settling makes one. A few notices need not take that way: they go out together with the acknowledgement, right behind it.
//! Never: a notice before its event is settled; work that waits for a notice; a notice sent twice, or before an older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use crate::broker::acks::Telling;
use crate::broker::connect::Connector;
use crate::broker::error::BrokerError;
use crate::broker::messages::Messages;
use crate::broker::pubsub::Publisher;
use crate::broker::settle::Receipt;
use crate::domain::notice::{Form, Notice, Stamp};
use crate::supervisor::TaskError;
use crate::supervisor::backoff::Backoff;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{NotificationsDropped, NotificationsFailed, NotificationsSent, NotifierBack};

/// So many notices may wait. What comes on top is dropped: they are for people, who do not want to hear of minutes ago.
const QUEUE: usize = 16_384;
/// So many batches may wait; the bound that matters is the one above.
const BATCHES: usize = 4096;
/// The most messages that are sent in one go.
const TOGETHER: usize = 512;
/// So many at most go out together with the acknowledgement, for its answer waits until the server has sent them.
const ALONG: usize = 16;
/// While more comes than can be told, the server is left to others for so many times as long as each telling took: what it does for those
/// who watch, it cannot do for the work.
const REST: u32 = 4;
/// Where nobody hears anything, it is made sure so often that this is still the primary.
const ASK_EVERY: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The near end of the way out: the lanes put notices in and never wait.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// `None` where nobody is to be told anything.
    way: Option<Arc<Way>>,
}

#[derive(Debug)]
struct Way {
    notices: mpsc::Sender<Vec<Notice>>,
    state: Arc<State>,
    form: Form,
    telemetry: Telemetry,
}

/// The far end of the way out.
#[derive(Debug, Clone)]
pub struct Notices {
    notices: Arc<Mutex<mpsc::Receiver<Vec<Notice>>>>,
    state: Arc<State>,
}

/// What both ends know.
#[derive(Debug, Default)]
struct State {
    /// Notices that wait or are being sent.
    waiting: AtomicUsize,
    /// Whether sending has failed and has not worked since.
    away: AtomicBool,
    /// Whether there was no room for some since this was last asked.
    overflowed: AtomicBool,
}

/// Publishes notices, one batch after the other.
#[derive(Debug)]
pub struct Notifier {
    form: Form,
    connector: Arc<Connector>,
    telemetry: Telemetry,
    publisher: Option<Publisher>,
    opened_before: bool,
    asked: Instant,
    messages: Messages,
    stamp: Stamp,
    backoff: Backoff,
}

impl Outbox {
    /// A way out that leads nowhere: nobody is to be told anything.
    pub fn closed() -> Self {
        Self { way: None }
    }

    /// A way out for notices of this form, and its far end. The far end ends when all copies of this are gone.
    pub fn open(form: Form, telemetry: Telemetry) -> (Self, Notices) {
        let (sender, receiver) = mpsc::channel(BATCHES);
        let state = Arc::new(State::default());
        let notices = Notices { notices: Arc::new(Mutex::new(receiver)), state: Arc::clone(&state) };
        (Self { way: Some(Arc::new(Way { notices: sender, state, form, telemetry })) }, notices)
    }

    /// Whether there is anybody to tell.
    pub fn is_open(&self) -> bool {
        self.way.is_some()
    }

    /// `notices` as messages that may go out together with the acknowledgement of their events; `None` where they are to take the long
    /// way: many would hold up the acknowledgement, older ones that still wait would be overtaken, and what cannot be sent is no
    /// business of an acknowledgement.
    pub fn along(&self, notices: &[Notice]) -> Option<Messages> {
        let way = self.way.as_ref()?;
        let is_clear = way.state.waiting.load(Ordering::Acquire) == 0 && !way.state.away.load(Ordering::Acquire);
        (is_clear && (1..=ALONG).contains(&notices.len())).then(|| {
            let (mut messages, mut stamp) = (Messages::new(), Stamp::default());
            write(&mut messages, &way.form, &mut stamp, notices);
            messages
        })
    }

    /// Puts in what was settled, unless it was told with that. What does not fit is dropped and counted.
    pub fn put(&self, receipt: Receipt<Vec<Notice>>) {
        let (notices, telling) = receipt.into_inner();
        let Some(way) = self.way.as_ref().filter(|_| !notices.is_empty()) else { return };
        match telling {
            Telling::Told { receivers } => {
                way.telemetry.emit(NotificationsSent { count: notices.len(), receivers });
                return;
            }
            Telling::Unknown => return self.lost(notices.len()),
            Telling::Untold => {}
        }
        way.queue(notices);
    }

    /// So many were sent with an acknowledgement that was not answered: they may have been heard, so they are not told again.
    pub fn lost(&self, count: usize) {
        if let Some(way) = self.way.as_ref().filter(|_| count > 0) {
            way.telemetry.emit(NotificationsFailed {
                count,
                first: false,
                reason: "the acknowledgement was not answered",
            });
        }
    }
}

impl Way {
    fn queue(&self, mut notices: Vec<Notice>) {
        let room = QUEUE.saturating_sub(self.state.waiting.load(Ordering::Acquire));
        let mut dropped = notices.len().saturating_sub(room);
        notices.truncate(room);
        if !notices.is_empty() {
            let count = notices.len();
            self.state.waiting.fetch_add(count, Ordering::AcqRel);
            if self.notices.try_send(notices).is_err() {
                self.state.waiting.fetch_sub(count, Ordering::AcqRel);
                dropped += count;
            }
        }
        if dropped > 0 {
            self.state.overflowed.store(true, Ordering::Release);
            self.telemetry.emit(NotificationsDropped { count: dropped });
        }
    }
}

impl State {
    /// For how long the server is left to others after a telling that took so long; `None` where nothing was dropped meanwhile.
    fn rest(&self, took: Duration) -> Option<Duration> {
        self.overflowed.swap(false, Ordering::AcqRel).then(|| took * REST)
    }
}

impl Notifier {
    /// A notifier, not connected yet.
    pub fn new(form: Form, connector: Arc<Connector>, telemetry: Telemetry) -> Self {
        Self {
            form,
            connector,
            telemetry,
            publisher: None,
            opened_before: false,
            asked: Instant::now(),
            messages: Messages::new(),
            stamp: Stamp::default(),
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
        }
    }

    /// Publishes what comes out of `notices`, until the lanes are done.
    pub async fn run(mut self, notices: Notices, shutdown: Shutdown, heartbeat: Heartbeat) -> Result<(), TaskError> {
        let mut receiver = notices.notices.lock().await;
        loop {
            let batch = tokio::select! {
                () = shutdown.abandoning().cancelled() => return Ok(()),
                batch = heartbeat.while_waiting(receiver.recv()) => batch,
            };
            let Some(mut batch) = batch else { return Ok(()) };
            while batch.len() < TOGETHER
                && let Ok(more) = receiver.try_recv()
            {
                batch.extend(more);
            }
            for chunk in batch.chunks(TOGETHER) {
                let began = Instant::now();
                let told = self.tell(chunk, &notices.state, &shutdown).await;
                // Not before: what is settled meanwhile must not overtake them.
                notices.state.waiting.fetch_sub(chunk.len(), Ordering::AcqRel);
                let pause = if told { notices.state.rest(began.elapsed()) } else { Some(self.backoff.failed()) };
                if let Some(pause) = pause {
                    // At a stop there is none: the last ones are tried once.
                    heartbeat.while_waiting(shutdown.pause(pause)).await;
                }
            }
        }
    }

    /// Publishes some notices and says what came of it. Whether that worked.
    async fn tell(&mut self, notices: &[Notice], state: &State, shutdown: &Shutdown) -> bool {
        let count = notices.len();
        // A stop does not wait for what does not work.
        if state.away.load(Ordering::Acquire) && shutdown.stopping().is_cancelled() {
            self.telemetry.emit(NotificationsFailed { count, first: false, reason: "stopping" });
            return true;
        }
        match self.publish(notices).await {
            Ok(receivers) => {
                self.backoff.succeeded();
                if state.away.swap(false, Ordering::AcqRel) {
                    self.telemetry.emit(NotifierBack);
                }
                self.telemetry.emit(NotificationsSent { count, receivers });
                true
            }
            Err(error) => {
                let first = !state.away.swap(true, Ordering::AcqRel);
                self.telemetry.emit(NotificationsFailed { count, first, reason: &error.reason() });
                false
            }
        }
    }

    /// Publishes some notices, once: whether a failed attempt was heard is not known, and hearing twice is worse than not at all.
    /// Returns how many subscribers were given one, summed over all of them.
    async fn publish(&mut self, notices: &[Notice]) -> Result<u64, BrokerError> {
        let mut publisher = match self.publisher.take().map(|mut publisher| (publisher.is_gone(), publisher)) {
            Some((false, publisher)) => publisher,
            _ => self.connect().await?,
        };
        self.messages.clear();
        write(&mut self.messages, &self.form, &mut self.stamp, notices);
        let receivers = publisher.publish(&self.messages).await?;
        // Nobody may be there to hear it, or this is no primary any more, which answers the same.
        if receivers == 0 && self.asked.elapsed() >= ASK_EVERY {
            publisher.make_sure_of_primary().await?;
            self.asked = Instant::now();
        }
        self.publisher = Some(publisher);
        Ok(receivers)
    }

    async fn connect(&mut self) -> Result<Publisher, BrokerError> {
        let publisher = Publisher::open(&self.connector).await?;
        if std::mem::replace(&mut self.opened_before, true) {
            self.connector.reconnected("publisher");
        }
        self.asked = Instant::now();
        Ok(publisher)
    }
}

fn write(messages: &mut Messages, form: &Form, stamp: &mut Stamp, notices: &[Notice]) {
    for notice in notices {
        messages.push(|channel, text| {
            form.write_channel(channel, notice);
            form.write_text(text, stamp, notice);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Action;
    use crate::domain::id::EntryId;

    fn notices(count: usize) -> Vec<Notice> {
        let notice = |seq| Notice {
            user: "u".into(),
            order: "o".into(),
            action: Action::Paid,
            amount: None,
            standing: None,
            entry: EntryId::new(1, seq),
            at_ms: 0,
        };
        (0..count as u64).map(notice).collect()
    }

    fn open() -> (Outbox, Notices) {
        let template = |text: &str| text.parse().unwrap();
        Outbox::open(Form { channel: template("{userId}"), kind: template("{action}") }, Telemetry::new().unwrap())
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_then_the_next_telling_is_followed_by_a_rest() {
        let (outbox, far) = open();
        let (way, took) = (outbox.way.unwrap(), Duration::from_millis(3));
        way.queue(notices(QUEUE - 1));
        assert_eq!(
            (far.state.waiting.load(Ordering::Acquire), far.state.rest(took)),
            (QUEUE - 1, None),
            "nothing was dropped"
        );
        way.queue(notices(3));
        assert_eq!(far.state.waiting.load(Ordering::Acquire), QUEUE);
        assert_eq!(way.telemetry.render().matches("orderd_notifications_total{outcome=\"dropped\"} 2").count(), 1);
        assert_eq!((far.state.rest(took), far.state.rest(took)), (Some(took * REST), None), "one rest for each");
    }

    #[test]
    fn a_few_go_along_with_their_acknowledgement_unless_they_would_hold_it_up_or_overtake_others() {
        let (outbox, far) = open();
        let along = |count| outbox.along(&notices(count)).map(|messages| messages.count());
        assert_eq!([0, 1, ALONG, ALONG + 1].map(along), [None, Some(1), Some(ALONG), None]);
        far.state.waiting.store(1, Ordering::Release);
        assert_eq!(along(1), None, "an older one waits or is being sent");
        far.state.waiting.store(0, Ordering::Release);
        far.state.away.store(true, Ordering::Release);
        assert_eq!(along(1), None, "nothing can be sent");
        assert!(Outbox::closed().along(&notices(1)).is_none());
    }
}
