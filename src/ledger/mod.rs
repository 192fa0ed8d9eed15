//! The ledger: effects exactly once.
//!
//! Owns: the inbox that knows what was applied, the orders, and their history, in one transaction.
//! Never: Redis, an ack, a decision about retries.

use std::sync::Arc;

use self::chore::{Prune, Pruned};
use self::error::LedgerError;
use self::queue::Answer;
use crate::domain::batch::{Batch, Source};
use crate::domain::mark::Mark;
use crate::domain::order::Rules;
use crate::domain::outcome::Outcome;
use crate::telemetry::Telemetry;

pub mod chore;
pub mod error;
pub mod location;
pub mod postgres;
mod queue;
pub mod reader;
pub mod report;
pub mod sqlite;

/// What a ledger works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What may happen to an order.
    pub rules: Rules,
    /// Where everything that happens is told.
    pub telemetry: Telemetry,
}

/// Applies events, each of them once however often it comes.
pub trait Ledger: Send + Sync + 'static {
    /// Applies the events of `batch` in order, under the contract of [`Handler::handle`](crate::handler::Handler::handle):
    /// `Applied`, `AppliedTo` and `Duplicate` mean committed and durable.
    fn apply(&self, batch: Batch) -> Answer<'_, Vec<Outcome>>;

    /// How far it has come, with the highest id of `source`.
    fn standing(&self, source: Arc<Source>) -> Answer<'_, Result<Mark, LedgerError>>;

    /// Forgets one step of what `request` allows.
    fn prune(&self, request: Prune) -> Answer<'_, Result<Pruned, LedgerError>>;

    /// Completes, with the reason, when this ledger can never work again.
    fn broken(&self) -> Answer<'_, String>;
}
