//! The ledger.
//!
//! Owns: what it finds out about the streams behind it.
//! Never: a line for each event.

use tracing::warn;

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
