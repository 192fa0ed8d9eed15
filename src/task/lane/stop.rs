//! The end of the lanes.
//!
//! Owns: when everything is done that can be, and handing back the rest so that another worker takes it at once.
//! Never: an attempt burnt by a shutdown.

use std::time::{Duration, Instant};

use super::LaneTask;
use crate::broker::delivery::Delivery;
use crate::broker::error::Unsettled;
use crate::broker::hold::{Held, by_consumer};
use crate::crash;
use crate::telemetry::event::HandedBack;

/// How long acknowledging and handing back may take at the very end.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl LaneTask {
    /// Whether everything in hand is settled that can be settled now: what waits for its next try, and what waits for a handler that is
    /// away, is better off with another worker.
    pub(super) fn is_finished(&self) -> bool {
        let runnable = self.outage.is_none() && self.lanes.queued() > 0;
        !runnable && self.steps.is_empty() && self.is_settled()
    }

    /// Acknowledges what is done, and hands the rest back. What cannot be handed back stays pending and is found by the reaper.
    pub(super) async fn hand_back(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        let done = std::mem::take(&mut self.acks.waiting.deliveries);
        let notices = std::mem::take(&mut self.acks.waiting.notices);
        if !done.is_empty() {
            match tokio::time::timeout_at(deadline.into(), self.parts.broker.ack_then(done, notices, None)).await {
                Ok(Ok((_, receipt))) => self.parts.outbox.put(receipt),
                Ok(Err(Unsettled { what: (deliveries, _), error })) => {
                    tracing::warn!(count = deliveries.len(), %error, "done, and not acknowledged");
                    deliveries.into_iter().for_each(Delivery::let_go);
                }
                Err(_) => {}
            }
        }
        let mut left: Vec<Delivery> = self.lanes.remove(|_| true).into_iter().map(|job| job.delivery).collect();
        left.extend(self.letters.take().map(|letter| letter.delivery));
        // Dropping the steps ends what they do; a call of the handler among them is cut off here.
        self.steps.clear();
        left.extend(self.running.drain().flat_map(|(_, running)| running.duties).map(|(delivery, _)| delivery));
        // A shutdown is no crash: the count becomes what it was before this delivery.
        let uncounted = |delivery: &Delivery| Held { id: delivery.id(), deliveries: delivery.crashes() };
        let groups = by_consumer(left.iter().map(|delivery| (delivery.consumer(), uncounted(delivery))));
        for (consumer, held) in groups {
            crash::point("while-handing-back");
            match tokio::time::timeout_at(deadline.into(), self.parts.broker.hand_back(&consumer, &held)).await {
                Ok(Ok(lost)) => self.parts.telemetry.emit(HandedBack { count: held.len() - lost.len() }),
                Ok(Err(error)) => tracing::warn!(count = held.len(), %error, "not handed back; they stay pending"),
                Err(_) => tracing::warn!(count = held.len(), "not handed back in time; they stay pending"),
            }
        }
        left.into_iter().for_each(Delivery::let_go);
    }
}
