//! `handler.kind = "ledger"`: enters every event into the order ledger.

use std::pin::Pin;
use std::sync::Arc;

use super::{Handler, Handling, Limits};
use crate::domain::batch::Batch;
use crate::ledger::Ledger;

/// Applies events to a ledger.
pub struct RecordHandler {
    ledger: Arc<dyn Ledger>,
}

impl RecordHandler {
    /// A handler that applies events to `ledger`.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }
}

impl Handler for RecordHandler {
    fn name(&self) -> &'static str {
        "ledger"
    }

    /// Two calls: while one batch is being committed, the next one is on its way.
    fn limits(&self) -> Limits {
        Limits { batch: 1024, calls: 2 }
    }

    fn handle(&self, batch: Batch) -> Handling<'_> {
        self.ledger.apply(batch)
    }

    fn broken(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        self.ledger.broken()
    }
}
