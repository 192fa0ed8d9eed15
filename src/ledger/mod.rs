//! The ledger: effects exactly once.
//!
//! Owns: the inbox that knows what was applied, the orders, and their history, in one transaction.
//! Never: Redis, an ack, a decision about retries.

use std::future::Future;
use std::pin::Pin;

use crate::domain::batch::Batch;
use crate::domain::outcome::Outcome;

pub mod error;
pub mod location;
pub mod postgres;
pub mod reader;
pub mod report;
pub mod sqlite;

/// Applies events, each of them once however often it comes.
pub trait Ledger: Send + Sync + 'static {
    /// Applies the events of `batch` in order, under the contract of [`Handler::handle`](crate::handler::Handler::handle):
    /// `Applied` and `Duplicate` mean committed and durable.
    fn apply(&self, batch: Batch) -> Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + '_>>;

    /// Completes, with the reason, when this ledger can never work again.
    fn broken(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
}
