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

/// An id below which no group needs anything. Only [`safe_point`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafePoint {
    id: EntryId,
    held_by: GroupName,
}

impl SafePoint {
    /// Nothing at or above this id may go.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The group that is furthest behind.
    pub fn held_by(&self) -> &GroupName {
        &self.held_by
    }
}

/// The safe point of a stream with these groups; `None` when `required` is not among them, for a group that is missing now may be
/// made again from the beginning.
pub fn safe_point(groups: &[Progress], required: &GroupName) -> Option<SafePoint> {
    if !groups.iter().any(|progress| progress.group == *required) {
        return None;
    }
    let slowest = groups.iter().min_by_key(|progress| progress.floor())?;
    Some(SafePoint { id: slowest.floor(), held_by: slowest.group.clone() })
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
}
