//! What a ledger does besides applying events.
//!
//! Owns: the questions and answers of its chores, whatever stores them.
//! Never: when a chore is due (that is `task::bookkeeper`).

use std::sync::Arc;
use std::time::Duration;

use crate::domain::batch::Source;
use crate::domain::id::EntryId;

/// What to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// Of which stream and group.
    pub source: Arc<Source>,
    /// The id below which nothing can be delivered at present; `None` where that is not known.
    pub below: Option<EntryId>,
    /// Entries are remembered for so long after that.
    pub keep_inbox: Duration,
    /// The history is kept for so long; `None` for ever.
    pub keep_history: Option<Duration>,
}

/// What was forgotten in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Rows of the inbox.
    pub inbox: usize,
    /// Rows of the history.
    pub history: usize,
    /// Whether there may be more to forget: a step is bounded.
    pub more: bool,
}
