//! What can be changed while the daemon runs: it travels by watch, and everybody looks when it matters.

use tokio::sync::watch;

use super::trimmer;
use crate::domain::retry::RetryPolicy;

/// The settings that a running daemon takes over at a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The most entries that one read takes.
    pub batch: usize,
    /// The most entries in hand at once, of all consumers of this process together.
    pub in_flight: usize,
    /// What follows from a failure.
    pub retry: RetryPolicy,
    /// How long the stream may grow.
    pub trimmer: trimmer::Options,
}

/// Follows the tuning.
pub type Tuned = watch::Receiver<Tuning>;
