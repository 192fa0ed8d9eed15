//! Redis and the consumer group.
//!
//! Owns: outages, connections, and the making of the group.
//! Never: a password, a line for each failed attempt.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::millis;
use crate::telemetry::Happening;
use crate::telemetry::meters::Meters;

/// The first connection stands.
#[derive(Debug, Clone, Copy)]
pub struct RedisConnected<'a> {
    /// Where the server is, without its password.
    pub address: &'a str,
}

/// Redis went away, or does not do its work. Told once, when it begins.
#[derive(Debug, Clone, Copy)]
pub struct RedisAway<'a> {
    /// The first word of its reply, or what the connection said.
    pub reason: &'a str,
}

/// Redis is back.
#[derive(Debug, Clone, Copy)]
pub struct RedisBack {
    /// How long it was away.
    pub after: Duration,
}

/// A connection was made anew.
#[derive(Debug, Clone, Copy)]
pub struct Reconnected {
    /// Which one: `reader`, `commands`, `subscriber` or `publisher`.
    pub connection: &'static str,
}

/// The consumer group was made.
#[derive(Debug, Clone)]
pub struct GroupCreated {
    /// The id it starts after.
    pub at: String,
    /// Whether it had been there before and was gone.
    pub lost: bool,
}

/// Reading new entries does not work. Told once, when it begins.
#[derive(Debug, Clone, Copy)]
pub struct ReadingBlocked<'a> {
    /// Why.
    pub reason: &'a str,
}

/// Reading new entries works again.
#[derive(Debug, Clone, Copy)]
pub struct ReadingResumed {
    /// How long it did not.
    pub after: Duration,
}

impl Happening for RedisConnected<'_> {
    fn tell(self, meters: &Meters) {
        meters.redis_up.set(1);
        info!(address = self.address, "connected to Redis");
    }
}

impl Happening for RedisAway<'_> {
    fn tell(self, meters: &Meters) {
        meters.redis_up.set(0);
        meters.redis_outages.increment(1);
        meters.set_backlog(None);
        warn!(reason = self.reason, "Redis is away; trying again until it is back");
    }
}

impl Happening for RedisBack {
    fn tell(self, meters: &Meters) {
        meters.redis_up.set(1);
        info!(after = ?millis(self.after), "Redis is back");
    }
}

impl Happening for Reconnected {
    fn tell(self, meters: &Meters) {
        meters.count_by("orderd_redis_reconnects_total", "connection", self.connection, 1);
        debug!(connection = self.connection, "connected again");
    }
}

impl Happening for GroupCreated {
    fn tell(self, meters: &Meters) {
        if self.lost {
            meters.group_recreated.increment(1);
            warn!(at = self.at, "the consumer group was gone and was made anew");
        } else {
            info!(at = self.at, "made the consumer group");
        }
    }
}

impl Happening for ReadingBlocked<'_> {
    fn tell(self, _: &Meters) {
        warn!(reason = self.reason, "new entries cannot be read; trying again");
    }
}

impl Happening for ReadingResumed {
    fn tell(self, _: &Meters) {
        info!(after = ?millis(self.after), "new entries are read again");
    }
}
