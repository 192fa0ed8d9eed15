//! The phases of the daemon's life.
//!
//! Owns: one value that readiness, the log and people read.
//! Never: a way back from a later phase to an earlier one.

use tokio::sync::watch;

use crate::telemetry::Telemetry;
use crate::telemetry::event::PhaseChanged;

/// Where the daemon is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connecting, making the group, taking up what an earlier life left.
    Starting,
    /// At work.
    Running,
    /// Taking no more work, finishing what is in hand.
    Draining,
    /// Done.
    Stopped,
}

impl Phase {
    /// The phase in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether the daemon does its work, and if not, why not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// What keeps it from it, one sentence each. Empty when it is ready.
    pub reasons: Vec<String>,
}

/// The phase that the daemon is in.
#[derive(Debug, Clone)]
pub struct Phases {
    current: watch::Sender<Phase>,
    telemetry: Telemetry,
}

impl Phases {
    /// The daemon is starting.
    pub fn new(telemetry: Telemetry) -> Self {
        telemetry.emit(PhaseChanged { phase: Phase::Starting.as_str() });
        Self { current: watch::Sender::new(Phase::Starting), telemetry }
    }

    /// Enters `phase`, if that is a step forward.
    pub fn enter(&self, phase: Phase) {
        self.current.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                self.telemetry.emit(PhaseChanged { phase: phase.as_str() });
                *current = phase;
            }
            forward
        });
    }

    /// Follows the phase.
    pub fn follow(&self) -> watch::Receiver<Phase> {
        self.current.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_way_back() {
        let phases = Phases::new(Telemetry::new().unwrap());
        phases.enter(Phase::Draining);
        phases.enter(Phase::Running);
        assert_eq!(*phases.follow().borrow(), Phase::Draining);
    }
}
