//! `handler.kind = "log"`: one line per event, for a dry run.

use super::{Handler, Handling, Limits};
use crate::domain::batch::{Batch, Work};
use crate::domain::outcome::Outcome;

/// Writes one log line per event, and that is its whole effect: the events are acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogHandler;

impl Handler for LogHandler {
    fn name(&self) -> &'static str {
        "log"
    }

    fn limits(&self) -> Limits {
        Limits { batch: 256, calls: 1 }
    }

    fn handle(&self, batch: Batch) -> Handling<'_> {
        batch.iter().for_each(write_line);
        Box::pin(std::future::ready(vec![Outcome::Applied; batch.len()]))
    }
}

fn write_line(Work { event, context }: &Work) {
    tracing::info!(
        entry = %event.id(),
        order = %event.order,
        action = %event.action,
        amount = event.amount.map(tracing::field::display),
        user = event.user.as_ref().map(tracing::field::display),
        attempt = context.attempt,
        "order event"
    );
}
