//! The lanes: handle, judge, settle, one event of an order at a time.

use std::time::Duration;

use crate::domain::retry::RetryPolicy;

/// How events are run (the `[lanes]`, `[retry]` and `[handler]` tables of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many lanes there are: at most so many orders are handled at the same time.
    pub count: usize,
    /// After this time a call of the handler is given up.
    pub timeout: Duration,
    /// What follows from a failure.
    pub retry: RetryPolicy,
}
