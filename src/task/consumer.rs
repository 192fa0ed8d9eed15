//! A consumer: read, decode, admit.
//!
//! Owns: the turn, which is held from before a read until what it brought is admitted: so two consumers of this process cannot overtake
//! each other, and what a broken read left behind is found before anything newer is read.
//! Never: an entry in hand for which the window had no place.

use std::sync::Arc;
use std::time::Duration;

use super::intake::{LanesGone, Shared};
use super::lane::Gate;
use crate::broker::delivery::{Origin, Places};
use crate::broker::error::{self, BrokerError};
use crate::broker::group::Ensured;
use crate::broker::read::Reader;
use crate::bug;
use crate::crash;
use crate::domain::id::{ConsumerName, EntryId};
use crate::supervisor::TaskError;
use crate::supervisor::backoff::Backoff;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::event::{EntriesReclaimed, GroupCreated, Source};

/// How long the read waits that finds out whether reading works again: who waits for the answer waits no longer than that.
const PROBE_BLOCK: Duration = Duration::from_millis(10);
/// Reads of one consumer that may be under way at once.
const READS_UNDER_WAY: usize = 2;
/// After so many reads, it is the next one's turn.
const READS_IN_A_TURN: usize = 512;

/// How the consumers of this process read (the `[consumers]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many there are.
    pub count: usize,
    /// How long a read waits for the first entry.
    pub block: Duration,
}

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
        let mut unanswered = self.shared.unanswered.subscribe();
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
                    // The window may be full of events that wait for just these.
                    Ok(_) = unanswered.wait_for(Option::is_some) => continue,
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
                Ok(()) => {
                    // What was read goes its way before anybody asks for more: on the same thread, the ack would wait behind that.
                    tokio::task::yield_now().await;
                    return Ok(if shutdown.stopping().is_cancelled() { Turn::Stopping } else { Turn::Done });
                }
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
        if in_trouble { PROBE_BLOCK } else { self.shared.block }
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
        let unanswered = self.shared.unanswered.borrow().clone();
        if let Some(consumer) = unanswered {
            return heartbeat.while_waiting(self.find_taken_over(&consumer)).await;
        }
        Ok(Ok(()))
    }

    /// Looks for what was taken over for `consumer` without an answer. In a turn no read is under way that could have delivered it.
    async fn find_taken_over(&self, consumer: &ConsumerName) -> Result<Result<(), BrokerError>, LanesGone> {
        let _taking_up = self.shared.taking_up.lock().await;
        let count = match self.shared.audit(consumer, (Origin::TakenUp, Source::Claimed)).await? {
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        if count > 0 {
            self.shared.telemetry.emit(EntriesReclaimed { count });
        }
        self.shared.unanswered.send_replace(None);
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
        shutdown.pause(self.backoff.failed()).await
    }
}
