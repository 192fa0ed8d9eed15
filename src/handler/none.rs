//! `handler.kind = "none"`: does nothing, to measure the road.

use super::{Handler, Handling, Limits};
use crate::domain::batch::Batch;
use crate::domain::outcome::Outcome;

/// Says of every event that it is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoneHandler;

impl Handler for NoneHandler {
    fn name(&self) -> &'static str {
        "none"
    }

    fn limits(&self) -> Limits {
        Limits { batch: 4096, calls: 1 }
    }

    fn handle(&self, batch: Batch) -> Handling<'_> {
        Box::pin(std::future::ready(vec![Outcome::Applied; batch.len()]))
    }
}
