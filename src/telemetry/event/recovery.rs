//! Leases, and what others left behind.
//!
//! Owns: leases, take-overs, losses, and what is handed back.
//! Never: a line of unbounded length.

use tracing::{debug, error, info, trace, warn};

use crate::domain::id::EntryId;
use crate::telemetry::Happening;
use crate::telemetry::meters::Meters;

/// So many ids of lost entries are named in one line.
const IDS_NAMED: usize = 20;

/// Entries in hand had their lease renewed.
#[derive(Debug, Clone, Copy)]
pub struct LeasesRenewed {
    /// How many.
    pub count: usize,
}

/// An entry in hand is another worker's now.
#[derive(Debug, Clone, Copy)]
pub struct LeaseLost {
    /// The entry.
    pub entry: EntryId,
}

/// Entries were taken over from workers that are gone.
#[derive(Debug, Clone, Copy)]
pub struct EntriesReclaimed {
    /// How many.
    pub count: usize,
}

/// Entries were deleted before they were handled.
#[derive(Debug, Clone, Copy)]
pub struct EntriesLost<'a> {
    /// Which.
    pub ids: &'a [EntryId],
    /// How it came to light.
    pub how: &'static str,
}

/// Entries were handed back unfinished, for another worker to take at once.
#[derive(Debug, Clone, Copy)]
pub struct HandedBack {
    /// How many.
    pub count: usize,
}

/// Consumers were removed because they were gone and held nothing.
#[derive(Debug, Clone, Copy)]
pub struct ConsumersRemoved {
    /// How many.
    pub count: usize,
}

impl Happening for LeasesRenewed {
    fn tell(self, meters: &Meters) {
        meters.leases_renewed.increment(self.count as u64);
        trace!(count = self.count, "leases renewed");
    }
}

impl Happening for LeaseLost {
    fn tell(self, meters: &Meters) {
        meters.leases_lost.increment(1);
        warn!(entry = %self.entry, "another worker has taken over an entry that was in hand here");
    }
}

impl Happening for EntriesReclaimed {
    fn tell(self, meters: &Meters) {
        meters.entries_reclaimed.increment(self.count as u64);
        info!(count = self.count, "took over entries of workers that are gone");
    }
}

impl Happening for EntriesLost<'_> {
    fn tell(self, meters: &Meters) {
        meters.entries_lost.increment(self.ids.len() as u64);
        let named: Vec<String> = self.ids.iter().take(IDS_NAMED).map(ToString::to_string).collect();
        let unnamed = self.ids.len() - named.len();
        error!(
            count = self.ids.len(),
            ids = named.join(" "),
            more = (unnamed > 0).then_some(unnamed),
            how = self.how,
            "entries were deleted before they were handled: they are lost"
        );
    }
}

impl Happening for HandedBack {
    fn tell(self, meters: &Meters) {
        meters.handed_back.increment(self.count as u64);
        info!(count = self.count, "handed back unfinished entries for another worker");
    }
}

impl Happening for ConsumersRemoved {
    fn tell(self, meters: &Meters) {
        meters.consumers_removed.increment(self.count as u64);
        debug!(count = self.count, "removed consumers that were gone and held nothing");
    }
}
