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

/// The shortest pause between two looks: a worker that lives settles what it has in hand within some of these.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// The longest one. The pause doubles while the others do not get on.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// What is known of events that come too early.
pub(super) struct Watch {
    /// Held by whoever brings entries that were taken up, from before they are ours until they are brought.
    taking_up: Arc<Mutex<()>>,
    /// Whether an event may wait that came too early.
    pub(super) any_early: bool,
    looking: bool,
    /// When it may be looked again.
    not_before: Instant,
    pause: Duration,
    /// The oldest entry in other hands, as the last look found it.
    oldest: Option<EntryId>,
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
        Self { taking_up, any_early: false, looking: false, not_before: now, pause: LOOK_MIN, oldest: None }
    }

    /// Has it looked again soon while the others get on with what they have in hand, and less and less often while they do not.
    fn found(&mut self, oldest: Option<EntryId>, now: Instant) {
        let is_stuck = oldest.is_some() && oldest == self.oldest;
        self.pause = if is_stuck { (self.pause * 2).min(LOOK_MAX) } else { LOOK_MIN };
        (self.oldest, self.not_before) = (oldest, now + self.pause);
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
        (self.watch.looking, self.watch.not_before) = (true, now + LOOK_MAX);
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
        self.watch.found(elsewhere, Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_often_while_the_others_get_on_and_less_and_less_often_while_they_do_not() {
        let now = Instant::now();
        let mut watch = Watch::new(Arc::default(), now);
        let mut pauses = |ids: &[u64]| -> Vec<u64> {
            let pause = |ms: &u64| {
                watch.found((*ms > 0).then(|| EntryId::new(*ms, 0)), now);
                u64::try_from(watch.not_before.duration_since(now).as_millis()).unwrap()
            };
            ids.iter().map(pause).collect()
        };
        assert_eq!(pauses(&[1, 2, 2, 2, 2]), [10, 10, 20, 40, 80]);
        assert_eq!(pauses(&[2, 2, 2, 2]), [160, 320, 500, 500]);
        assert_eq!(pauses(&[3, 3, 0, 0]), [10, 20, 10, 10], "they have got on; then they have nothing in hand");
    }
}
