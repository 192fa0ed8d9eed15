//! Waiting longer each time.
//!
//! Owns: the pauses between tries of something that has no record of its own (connecting, settling, restarting a task).
//! Never: a limit; who uses it decides when to give up.

use std::time::Duration;

use crate::domain::retry::RetryPolicy;

/// Counts failures in a row and says how long to wait after each.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
}

impl Backoff {
    /// Pauses from `min`, doubling up to `max`, with full jitter.
    pub fn new(min: Duration, max: Duration) -> Self {
        let policy = RetryPolicy { max_failures: u32::MAX, max_crashes: u32::MAX, delay_min: min, delay_max: max };
        Self { policy, failures: 0 }
    }

    /// Another failure: the pause that follows it.
    pub fn failed(&mut self) -> Duration {
        let pause = self.policy.pause(self.failures, fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// It worked.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
