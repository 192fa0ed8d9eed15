//! A view of one's own of what is pending, for as long as the server's clock cannot be believed.
//!
//! Owns: noticing that the server's clock has stepped back, and what was pending with whom since when by *our* clock. After such a step
//! the idle time of everything reads 0 until the clock has caught up, and nothing would be taken over for that long.
//! Never: an entry of a worker that is alive.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::broker::claim::Owned;
use crate::domain::id::EntryId;

/// A step back of less than this is a correction, and does no harm.
const STEP: Duration = Duration::from_secs(1);

/// The server's clock, held against ours.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    last: Option<(Instant, Duration)>,
    doubtful_until: Option<Instant>,
}

impl ServerClock {
    /// Takes note of the server's time, and of the newest entry that is pending: its id holds the time of its making. While the result
    /// is true, the server's idle times say nothing.
    pub(super) fn is_doubtful(&mut self, now: Instant, server: Duration, newest: Option<EntryId>) -> bool {
        let known = self.last.replace((now, server)).map(|(then, before)| before + now.duration_since(then));
        let made = newest.map(|id| Duration::from_millis(id.ms));
        let back = known.max(made).unwrap_or_default().saturating_sub(server);
        if back > STEP {
            let until = now + back;
            self.doubtful_until = Some(self.doubtful_until.map_or(until, |known| known.max(until)));
        }
        self.doubtful_until = self.doubtful_until.filter(|until| now < *until);
        self.doubtful_until.is_some()
    }
}

/// What is pending, with whom, and since when by our clock.
#[derive(Debug, Default)]
pub(super) struct OwnView {
    seen: HashMap<EntryId, (Owned, Instant)>,
}

impl OwnView {
    /// Takes note of everything that is pending now, and returns what has not moved for `claim_after`, oldest first.
    pub(super) fn unmoved(&mut self, now: Instant, pending: Vec<Owned>, claim_after: Duration) -> Vec<Owned> {
        let before = std::mem::take(&mut self.seen);
        let since =
            |held: &Owned| before.get(&held.id).filter(|(known, _)| known == held).map_or(now, |(_, since)| *since);
        self.seen = pending.into_iter().map(|held| (held.id, (held.clone(), since(&held)))).collect();
        let old = self.seen.values().filter(|(_, since)| now.duration_since(*since) >= claim_after);
        let mut old: Vec<Owned> = old.map(|(held, _)| held.clone()).collect();
        old.sort_by_key(|held| held.id);
        old
    }

    /// Forgets everything: the server's clock can be believed again.
    pub(super) fn forget(&mut self) {
        self.seen = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const EPOCH: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_clock_that_stepped_back_is_doubtful_until_it_has_caught_up() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        assert!(!clock.is_doubtful(start, EPOCH, None));
        assert!(!clock.is_doubtful(start + MINUTE, EPOCH + MINUTE, None));
        assert!(clock.is_doubtful(start + 2 * MINUTE, EPOCH.saturating_sub(8 * MINUTE), None), "ten minutes back");
        assert!(clock.is_doubtful(start + 11 * MINUTE, EPOCH + MINUTE, None));
        assert!(!clock.is_doubtful(start + 12 * MINUTE, EPOCH + 2 * MINUTE, None));
    }

    #[test]
    fn an_entry_from_the_future_tells_of_a_step_that_nobody_saw() {
        let future = |ahead: Duration| Some(EntryId::new(u64::try_from((EPOCH + ahead).as_millis()).unwrap(), 0));
        let start = Instant::now();
        assert!(ServerClock::default().is_doubtful(start, EPOCH, future(MINUTE)));
        assert!(!ServerClock::default().is_doubtful(start, EPOCH, future(STEP)));
    }

    #[test]
    fn a_clock_that_runs_ahead_or_is_corrected_a_little_is_believed() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        assert!(!clock.is_doubtful(start, EPOCH, None));
        assert!(!clock.is_doubtful(start + MINUTE, EPOCH + 60 * MINUTE, None));
        assert!(!clock.is_doubtful(start + 2 * MINUTE, (EPOCH + 61 * MINUTE).saturating_sub(STEP), None));
    }

    #[test]
    fn only_what_stayed_with_the_same_owner_under_the_same_count_is_old() {
        let held = |ms, owner: &str, deliveries| Owned { id: EntryId::new(ms, 0), owner: owner.into(), deliveries };
        let start = Instant::now();
        let mut view = OwnView::default();
        assert!(view.unmoved(start, vec![held(1, "a", 1), held(2, "a", 1), held(3, "a", 1)], MINUTE).is_empty());
        let later = vec![held(1, "a", 1), held(2, "b", 1), held(3, "a", 2), held(4, "a", 1)];
        assert_eq!(view.unmoved(start + MINUTE, later.clone(), MINUTE), [held(1, "a", 1)]);
        assert_eq!(view.unmoved(start + 2 * MINUTE, later.clone(), MINUTE), later);
        view.forget();
        assert!(view.unmoved(start + 3 * MINUTE, later, MINUTE).is_empty());
    }
}
