//! The consumer group.
//!
//! Owns: where a new group starts.
//! Never: `$` after the first start; an id above the stream's last one.

use crate::domain::id::EntryId;

/// Where a group starts that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first entry of the stream: what was added before the first start is processed too.
    Beginning,
    /// With the first entry that is added after the group was made.
    New,
    /// After this entry.
    After(EntryId),
}
