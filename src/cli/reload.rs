//! Reading the configuration again while the daemon runs.
//!
//! Owns: where it is read again (where it was read at the start), and who is told of what changed.
//! Never: the signal for it (that is `run`), or the choice of what can be changed (that is `settings`).

use tokio::sync::watch;

use super::Cli;
use crate::settings::Settings;
use crate::supervisor::phase::Phase;
use crate::supervisor::systemd;
use crate::task::tuning::Tuning;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{ReloadRefused, Reloaded};
use crate::telemetry::logging::LogHandle;

/// What a reload needs.
pub(super) struct Reload<'c> {
    /// Where the configuration is named.
    pub(super) cli: &'c Cli,
    /// The configuration in force.
    pub(super) settings: Settings,
    /// Changes how much is logged.
    pub(super) log: LogHandle,
    /// Changes the rest.
    pub(super) tuning: watch::Sender<Tuning>,
    /// The phase of the daemon.
    pub(super) phase: watch::Receiver<Phase>,
    /// Where it is told.
    pub(super) telemetry: Telemetry,
}

impl Reload<'_> {
    /// Reads the configuration again, and takes over what can be.
    pub(super) fn now(&mut self) {
        // A service manager that was not told of the start yet, or was told of the stop, is not to hear of this.
        let is_running = *self.phase.borrow() == Phase::Running;
        if is_running {
            systemd::reloading();
        }
        self.read_again();
        if is_running {
            systemd::reloaded();
        }
    }

    fn read_again(&mut self) {
        let written = match self.cli.settings() {
            Ok(written) => written,
            Err(mistakes) => return self.telemetry.emit(ReloadRefused { mistakes: &mistakes.to_string() }),
        };
        let changes = self.settings.take_over(&written);
        self.tuning.send_replace(self.settings.tuning);
        if let Err(error) = self.log.set_level(&self.settings.log.level) {
            tracing::warn!(%error, "the level of the log stays as it was");
        }
        self.telemetry.emit(Reloaded { taken_over: &changes.taken_over, waiting: &changes.waiting });
    }
}
