//! What the operator plugs in: what an event *does*.
//!
//! Owns: the contract between the road and a handler, and the handlers that come with orderd.
//! Never: a delivery, an ack, Redis. A handler gets events and says what came of them.

use std::future::Future;
use std::pin::Pin;

use crate::domain::batch::Batch;
use crate::domain::outcome::Outcome;

pub mod log;
pub mod none;
pub mod record;

/// What a handler promises to come back with.
pub type Handling<'a> = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + 'a>>;

/// Gives events their effect.
pub trait Handler: Send + Sync + 'static {
    /// Its name, for logs and metrics.
    fn name(&self) -> &'static str;

    /// How much it takes at once.
    fn limits(&self) -> Limits;

    /// Handles the events of `batch` in order and returns one outcome for each, in the same order.
    ///
    /// `Applied` means durable: the entry is acknowledged after it. The events of one order stand in stream order; when one of
    /// them fails, the later ones of that order must not be applied and are answered [`Outcome::NotReached`]; other orders go on.
    /// A panic, or a call that takes longer than `handler.timeout`, is a transient failure of the event in it. Where there are several,
    /// none is accused: each is tried again in a call of its own.
    ///
    /// It may take long, but it has to wait as a future does: what blocks or computes for long belongs on a thread of its own
    /// (`tokio::task::spawn_blocking`), for the road, the renewal of leases included, shares the thread of this call.
    fn handle(&self, batch: Batch) -> Handling<'_>;

    /// Completes, with the reason, when this handler can never work again and the process has to end. Most never do.
    fn broken(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// How much a handler takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most events in one call.
    pub batch: usize,
    /// The most calls at the same time. Two calls never hold events of the same order.
    pub calls: usize,
}
