//! What keeps reading from working, told once when it begins and once when it is over.
//!
//! Owns: the reason that readiness shows.
//! Never: the same line again and again.

use std::time::Instant;

use tokio::sync::watch;

use crate::broker::error::BrokerError;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{ReadingBlocked, ReadingResumed};

/// The trouble of reading, if there is any.
#[derive(Debug)]
pub struct Trouble {
    state: watch::Sender<Option<Since>>,
    telemetry: Telemetry,
}

/// A trouble, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// What it is.
    pub reason: String,
    /// Since when.
    pub since: Instant,
    /// Whether it was told here. That the server is away is told by those who connect.
    told: bool,
}

impl Trouble {
    /// No trouble.
    pub fn new(telemetry: Telemetry) -> Self {
        Self { state: watch::channel(None).0, telemetry }
    }

    /// Follows the trouble.
    pub fn follow(&self) -> watch::Receiver<Option<Since>> {
        self.state.subscribe()
    }

    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        self.state.borrow().is_some()
    }

    /// Reading failed.
    pub fn is(&self, error: &BrokerError) {
        self.state.send_if_modified(|state| {
            let reason = error.reason();
            if state.as_ref().is_some_and(|known| known.reason == reason) {
                return false;
            }
            let told = state.as_ref().is_some_and(|known| known.told);
            if !told && !error.is_away() {
                self.telemetry.emit(ReadingBlocked { reason: &reason });
            }
            let since = state.as_ref().map_or_else(Instant::now, |known| known.since);
            *state = Some(Since { reason, since, told: told || !error.is_away() });
            true
        });
    }

    /// Reading works.
    pub fn is_over(&self) {
        if self.state.borrow().is_none() {
            return;
        }
        self.state.send_if_modified(|state| {
            let Some(Since { since, told, .. }) = state.take() else { return false };
            if told {
                self.telemetry.emit(ReadingResumed { after: since.elapsed() });
            }
            true
        });
    }
}
