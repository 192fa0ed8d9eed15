//! What the service manager is told (`sd_notify(3)`): ready, reloading, status, stopping, and that the watchdog may go on sleeping.
//!
//! Owns: that the watchdog is fed by the progress of the tasks, not by a timer of its own.
//! Never: a word where no service manager listens; then all of this does nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;

use super::heartbeat::Heartbeats;
use super::phase::Phase;

/// How often the status line is written anew.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Follows the phases and the signs of life, and passes them on for as long as it is polled. `status` is asked for a line for people.
pub async fn follow(
    mut phase: watch::Receiver<Phase>,
    heartbeats: Arc<Heartbeats>,
    mut status: impl FnMut() -> String,
) -> Infallible {
    let watchdog = sd_notify::watchdog_enabled();
    let mut feed = tokio::time::interval(watchdog.map_or(STATUS_EVERY, |limit| limit / 2));
    let mut write = tokio::time::interval(STATUS_EVERY);
    loop {
        tokio::select! {
            Ok(()) = phase.changed() => {
                let phase = *phase.borrow_and_update();
                match phase {
                    Phase::Starting | Phase::Stopped => {}
                    Phase::Running => tell(&[NotifyState::Ready]),
                    Phase::Draining => tell(&[NotifyState::Stopping]),
                }
            }
            _ = feed.tick(), if watchdog.is_some() => {
                if heartbeats.stalled(Instant::now()).is_empty() {
                    tell(&[NotifyState::Watchdog]);
                }
            }
            _ = write.tick() => tell(&[NotifyState::Status(&status())]),
        }
    }
}

/// A reload begins. Only to be said while the daemon is running, and [`reloaded`] has to follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager was not told of a reload"),
    }
}

/// The reload is over.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
