//! The trimmer: bounds the stream without cutting what is still needed.

use std::time::Duration;

/// How long the stream may grow (the `[trimmer]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often the stream is looked at.
    pub interval: Duration,
    /// So many entries are kept, settled or not.
    pub max_len: u64,
    /// What to do when a group holds more than that.
    pub on_blocked: OnBlocked,
}

/// What to do with entries that are over the bound and that a group still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBlocked {
    /// Keep them, and say which group holds them.
    Keep,
    /// Cut them, and count what was lost.
    Trim,
}
