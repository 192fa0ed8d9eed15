//! A consumer: read, decode, admit.
//!
//! Owns: the turn, which is held from before a read until what it brought is admitted: so two consumers of this process cannot overtake
//! each other, and what a broken read left behind is found before anything newer is read.
//! Never: an entry in hand for which the window had no place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::lane::job::Admission;
use super::lane::{Arrival, Gate};
use super::trouble::Trouble;
use super::tuning::Tuned;
use crate::broker::Broker;
use crate::broker::claim::{MOST_IN_A_CALL, Pending};
use crate::broker::delivery::{Origin, Places, Received, Window};
use crate::broker::error::{self, BrokerError};
use crate::broker::group::Ensured;
use crate::broker::hold::Held;
use crate::broker::read::Reader;
use crate::bug;
use crate::crash;
use crate::domain::decode::FieldNames;
use crate::domain::id::{ConsumerName, EntryId};
use crate::supervisor::TaskError;
use crate::supervisor::backoff::Backoff;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{EntriesLost, EntriesRead, GroupCreated, Source};

/// How long the read waits that finds out whether reading works again: who waits for the answer waits no longer than that.
const PROBE_BLOCK: Duration = Duration::from_millis(10);
/// Reads of one consumer that may be under way at once.
const READS_UNDER_WAY: usize = 2;
/// After so many reads, it is the next one's turn.
const READS_IN_A_TURN: usize = 64;

/// Who waits for a place in a full window asks so often whether it waits for itself.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How the consumers of this process read (the `[consumers]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many there are.
    pub count: usize,
    /// How long a read waits for the first entry.
    pub block: Duration,
}

/// What all consumers of a process share.
#[derive(Clone)]
pub struct Shared {
    /// How they read.
    pub options: Options,
    /// Which field says what.
    pub names: FieldNames,
    /// How many of them at once, and how to look at the past of what is taken up.
    pub tuning: Tuned,
    /// Where they read.
    pub broker: Arc<Broker>,
    /// The places for what they read.
    pub window: Arc<Window>,
    /// The lanes.
    pub inbox: mpsc::Sender<Arrival>,
    /// Whether reading makes sense.
    pub gate: watch::Receiver<Gate>,
    /// Whose turn it is to read.
    pub turn: Arc<Mutex<()>>,
    /// Held while entries are taken up, by a consumer or by the reaper, so that no two do so with the same entry.
    pub taking_up: Arc<Mutex<()>>,
    /// What keeps reading from working.
    pub trouble: Arc<Trouble>,
    /// Where everything that happens is told.
    pub telemetry: Telemetry,
}

/// The lanes are gone: this task ends, and is started again with new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lanes are gone")]
pub struct LanesGone;

/// One consumer.
pub struct Consumer {
    shared: Shared,
    reader: Reader,
    /// Whether somebody has gone through the pending list since the last connection was lost.
    audited: bool,
    backoff: Backoff,
}

/// What a turn came to.
enum Turn {
    Done,
    Stopping,
}

impl From<LanesGone> for TaskError {
    fn from(gone: LanesGone) -> Self {
        Self::new(gone)
    }
}

impl Consumer {
    /// A consumer of this name. `audited` says that its pending list has just been gone through.
    pub fn new(shared: Shared, name: ConsumerName, audited: bool) -> Self {
        let reader = Reader::new(Arc::clone(&shared.broker), name);
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        Self { shared, reader, audited, backoff }
    }

    /// Reads until it is told to stop.
    pub async fn run(mut self, shutdown: Shutdown, heartbeat: Heartbeat) -> Result<(), TaskError> {
        let lock = Arc::clone(&self.shared.turn);
        loop {
            let turn = tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(()),
                turn = heartbeat.while_waiting(lock.lock()) => turn,
            };
            if let Turn::Stopping = self.take_turn(&shutdown, &heartbeat).await? {
                return Ok(());
            }
            drop(turn);
        }
    }

    /// One turn: until a read has come back and is admitted.
    async fn take_turn(&mut self, shutdown: &Shutdown, heartbeat: &Heartbeat) -> Result<Turn, TaskError> {
        loop {
            heartbeat.beat();
            let tried = tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(Turn::Stopping),
                ready = self.get_ready(heartbeat) => ready,
            };
            let places = match tried? {
                Ok(()) => tokio::select! {
                    () = shutdown.stopping().cancelled() => return Ok(Turn::Stopping),
                    places = heartbeat.while_waiting(self.places()) => places,
                },
                Err(error) => {
                    if self.recover(&error, shutdown).await {
                        continue;
                    }
                    return Ok(Turn::Stopping);
                }
            };
            let block = self.block();
            let read = match self.reader.ask(places, Some(block)).await {
                Ok(()) => self.read_on(shutdown, heartbeat).await?,
                Err(error) => Err(error),
            };
            self.audited &= self.reader.is_connected();
            match read {
                Ok(()) => return Ok(if shutdown.stopping().is_cancelled() { Turn::Stopping } else { Turn::Done }),
                Err(error) => {
                    if !self.recover(&error, shutdown).await {
                        return Ok(Turn::Stopping);
                    }
                }
            }
        }
    }

    /// Takes in what is asked for. While there is more than that, the next reads are on their way before this one is looked at, so that the
    /// server does not wait for us.
    async fn read_on(
        &mut self,
        shutdown: &Shutdown,
        heartbeat: &Heartbeat,
    ) -> Result<Result<(), BrokerError>, LanesGone> {
        let mut left = READS_IN_A_TURN;
        while self.reader.under_way() > 0 {
            heartbeat.beat();
            let read = match self.reader.receive(shutdown.stopping()).await {
                Ok(read) => read,
                Err(error) => return Ok(Err(error)),
            };
            crash::point("after-read");
            self.backoff.succeeded();
            self.shared.trouble.is_over();
            let mut asked = Ok(());
            while read.full && asked.is_ok() && left > 0 && self.reader.under_way() < READS_UNDER_WAY {
                let Some(places) = self.places_for_more(shutdown) else { break };
                left -= 1;
                asked = self.reader.ask(places, None).await;
            }
            self.settle_gone(&read.gone).await;
            self.shared.admit(read.received, Source::New).await?;
            if let Err(error) = asked {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Places for a whole batch, where reading on makes sense and nobody has to be waited for.
    fn places_for_more(&self, shutdown: &Shutdown) -> Option<Places> {
        if shutdown.stopping().is_cancelled() || *self.shared.gate.borrow() != Gate::Open {
            return None;
        }
        let batch = self.shared.batch();
        self.shared.window.try_take(batch).filter(|places| places.count() == batch)
    }

    /// After a failure a read comes back at once, for readiness waits for it.
    fn block(&self) -> Duration {
        let in_trouble = self.backoff.failures() > 0 || self.shared.trouble.is_any();
        if in_trouble { PROBE_BLOCK } else { self.shared.options.block }
    }

    /// Connects, and goes through the own pending list, where that was not done since.
    async fn get_ready(&mut self, heartbeat: &Heartbeat) -> Result<Result<(), BrokerError>, LanesGone> {
        if !self.reader.is_connected()
            && let Err(error) = self.reader.connect().await
        {
            return Ok(Err(error));
        }
        if !self.audited && !bug::is("no-audit") {
            match self.audit(heartbeat).await? {
                Ok(()) => self.audited = true,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// Takes up what is pending under this name and not in hand: a read that broke may have delivered it.
    async fn audit(&self, heartbeat: &Heartbeat) -> Result<Result<(), BrokerError>, LanesGone> {
        let _taking_up = self.shared.taking_up.lock().await;
        let auditing = self.shared.audit(self.reader.consumer(), (Origin::Read, Source::Own));
        heartbeat.while_waiting(auditing).await.map(|audited| audited.map(drop))
    }

    /// Waits until the handler works and there is room.
    async fn places(&self) -> Places {
        let mut gate = self.shared.gate.clone();
        // The lanes are gone when this fails; the next admission says so.
        let _ = gate.wait_for(|gate| *gate == Gate::Open).await;
        self.shared.window.take(self.shared.batch()).await
    }

    async fn settle_gone(&self, gone: &[EntryId]) {
        self.shared.tell_lost(gone, "between delivery and reading");
        if let Err(error) = self.shared.broker.ack_gone(gone).await {
            tracing::debug!(%error, "deleted entries stay pending until the next look at the own pending list");
        }
    }

    /// After a failure: makes the group again if it is gone, and waits. `false` when the daemon is stopping.
    async fn recover(&mut self, error: &BrokerError, shutdown: &Shutdown) -> bool {
        self.audited &= self.reader.is_connected();
        // A connection that ended is no trouble if a new one can be had at once.
        if self.reader.is_connected() || self.backoff.failures() > 0 {
            self.shared.trouble.is(error);
        }
        if let error::Trouble::GroupGone(_) = error.trouble {
            match self.shared.broker.restore_group().await {
                Ok(Ensured::Created(after)) => {
                    let at = after.map_or_else(|| "$".to_owned(), |id| id.to_string());
                    self.shared.telemetry.emit(GroupCreated { at, lost: true });
                }
                Ok(Ensured::Existing) => {}
                Err(error) => tracing::debug!(%error, "the group was not made again"),
            }
        }
        let pause = self.backoff.failed();
        tokio::select! {
            () = shutdown.stopping().cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

impl Shared {
    /// The most entries that are asked for at once.
    pub fn batch(&self) -> usize {
        self.tuning.borrow().batch
    }

    /// Brings what was received to the lanes.
    pub async fn admit(&self, received: Vec<Received>, source: Source) -> Result<(), LanesGone> {
        if received.is_empty() {
            return Ok(());
        }
        self.telemetry.emit(EntriesRead { source, count: received.len() });
        let retry = self.tuning.borrow().retry;
        let admission = Admission::of(received, &self.names, &retry);
        self.inbox.send(Arrival::Admission(admission)).await.map_err(|_| LanesGone)
    }

    /// Takes up what is pending under the name of `consumer` and not in hand. Whoever calls this holds `taking_up`. How many entries
    /// were taken up.
    pub async fn audit(
        &self,
        consumer: &ConsumerName,
        how: (Origin, Source),
    ) -> Result<Result<usize, BrokerError>, LanesGone> {
        let mut count = 0;
        let mut lowest = EntryId::MIN;
        loop {
            let most = self.batch().min(MOST_IN_A_CALL);
            let found = match self.broker.own_pending(consumer, lowest, most).await {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            self.tell_lost(&found.gone, "while it was pending here");
            let last = found.last();
            let pending = self.unknown(found.pending).await?;
            let mut pending = match self.still_pending(consumer, pending).await {
                Ok(pending) => pending,
                Err(error) => return Ok(Err(error)),
            };
            count += pending.len();
            while !pending.is_empty() {
                let places = self.places_for_old(pending.len()).await?;
                pending = self.take_up(pending, places, consumer, how).await?;
            }
            match last.and_then(EntryId::next) {
                Some(next) if found.more => lowest = next,
                _ => return Ok(Ok(count)),
            }
        }
    }

    /// Those of `pending` that are so even now that they are known not to be in hand: what was settled since the list was made must not
    /// run again.
    async fn still_pending(&self, consumer: &ConsumerName, pending: Vec<Pending>) -> Result<Vec<Pending>, BrokerError> {
        let held: Vec<Held> = pending.iter().map(Held::from).collect();
        let settled = self.broker.renew(consumer, &held).await?;
        Ok(pending.into_iter().filter(|pending| !settled.contains(&pending.entry.id)).collect())
    }

    /// Those of `pending` that are not in hand.
    pub async fn unknown(&self, pending: Vec<Pending>) -> Result<Vec<Pending>, LanesGone> {
        if pending.is_empty() {
            return Ok(pending);
        }
        let (answer, answered) = oneshot::channel();
        let ids = pending.iter().map(|pending| pending.entry.id).collect();
        self.inbox.send(Arrival::Unknown { ids, answer }).await.map_err(|_| LanesGone)?;
        let unknown = answered.await.map_err(|_| LanesGone)?;
        Ok(pending.into_iter().filter(|pending| unknown.binary_search(&pending.entry.id).is_ok()).collect())
    }

    /// Places for what is to be taken up, at most `most`. Where the window is full of what waits for just that, it is exceeded.
    pub async fn places_for_old(&self, most: usize) -> Result<Places, LanesGone> {
        loop {
            if let Ok(places) = tokio::time::timeout(ASK_EVERY, self.window.take(most)).await {
                return Ok(places);
            }
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Arrival::IsStuck(answer)).await.map_err(|_| LanesGone)?;
            if answered.await.map_err(|_| LanesGone)? {
                return Ok(self.window.exceed(most));
            }
        }
    }

    /// Makes deliveries of `pending`, as many as there are `places`, and brings them to the lanes. Returns the rest.
    pub async fn take_up(
        &self,
        pending: Vec<Pending>,
        mut places: Places,
        consumer: &ConsumerName,
        (origin, source): (Origin, Source),
    ) -> Result<Vec<Pending>, LanesGone> {
        let mut pending = pending.into_iter();
        let count = places.count();
        let received = pending.by_ref().take(count).filter_map(|one| one.accept(consumer, origin, &mut places));
        let received: Vec<Received> = received.collect();
        drop(places);
        self.admit(received, source).await?;
        Ok(pending.collect())
    }

    /// Names entries that were deleted before they were handled.
    pub fn tell_lost(&self, ids: &[EntryId], how: &'static str) {
        if !ids.is_empty() {
            self.telemetry.emit(EntriesLost { ids, how });
        }
    }
}
