//! Stopping.
//!
//! Owns: the two words of a shutdown: take no more work, and let go of what is in hand.
//! Never: a signal (that is `cli::run`) or a deadline (that is `daemon`).

use tokio_util::sync::CancellationToken;

/// Tells every task when to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    abandon: CancellationToken,
}

impl Shutdown {
    /// Nobody has said anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown of a part: it hears what the whole is told, and can be told to stop alone.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { stop: self.stop.child_token(), abandon: self.abandon.child_token() }
    }

    /// Take no more work; finish what is in hand.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Let go of what is in hand, too.
    pub fn abandon(&self) {
        self.stop.cancel();
        self.abandon.cancel();
    }

    /// Cancelled when no more work is to be taken.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when what is in hand is to be let go of.
    pub fn abandoning(&self) -> &CancellationToken {
        &self.abandon
    }
}
