//! What a ledger may forget.
//!
//! Owns: the rule that an entry is remembered for as long as it could be delivered again.
//! Never: forgetting anything.

use std::time::Duration;

use super::id::EntryId;

/// How often the bound is noted in the span for which it has to hold.
const NOTES: u32 = 32;

/// What could be delivered to a group, as it stands in Redis at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The first entry of the stream: it and all above it can be delivered again, if only because a group is set back.
    pub first: Option<EntryId>,
    /// The oldest pending entry of each group that has one, on the stream or not.
    pub pending: Vec<EntryId>,
    /// The last entry that was delivered to each group.
    pub delivered: Vec<EntryId>,
    /// The oldest dead letter, by the id that its entry had: it may be replayed. `None` where there is none.
    pub dead: Option<EntryId>,
}

/// A bound that was noted: at that time, nothing below it could be delivered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The bound.
    pub below: EntryId,
}

impl Reach {
    /// The id below which nothing can be delivered. `None` where that is not known: there is no stream, or nothing on it.
    pub fn bound(&self) -> Option<EntryId> {
        let first = self.first?;
        let undelivered = self.delivered.iter().filter_map(|last| last.next());
        let groups = self.pending.iter().copied().chain(undelivered);
        groups.chain(self.dead).chain([first]).min()
    }
}

/// Whether `bound` should be noted at the time `now`: when a part of the span `keep` has passed since the last note, or when it fell.
pub fn is_worth_a_note(last: Option<Note>, bound: EntryId, now: i64, keep: Duration) -> bool {
    last.is_none_or(|last| bound < last.below || now.saturating_sub(last.at) >= millis(keep / NOTES))
}

/// The bound that held for the whole of the span `keep` before `now`: below it, nothing could be delivered in all that time.
/// `notes` are in the order of their times. `None` where nobody was watching for so long.
pub fn settled(notes: &[Note], now: i64, keep: Duration) -> Option<EntryId> {
    let begin = now.saturating_sub(millis(keep));
    let before = notes.partition_point(|note| note.at <= begin);
    // The last note before the span says what held when the span began.
    let from = before.checked_sub(1)?;
    notes[from..].iter().map(|note| note.below).min()
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop, prop_assert, prop_oneof, proptest};

    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    #[test]
    fn nothing_is_below_reach_that_is_on_the_stream_or_pending_or_undelivered_or_dead() {
        let reach = Reach { first: Some(id(50)), pending: vec![id(60)], delivered: vec![id(70), id(90)], dead: None };
        assert_eq!(reach.bound(), Some(id(50)));
        assert_eq!(Reach { pending: vec![id(60), id(20)], ..reach.clone() }.bound(), Some(id(20)));
        assert_eq!(Reach { delivered: vec![id(10)], ..reach.clone() }.bound(), Some(EntryId::new(10, 1)));
        assert_eq!(Reach { dead: Some(id(5)), ..reach.clone() }.bound(), Some(id(5)));
        assert_eq!(Reach { first: None, ..reach }.bound(), None);
    }

    #[test]
    fn a_bound_counts_once_it_has_held_for_the_whole_span() {
        let keep = Duration::from_millis(100);
        let note = |at, ms| Note { at, below: id(ms) };
        assert_eq!(settled(&[], 1000, keep), None);
        assert_eq!(settled(&[note(950, 7)], 1000, keep), None, "nobody was watching before");
        assert_eq!(settled(&[note(900, 7), note(950, 8)], 1000, keep), Some(id(7)));
        assert_eq!(settled(&[note(800, 6), note(900, 7), note(950, 8)], 1000, keep), Some(id(7)));
        // The stream began again within the span, with lower ids: what was noted before says nothing of them.
        assert_eq!(settled(&[note(800, 90), note(950, 3)], 1000, keep), Some(id(3)));
        assert_eq!(settled(&[note(800, 90), note(850, 3), note(950, 60)], 1000, keep), Some(id(3)));
        assert_eq!(settled(&[note(1000, 9)], 1000, Duration::ZERO), Some(id(9)));
    }

    #[test]
    fn a_bound_is_noted_now_and_then_and_whenever_it_falls() {
        let keep = Duration::from_millis(3200);
        let last = Some(Note { at: 1000, below: id(50) });
        assert!(is_worth_a_note(None, id(50), 1000, keep));
        assert!(!is_worth_a_note(last, id(60), 1099, keep));
        assert!(is_worth_a_note(last, id(60), 1100, keep));
        assert!(is_worth_a_note(last, id(49), 1001, keep));
    }

    proptest! {
        /// However the bound moves, what could be delivered at any moment of the span is not forgotten.
        #[test]
        fn what_was_in_reach_within_the_span_is_remembered(
            bounds in prop::collection::vec((1u64..40, prop_oneof![3 => Just(1i64), 1 => 2i64..300]), 1..60)
        ) {
            let keep = Duration::from_millis(640);
            let (mut now, mut notes, mut seen): (i64, Vec<Note>, Vec<(i64, EntryId)>) = (0, Vec::new(), Vec::new());
            for (ms, pause) in bounds {
                now += pause;
                let below = id(ms);
                seen.push((now, below));
                if is_worth_a_note(notes.last().copied(), below, now, keep) {
                    notes.push(Note { at: now, below });
                }
                if let Some(bound) = settled(&notes, now, keep) {
                    for (at, below) in &seen {
                        prop_assert!(*at <= now - 640 || bound <= *below, "{notes:?} {now}");
                    }
                }
            }
        }
    }
}
