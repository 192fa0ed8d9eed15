//! The trimmer.
//!
//! Owns: what was cut, and which group keeps more from being cut.
//! Never: a name of a group as a label.

use tracing::{debug, error, info, warn};

use crate::telemetry::Happening;
use crate::telemetry::meters::Meters;

/// The trimmer deleted entries.
#[derive(Debug, Clone, Copy)]
pub struct Trimmed {
    /// How many.
    pub count: u64,
    /// How many of them a group still needed. Not 0 only where the operator asked for it.
    pub unacknowledged: u64,
}

/// A group keeps the stream above its bound. Told once of each group, when it begins.
#[derive(Debug, Clone, Copy)]
pub struct TrimBlocked<'a> {
    /// Which group.
    pub group: &'a str,
    /// How many entries are above the bound.
    pub over: u64,
}

/// No group keeps the stream above its bound any more.
#[derive(Debug, Clone, Copy)]
pub struct TrimUnblocked;

impl Happening for Trimmed {
    fn tell(self, meters: &Meters) {
        let Self { count, unacknowledged } = self;
        meters.trimmed_entries.increment(count);
        meters.trimmed_unacknowledged.increment(unacknowledged);
        if unacknowledged > 0 {
            error!(count, unacknowledged, "trimmed the stream, as told to, of entries that a group still needed");
        } else {
            debug!(count, "trimmed the stream");
        }
    }
}

impl Happening for TrimBlocked<'_> {
    fn tell(self, meters: &Meters) {
        meters.trim_blocked.set(1);
        warn!(
            group = self.group,
            over = self.over,
            "a group keeps the stream above trimmer.max_len: nothing it needs is cut"
        );
    }
}

impl Happening for TrimUnblocked {
    fn tell(self, meters: &Meters) {
        meters.trim_blocked.set(0);
        info!("no group keeps the stream above trimmer.max_len any more");
    }
}
