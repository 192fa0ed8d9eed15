//! How far a stream may be cut.
//!
//! Owns: the one rule that says up to where every group is done, and the proof of it that opens `XTRIM`.
//! Never: an answer where a group is missing or none is known; then nothing may go.

use super::id::{EntryId, GroupName};

/// How far one group has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The group.
    pub group: GroupName,
    /// The last entry that was handed to it.
    pub last_delivered: EntryId,
    /// The oldest entry that it was handed and has not acknowledged.
    pub oldest_pending: Option<EntryId>,
}

impl Progress {
    /// The smallest id that this group still needs.
    pub fn floor(&self) -> EntryId {
        self.oldest_pending.unwrap_or_else(|| self.last_delivered.next().unwrap_or(EntryId::MAX))
    }
}

/// Where what some group still needs begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Nothing at or above this id may go.
    pub id: EntryId,
    /// The group that is furthest behind.
    pub held_by: GroupName,
}

/// An id below which no group needs anything. Only [`safe_point`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafePoint {
    floor: Floor,
}

impl SafePoint {
    /// Nothing at or above this id may go.
    pub fn id(&self) -> EntryId {
        self.floor.id
    }

    /// The group that is furthest behind.
    pub fn held_by(&self) -> &GroupName {
        &self.floor.held_by
    }
}

/// The safe point of a stream with these groups; `None` when `required` is not among them, for a group that is missing now may be
/// made again from the beginning.
pub fn safe_point(groups: &[Progress], required: &GroupName) -> Option<SafePoint> {
    if !groups.iter().any(|progress| progress.group == *required) {
        return None;
    }
    let slowest = groups.iter().min_by_key(|progress| progress.floor())?;
    Some(SafePoint { floor: Floor { id: slowest.floor(), held_by: slowest.group.clone() } })
}

/// Tells a group that stands in the way from one that is on its way: the floor of a stream that is over its bound has to stand still
/// from one look to the next.
#[derive(Debug, Default)]
pub struct Standstill {
    last: Option<Floor>,
    blocked: bool,
}

/// What a look at the floor has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// From now on this group stands in the way.
    Blocked,
    /// None does any more.
    Free,
}

impl Standstill {
    /// A look, some time after the last one: `over` is the floor of a stream that is over its bound and cannot be cut, `None` stands for
    /// any other. Returns what is news. Where two groups stand at the same place and one of them goes on, the other is news.
    pub fn look(&mut self, over: Option<&Floor>) -> Option<Turn> {
        let last = std::mem::replace(&mut self.last, over.cloned());
        let (blocked, same) = match (&last, over) {
            (Some(last), Some(over)) => (last.id == over.id, last.held_by == over.held_by),
            _ => (false, false),
        };
        match (std::mem::replace(&mut self.blocked, blocked), blocked) {
            (false, true) => Some(Turn::Blocked),
            (true, true) if !same => Some(Turn::Blocked),
            (true, false) => Some(Turn::Free),
            _ => None,
        }
    }

    /// Nobody could look: the next look has none before it. What was known stays.
    pub fn missed(&mut self) {
        if !self.blocked {
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(group: &str, delivered: u64, pending: Option<u64>) -> Progress {
        Progress {
            group: group.into(),
            last_delivered: EntryId::new(delivered, 0),
            oldest_pending: pending.map(|ms| EntryId::new(ms, 0)),
        }
    }

    fn floor(ms: u64, group: &str) -> Floor {
        Floor { id: EntryId::new(ms, 0), held_by: group.into() }
    }

    #[test]
    fn the_slowest_group_decides_by_what_it_has_not_acknowledged() {
        let groups = [progress("ours", 90, Some(40)), progress("theirs", 60, None)];
        let point = safe_point(&groups, &"ours".into()).unwrap();
        assert_eq!((point.id(), point.held_by().as_str()), (EntryId::new(40, 0), "ours"));

        let groups = [progress("ours", 90, Some(80)), progress("theirs", 60, None)];
        let point = safe_point(&groups, &"ours".into()).unwrap();
        assert_eq!((point.id(), point.held_by().as_str()), (EntryId::new(60, 1), "theirs"));
    }

    #[test]
    fn without_the_group_that_is_configured_nothing_may_go() {
        assert_eq!(safe_point(&[], &"ours".into()), None);
        assert_eq!(safe_point(&[progress("theirs", 60, None)], &"ours".into()), None);
    }

    #[test]
    fn a_floor_that_moves_is_no_block_and_one_that_stands_still_is_told_once() {
        let mut standstill = Standstill::default();
        let looks = [1, 2, 3, 3, 3, 3, 4, 5, 5, 0, 0].map(|ms| (ms > 0).then(|| floor(ms, "ours")));
        let news: Vec<Option<Turn>> = looks.iter().map(|over| standstill.look(over.as_ref())).collect();
        let (blocked, free) = (Some(Turn::Blocked), Some(Turn::Free));
        assert_eq!(news, [None, None, None, blocked, None, None, free, None, blocked, free, None]);
    }

    #[test]
    fn a_group_that_is_left_behind_at_the_same_place_is_told_of_as_well() {
        let mut standstill = Standstill::default();
        let looks = ["ours", "ours", "theirs", "theirs"].map(|group| floor(3, group));
        let news: Vec<Option<Turn>> = looks.iter().map(|floor| standstill.look(Some(floor))).collect();
        assert_eq!(news, [None, Some(Turn::Blocked), Some(Turn::Blocked), None]);
        assert_eq!(standstill.look(None), Some(Turn::Free));
    }

    #[test]
    fn a_floor_that_stood_still_while_nobody_could_work_is_no_block() {
        let mut standstill = Standstill::default();
        let floor = floor(1, "ours");
        let at = Some(&floor);
        assert_eq!(standstill.look(at), None);
        standstill.missed();
        assert_eq!(standstill.look(at), None);
        assert_eq!(standstill.look(at), Some(Turn::Blocked));
        standstill.missed();
        assert_eq!(standstill.look(at), None, "it is known already");
    }
}
