//! The end of the lanes.
//!
//! Owns: when everything is done that can be, and handing back the rest so that another worker takes it at once.
//! Never: an attempt burnt by a shutdown.

use std::time::{Duration, Instant};

use super::LaneTask;
use crate::broker::delivery::{Delivery, Origin};
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
        if !done.is_empty()
            && let Ok(Err(unsettled)) = tokio::time::timeout_at(deadline.into(), self.parts.broker.ack(done)).await
        {
            tracing::warn!(count = unsettled.what.len(), error = %unsettled.error, "done, and not acknowledged");
            unsettled.what.into_iter().for_each(Delivery::let_go);
        }
        let mut left: Vec<Delivery> = self.lanes.remove(|_| true).into_iter().map(|job| job.delivery).collect();
        left.extend(self.letters.take().map(|letter| letter.delivery));
        // Dropping the steps ends what they do; a call of the handler among them is cut off here.
        self.steps.clear();
        left.extend(self.running.drain().flat_map(|(_, running)| running.duties).map(|(delivery, _)| delivery));
        let groups = by_consumer(left.iter().map(|delivery| (delivery.consumer(), unburnt(delivery))));
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

/// An entry with its delivery count as it was before we had it: our own try is taken off, if it was counted at all.
fn unburnt(delivery: &Delivery) -> Held {
    let counted = u32::from(delivery.origin() == Origin::Read);
    Held { id: delivery.id(), deliveries: delivery.deliveries().saturating_sub(counted) }
}
