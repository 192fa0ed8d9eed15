//! The way in: what was read or taken over is brought to the lanes.
//!
//! Owns: what the consumers and the reaper of a process share, and that nothing is taken up that is in hand.
//! Never: a read; a claim.

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
use crate::broker::error::BrokerError;
use crate::broker::hold::Held;
use crate::domain::decode::FieldNames;
use crate::domain::id::{ConsumerName, EntryId};
use crate::supervisor::TaskError;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{EntriesLost, EntriesRead, Source};

/// Who waits for a place in a full window asks so often whether it waits for itself.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What the consumers and the reaper of a process share.
#[derive(Clone)]
pub struct Shared {
    /// How long a read waits for the first entry.
    pub block: Duration,
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
    /// A consumer of this process for which entries were taken over, without an answer that said which.
    pub unanswered: watch::Sender<Option<ConsumerName>>,
    /// What keeps reading from working.
    pub trouble: Arc<Trouble>,
    /// Where everything that happens is told.
    pub telemetry: Telemetry,
}

/// The lanes are gone: this task ends, and is started again with new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lanes are gone")]
pub struct LanesGone;

impl From<LanesGone> for TaskError {
    fn from(gone: LanesGone) -> Self {
        Self::new(gone)
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
