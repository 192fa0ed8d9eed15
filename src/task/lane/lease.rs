//! Leases: slow work is not dead work.
//!
//! Owns: renewing what has been in hand for a while, and letting go of what is somebody else's by now.
//! Never: a renewal of what is fresh: at full speed nothing is in hand long enough to need one.

use std::sync::Arc;
use std::time::Instant;

use super::job::Job;
use super::{LaneTask, Step, TICK};
use crate::broker::delivery::Delivery;
use crate::broker::error::BrokerError;
use crate::broker::hold::{Held, by_consumer};
use crate::crash;
use crate::domain::id::EntryId;
use crate::domain::lanes::Item as _;
use crate::telemetry::event::{LeaseLost, LeasesRenewed};

impl LaneTask {
    /// Renews everything that has been in hand for longer than the time between two renewals.
    pub(super) fn start_renewal(&mut self, now: Instant) {
        if self.renewing || now.duration_since(self.renewed) < self.parts.renew_every {
            return;
        }
        self.renewed = now;
        let every = self.parts.renew_every;
        let old = self.deliveries().filter(|delivery| now.duration_since(delivery.since()) >= every);
        let groups = by_consumer(old.map(|delivery| (delivery.consumer(), Held::from(delivery))));
        if groups.is_empty() {
            return;
        }
        self.renewing = true;
        let broker = Arc::clone(&self.parts.broker);
        self.steps.push(Box::pin(async move {
            let count = groups.iter().map(|(_, held)| held.len()).sum();
            let mut lost = Vec::new();
            for (consumer, held) in groups {
                crash::point("in-renewal");
                match broker.renew(&consumer, &held).await {
                    Ok(ids) => lost.extend(ids),
                    Err(error) => return Step::Renewed(count, Err(error)),
                }
            }
            Step::Renewed(count, Ok(lost))
        }));
    }

    pub(super) fn renewed(&mut self, count: usize, result: Result<Vec<EntryId>, BrokerError>) {
        self.renewing = false;
        match result {
            Ok(lost) => {
                self.parts.telemetry.emit(LeasesRenewed { count: count.saturating_sub(lost.len()) });
                // What was settled since the renewal began is not pending any more, and not lost.
                if !lost.is_empty() {
                    self.lost(&lost);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "leases were not renewed");
                // Soon again: once Redis is back, others hold their sweeps for a renewal, and no longer.
                let every = self.parts.renew_every;
                self.renewed = (Instant::now() + TICK.min(every)).checked_sub(every).unwrap_or(self.renewed);
            }
        }
    }

    /// Lets go of entries that somebody else has taken over. What is running goes on: if it succeeds, its ack is right whoever has the
    /// entry; if it fails, the owner check of every other way of settling discards it.
    pub(super) fn lost(&mut self, ids: &[EntryId]) {
        for job in self.lanes.remove(|job: &Job| ids.contains(&job.id())) {
            self.let_go_of_lost(job.delivery);
        }
        for id in self.running.values().flat_map(super::Running::ids).filter(|id| ids.contains(id)) {
            self.parts.telemetry.emit(LeaseLost { entry: id });
        }
    }

    /// Every delivery that is in hand and not part of a step that settles it.
    fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        let queued = self.lanes.iter().map(|job| &job.delivery);
        let running = self.running.values().flat_map(|running| running.duties.iter().map(|(delivery, _)| delivery));
        let acks = self.acks.waiting.deliveries.iter();
        let letters = self.letters.waiting.iter().map(|letter| &letter.delivery);
        queued.chain(running).chain(acks).chain(letters)
    }
}
