//! Replays: an event that comes again under a new entry id.
//!
//! Owns: the field that names the entry whose event is repeated, and what may stand there.
//! Never: who replays what; a guess at an id that cannot be read.

use super::entry::{Entry, Field, Repeated};
use super::id::EntryId;

/// The field that a replay has besides the fields of the entry it repeats: that entry's id.
pub const REPLAY_OF: &str = "_replay_of";

/// The entry names no entry that it could repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadReplay;

/// The entry whose event `entry` repeats; `None` where it is no replay.
///
/// That entry lies below its replay. An id at or above it would be given to another entry some day, whose event would then be taken
/// for a repetition.
pub fn replayed(entry: &Entry) -> Result<Option<EntryId>, BadReplay> {
    let Some(bytes) = entry.field(REPLAY_OF.as_bytes()).map_err(|Repeated| BadReplay)? else { return Ok(None) };
    let id = EntryId::from_bytes(bytes).filter(|id| EntryId::MIN < *id && *id < entry.id);
    id.map(Some).ok_or(BadReplay)
}

/// The fields of a replay of `entry`: its own, and where it came from. An entry that is a replay already says so.
pub fn replay(entry: &Entry) -> Vec<Field> {
    let own = entry.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
    let mut fields: Vec<Field> = own.collect();
    if !fields.iter().any(|(name, _)| name == REPLAY_OF.as_bytes()) {
        fields.push((REPLAY_OF.as_bytes().to_vec(), entry.id.to_string().into_bytes()));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ms: u64, replay_of: &[&str]) -> Entry {
        let fields = replay_of.iter().map(|id| (REPLAY_OF, *id));
        Entry { id: EntryId::new(ms, 0), fields: std::iter::once(("note", "x")).chain(fields).collect() }
    }

    #[test]
    fn a_replay_names_the_first_entry_that_carried_its_event_however_often_it_is_replayed() {
        let original = entry(5, &[]);
        assert_eq!(replayed(&original), Ok(None));
        let first = Entry { id: EntryId::new(8, 0), fields: replay(&original).into() };
        assert_eq!(replayed(&first), Ok(Some(original.id)));
        let second = Entry { id: EntryId::new(9, 0), fields: replay(&first).into() };
        assert_eq!((second.fields.len(), replayed(&second)), (2, Ok(Some(original.id))));
    }

    #[test]
    fn what_is_no_id_of_an_earlier_entry_is_refused() {
        for odd in [&[""][..], &["5"], &["5-0 "], &["0-0"], &["9-0"], &["10-0"], &["5-0", "5-0"]] {
            assert_eq!(replayed(&entry(9, odd)), Err(BadReplay), "{odd:?}");
        }
    }
}
