//! The reaper: takes over what dead workers left.

use std::time::Duration;

/// When an entry counts as left behind (the `[reaper]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often the group is swept.
    pub interval: Duration,
    /// An entry that nobody has renewed for so long is taken over.
    pub claim_after: Duration,
    /// The most entries taken over in one call.
    pub batch: usize,
}
