//! The notifier: tells whoever listens that an event is done.
//!
//! Owns: the bounded way out of the lanes, and a connection of its own. What it is given was settled before: it takes receipts, and
//! only settling makes one.
//! Never: a notice before its event is settled; work that waits for a notice; a notice sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use crate::broker::connect::Connector;
use crate::broker::error::BrokerError;
use crate::broker::pubsub::Publisher;
use crate::broker::settle::Receipt;
use crate::domain::notice::{Form, Notice};
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
/// Where nobody hears anything, it is made sure so often that this is still the primary.
const ASK_EVERY: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The near end of the way out: the lanes put notices in and never wait.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// `None` where nobody is to be told anything.
    way: Option<Way>,
}

#[derive(Debug, Clone)]
struct Way {
    notices: mpsc::Sender<Vec<Notice>>,
    waiting: Arc<AtomicUsize>,
    telemetry: Telemetry,
}

/// The far end of the way out.
#[derive(Debug, Clone)]
pub struct Notices {
    notices: Arc<Mutex<mpsc::Receiver<Vec<Notice>>>>,
    waiting: Arc<AtomicUsize>,
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
    away: bool,
    backoff: Backoff,
}

impl Outbox {
    /// A way out that leads nowhere: nobody is to be told anything.
    pub fn closed() -> Self {
        Self { way: None }
    }

    /// A way out, and its far end. The far end ends when all copies of this are gone.
    pub fn open(telemetry: Telemetry) -> (Self, Notices) {
        let (sender, receiver) = mpsc::channel(BATCHES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let notices = Notices { notices: Arc::new(Mutex::new(receiver)), waiting: Arc::clone(&waiting) };
        (Self { way: Some(Way { notices: sender, waiting, telemetry }) }, notices)
    }

    /// Whether there is anybody to tell.
    pub fn is_open(&self) -> bool {
        self.way.is_some()
    }

    /// Puts in what was settled. What does not fit is dropped and counted.
    pub fn put(&self, receipt: Receipt<Vec<Notice>>) {
        let mut notices = receipt.into_inner();
        let Some(way) = self.way.as_ref().filter(|_| !notices.is_empty()) else { return };
        let room = QUEUE.saturating_sub(way.waiting.load(Ordering::Acquire));
        let mut dropped = notices.len().saturating_sub(room);
        notices.truncate(room);
        if !notices.is_empty() {
            let count = notices.len();
            way.waiting.fetch_add(count, Ordering::AcqRel);
            if way.notices.try_send(notices).is_err() {
                way.waiting.fetch_sub(count, Ordering::AcqRel);
                dropped += count;
            }
        }
        if dropped > 0 {
            way.telemetry.emit(NotificationsDropped { count: dropped });
        }
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
            away: false,
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
            notices.waiting.fetch_sub(batch.len(), Ordering::AcqRel);
            for chunk in batch.chunks(TOGETHER) {
                // A stop does not wait for what does not work.
                if self.away && shutdown.stopping().is_cancelled() {
                    let count = chunk.len();
                    self.telemetry.emit(NotificationsFailed { count, first: false, reason: "stopping" });
                    continue;
                }
                let Err(error) = self.publish(chunk).await else { continue };
                self.failed(chunk.len(), &error);
                let pause = self.backoff.failed();
                tokio::select! {
                    // The last ones are tried once and without a pause.
                    () = shutdown.stopping().cancelled() => {}
                    () = heartbeat.while_waiting(tokio::time::sleep(pause)) => {}
                }
            }
        }
    }

    /// Publishes some notices, once: whether a failed attempt was heard is not known, and hearing twice is worse than not at all.
    async fn publish(&mut self, notices: &[Notice]) -> Result<(), BrokerError> {
        let mut publisher = match self.publisher.take() {
            Some(publisher) if !publisher.is_gone() => publisher,
            _ => self.connect().await?,
        };
        let texts: Vec<(String, String)> =
            notices.iter().map(|notice| (self.form.channel(notice), self.form.text(notice))).collect();
        let messages = texts.iter().map(|(channel, text)| (channel.as_str(), text.as_str()));
        let receivers: u64 = publisher.publish(messages).await?.iter().sum();
        // Nobody may be there to hear it, or this is no primary any more, which answers the same.
        if receivers == 0 && self.asked.elapsed() >= ASK_EVERY {
            publisher.make_sure_of_primary().await?;
            self.asked = Instant::now();
        }
        self.publisher = Some(publisher);
        self.backoff.succeeded();
        if std::mem::take(&mut self.away) {
            self.telemetry.emit(NotifierBack);
        }
        self.telemetry.emit(NotificationsSent { count: notices.len(), receivers });
        Ok(())
    }

    async fn connect(&mut self) -> Result<Publisher, BrokerError> {
        let publisher = Publisher::open(&self.connector).await?;
        if std::mem::replace(&mut self.opened_before, true) {
            self.connector.reconnected("publisher");
        }
        self.asked = Instant::now();
        Ok(publisher)
    }

    fn failed(&mut self, count: usize, error: &BrokerError) {
        let first = !std::mem::replace(&mut self.away, true);
        self.telemetry.emit(NotificationsFailed { count, first, reason: &error.reason() });
    }
}
