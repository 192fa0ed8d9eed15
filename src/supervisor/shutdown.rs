//! Stopping.
//!
//! Owns: the two words of a shutdown: take no more work, and let go of what is in hand.
//! Never: a signal (that is `cli::run`) or a deadline (that is `daemon`).

use std::time::Duration;

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

    /// Waits for `length`, but no longer than until no more work is to be taken. Whether it was the whole of it.
    pub async fn pause(&self, length: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(length) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_as_long_as_it_is_said_to_be_unless_a_stop_cuts_it_short() {
        const HOUR: Duration = Duration::from_hours(1);
        let (shutdown, began) = (Shutdown::new(), tokio::time::Instant::now());
        assert!(shutdown.pause(HOUR).await);
        assert_eq!(began.elapsed(), HOUR);
        let stop = async {
            tokio::time::sleep(HOUR / 2).await;
            shutdown.stop();
        };
        assert_eq!(tokio::join!(shutdown.pause(HOUR), stop), (false, ()));
        assert!(!shutdown.pause(HOUR).await, "after the stop there is no pause");
        assert_eq!(began.elapsed(), HOUR * 3 / 2);
    }
}
