//! The ledger.
//!
//! Owns: what it finds out about the streams behind it.
//! Never: a line for each event.

use tracing::{debug, warn};

use crate::domain::id::EntryId;
use crate::telemetry::Happening;
use crate::telemetry::meters::Meters;

/// An entry came under an id that another entry had before it: the stream gives out its ids again.
#[derive(Debug, Clone, Copy)]
pub struct GenerationBegan<'a> {
    /// Which stream.
    pub stream: &'a str,
    /// The entry. It was applied like any other.
    pub entry: EntryId,
    /// The number of the generation that begins with it; the first one is 0.
    pub generation: u64,
    /// The highest id of all that was applied before.
    pub highest: Option<EntryId>,
}

/// The ledger lacks events that were acknowledged, and the operator goes on all the same.
#[derive(Debug, Clone, Copy)]
pub struct GapAccepted<'a> {
    /// What it lacks.
    pub missing: &'a str,
}

/// The ledger forgot what it may.
#[derive(Debug, Clone, Copy)]
pub struct LedgerPruned {
    /// Entries that can be delivered no more.
    pub inbox: usize,
    /// Rows of the history.
    pub history: usize,
}

impl Happening for GenerationBegan<'_> {
    fn tell(self, meters: &Meters) {
        meters.generations.increment(1);
        let Self { stream, entry, generation, highest } = self;
        let highest = highest.map(tracing::field::display);
        warn!(
            stream,
            %entry,
            highest_before = highest,
            generation,
            "an id came again with another entry: the stream was deleted, or its server lost data; the entry was applied"
        );
    }
}

impl Happening for LedgerPruned {
    fn tell(self, meters: &Meters) {
        let Self { inbox, history } = self;
        meters.pruned_inbox.increment(inbox as u64);
        meters.pruned_history.increment(history as u64);
        if inbox + history > 0 {
            debug!(inbox, history, "pruned the ledger");
        }
    }
}

impl Happening for GapAccepted<'_> {
    fn tell(self, _: &Meters) {
        warn!(missing = self.missing, "going on, as told to, without events that the ledger lacks");
    }
}
