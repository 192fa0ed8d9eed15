//! A consumer: read, decode, admit.

use std::time::Duration;

/// How the consumers of this process read (the `[consumers]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many there are.
    pub count: usize,
    /// The most entries that one read takes.
    pub batch: usize,
    /// How long a read waits for the first entry.
    pub block: Duration,
    /// The most entries in hand at once, of all consumers of this process together.
    pub in_flight: usize,
}
