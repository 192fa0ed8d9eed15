//! The road: read, handle, settle.
//!
//! Owns: what is told for each batch.
//! Never: a line for each batch above `trace`.

use std::time::Duration;

use tracing::{debug, trace, warn};

use super::millis;
use crate::domain::id::EntryId;
use crate::telemetry::Happening;
use crate::telemetry::meters::{Meters, number};

/// Entries were taken in hand.
#[derive(Debug, Clone, Copy)]
pub struct EntriesRead {
    /// Where they came from.
    pub source: Source,
    /// How many.
    pub count: usize,
}

/// Where an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Delivered for the first time.
    New,
    /// From the own pending list: left by a former life of this consumer, or by a read that broke.
    Own,
    /// Taken over from a consumer that is gone.
    Claimed,
}

/// A call of the handler came back.
#[derive(Debug, Clone, Copy)]
pub struct BatchHandled {
    /// Which handler.
    pub handler: &'static str,
    /// Events in the call.
    pub events: usize,
    /// How long it took.
    pub took: Duration,
}

/// Events were acknowledged after their effect was in place.
#[derive(Debug, Clone, Copy)]
pub struct EventsSettled {
    /// Effects that are new.
    pub applied: usize,
    /// Effects that were in place already.
    pub duplicate: usize,
    /// From the read of the oldest of them until now.
    pub oldest_wait: Duration,
}

/// Acknowledged entries were not pending any more: another worker had acknowledged them, or they were acknowledged twice
/// because the first answer was lost. Harmless.
#[derive(Debug, Clone, Copy)]
pub struct AckMissed {
    /// How many.
    pub count: usize,
}

/// A delivery was dropped unsettled. Its entry stays pending.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryDropped {
    /// Its entry.
    pub entry: EntryId,
}

impl Happening for EntriesRead {
    fn tell(self, meters: &Meters) {
        let counter = match self.source {
            Source::New => &meters.read_new,
            Source::Own => &meters.read_own,
            Source::Claimed => &meters.read_claimed,
        };
        counter.increment(self.count as u64);
        trace!(count = self.count, source = ?self.source, "entries read");
    }
}

impl Happening for BatchHandled {
    fn tell(self, meters: &Meters) {
        meters.handler_calls.increment(1);
        meters.handler_duration.record(self.took);
        meters.handler_batch_size.record(number(self.events as u64));
        trace!(handler = self.handler, events = self.events, took = ?self.took, "batch handled");
    }
}

impl Happening for EventsSettled {
    fn tell(self, meters: &Meters) {
        meters.settled_applied.increment(self.applied as u64);
        meters.settled_duplicate.increment(self.duplicate as u64);
        meters.settle_seconds.record(self.oldest_wait);
        let wait = millis(self.oldest_wait);
        trace!(applied = self.applied, duplicate = self.duplicate, oldest_wait = ?wait, "events settled");
    }
}

impl Happening for AckMissed {
    fn tell(self, meters: &Meters) {
        meters.ack_misses.increment(self.count as u64);
        debug!(count = self.count, "acknowledged entries were not pending any more");
    }
}

impl Happening for DeliveryDropped {
    fn tell(self, meters: &Meters) {
        meters.deliveries_dropped.increment(1);
        warn!(entry = %self.entry, "a delivery was dropped unsettled; its entry stays pending");
    }
}
