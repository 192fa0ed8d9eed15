//! Events that come too early: what they wait for may be with another worker, which is slow or dead.
//!
//! Owns: looking, while any waits, how far the others are, and the try as soon as nothing earlier is in other hands.
//! Never: a pause that outlasts what is waited for; an event given up for what another worker has in hand.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use super::job::{Job, Turn};
use super::{Arrival, LaneTask, Step};
use crate::broker::error::BrokerError;
use crate::domain::id::EntryId;
use crate::domain::lanes::Item as _;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is known of events that come too early.
pub(super) struct Watch {
    /// Held by whoever brings entries that were taken up, from before they are ours until they are brought.
    taking_up: Arc<Mutex<()>>,
    /// Whether an event may wait that came too early.
    pub(super) any_early: bool,
    looking: bool,
    /// When it may be looked again.
    not_before: Instant,
}

/// What a look found.
pub(super) struct Looked {
    /// Those that waited when it began. Of others it says nothing.
    waiting: HashSet<EntryId>,
    /// The oldest entry that is in other hands.
    elsewhere: Result<Option<EntryId>, BrokerError>,
}

impl Watch {
    pub(super) fn new(taking_up: Arc<Mutex<()>>, now: Instant) -> Self {
        Self { taking_up, any_early: false, looking: false, not_before: now }
    }
}

impl LaneTask {
    /// When the next look is due, if any event came too early.
    pub(super) fn look_at(&self) -> Option<Instant> {
        (self.watch.any_early && !self.watch.looking).then_some(self.watch.not_before)
    }

    /// Looks how far the others are.
    pub(super) fn start_look(&mut self, now: Instant) {
        if self.look_at().is_none_or(|at| at > now) {
            return;
        }
        let early = self.lanes.waiting().map(|(job, _)| job).filter(|job| job.life.turn == Turn::Early);
        let early: Vec<&Job> = early.collect();
        let Some(consumer) = early.first().map(|job| job.delivery.consumer().clone()) else {
            self.watch.any_early = false;
            return;
        };
        let waiting = early.into_iter().map(Job::id).collect();
        (self.watch.looking, self.watch.not_before) = (true, now + LOOK_EVERY);
        let broker = Arc::clone(&self.parts.broker);
        self.steps.push(Box::pin(async move {
            let elsewhere = broker.oldest_elsewhere(&consumer).await;
            Step::Looked(Looked { waiting, elsewhere })
        }));
    }

    /// Events before which nothing is in other hands are tried at once. What was just taken over from others has to be here by then: a
    /// look that crossed with a sweep does not count, and what has been brought is taken in first.
    pub(super) fn looked(&mut self, Looked { waiting, elsewhere }: Looked, inbox: &mut mpsc::Receiver<Arrival>) {
        self.watch.looking = false;
        let elsewhere = match elsewhere {
            Ok(elsewhere) => elsewhere,
            Err(error) => return tracing::debug!(%error, "nobody knows what is in other hands"),
        };
        if self.watch.taking_up.try_lock().is_err() {
            return;
        }
        while let Ok(arrival) = inbox.try_recv() {
            self.arrived(arrival);
        }
        self.lanes.hurry(|job| {
            let is_first = elsewhere.is_none_or(|oldest| job.id() < oldest) && waiting.contains(&job.id());
            if is_first && job.life.turn == Turn::Early {
                job.life.turn = Turn::First;
                return true;
            }
            false
        });
    }

    /// Whether so much of what is in hand waits for entries that may be in other hands that these have to be taken up in any case: if
    /// there were no room for them, neither would ever go on.
    pub(super) fn is_stuck(&self) -> bool {
        let early = self.lanes.waiting().filter(|(job, _)| job.life.turn != Turn::Own);
        early.map(|(_, count)| count).sum::<usize>() > self.parts.tuning.borrow().in_flight / 2
    }
}
