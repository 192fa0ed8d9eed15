//! The time after an outage.
//!
//! Owns: holding sweeps until workers that are alive have renewed what they hold. While Redis is away nobody can, idle times may run on
//! (the server was up and could not be reached, or was restarted with what it had on disk), and everything would look left behind.
//! Never: a sweep held for longer than a renewal after Redis was seen again.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::broker::connect::Availability;

/// What is known of outages.
#[derive(Debug)]
pub(super) struct Outages {
    redis: watch::Receiver<Availability>,
    renew_every: Duration,
    /// When it was last seen that Redis had been away.
    seen: Option<Instant>,
}

impl Outages {
    /// Follows `redis`, for workers that renew every `renew_every`.
    pub(super) fn new(redis: watch::Receiver<Availability>, renew_every: Duration) -> Self {
        Self { redis, renew_every, seen: None }
    }

    /// Waits until the last outage that can be seen now is over for as long as a renewal takes to come round.
    pub(super) async fn have_passed(&mut self) {
        loop {
            if self.redis.has_changed().unwrap_or(false) || self.is_away() {
                self.redis.mark_unchanged();
                self.seen = Some(Instant::now());
            }
            let Some(until) = self.seen.map(|seen| seen + self.renew_every) else { return };
            if Instant::now() >= until {
                return self.seen = None;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }

    fn is_away(&self) -> bool {
        matches!(*self.redis.borrow(), Availability::Away { .. })
    }
}
