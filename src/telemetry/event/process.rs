//! The process.
//!
//! Owns: its tasks, its phases, and what it last measured.
//! Never: the measuring.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::millis;
use crate::telemetry::Happening;
use crate::telemetry::meters::Meters;

/// A task began. Its count of restarts stands at 0 from then on.
#[derive(Debug, Clone, Copy)]
pub struct TaskStarted<'a> {
    /// Which task.
    pub task: &'a str,
}

/// A task failed and will be started again.
#[derive(Debug, Clone, Copy)]
pub struct TaskFailed<'a> {
    /// Which task.
    pub task: &'a str,
    /// How it ended.
    pub error: &'a str,
    /// How often it failed in a row, this time included.
    pub restarts: u32,
    /// The pause before it is started again.
    pub again_in: Duration,
}

/// This process has a name of its own.
#[derive(Debug, Clone, Copy)]
pub struct InstanceName<'a> {
    /// The name in the configuration.
    pub wanted: &'a str,
    /// The name it has, another one where the wanted one was taken.
    pub got: &'a str,
}

/// The daemon entered another phase of its life.
#[derive(Debug, Clone, Copy)]
pub struct PhaseChanged {
    /// Which one.
    pub phase: &'static str,
}

/// The daemon has stopped.
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// From the signal until now.
    pub took: Duration,
}

/// The configuration was read again, and what could be taken over was.
#[derive(Debug, Clone, Copy)]
pub struct Reloaded<'a> {
    /// The keys that were taken over.
    pub taken_over: &'a [&'a str],
    /// The keys that are different, too, and take effect at the next start.
    pub waiting: &'a [&'a str],
}

/// The configuration was to be read again, and is wrong: all stays as it was.
#[derive(Debug, Clone, Copy)]
pub struct ReloadRefused<'a> {
    /// Everything that is wrong with it.
    pub mistakes: &'a str,
}

/// What is in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// Entries read and not settled yet.
    pub in_hand: usize,
    /// Those of them that wait for their next try, or behind one that does.
    pub parked: usize,
    /// The most that may be in hand.
    pub window: usize,
}

/// What a survey of the stream and the group found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Entries not delivered yet; `None` where Redis does not know.
    pub lag: Option<u64>,
    /// Entries in the stream.
    pub length: u64,
    /// The age of the oldest pending entry; `None` without one.
    pub oldest_pending: Option<Duration>,
    /// The age of the oldest entry that was not delivered; `None` without one.
    pub oldest_undelivered: Option<Duration>,
    /// Consumers in the group.
    pub consumers: u64,
    /// Dead letters that nobody has replayed or discarded.
    pub dead: u64,
}

/// A survey came to nothing: what the last one found is not known to be true any more.
#[derive(Debug, Clone, Copy)]
pub struct BacklogUnknown;

impl Happening for TaskStarted<'_> {
    fn tell(self, meters: &Meters) {
        meters.count_by("orderd_task_restarts_total", "task", self.task, 0);
        debug!(task = self.task, "task started");
    }
}

impl Happening for TaskFailed<'_> {
    fn tell(self, meters: &Meters) {
        meters.count_by("orderd_task_restarts_total", "task", self.task, 1);
        let again_in = millis(self.again_in);
        error!(
            task = self.task,
            error = self.error,
            restarts = self.restarts,
            ?again_in,
            "a task failed; it is started again"
        );
    }
}

impl Happening for InstanceName<'_> {
    fn tell(self, _: &Meters) {
        let Self { wanted, got } = self;
        if wanted == got {
            info!(name = got, "this instance has its name");
        } else {
            info!(wanted, name = got, "the name of this instance was taken; it has another one");
        }
    }
}

impl Happening for PhaseChanged {
    fn tell(self, meters: &Meters) {
        meters.set_phase(self.phase);
        info!(phase = self.phase, "entered a phase");
    }
}

impl Happening for Stopped {
    fn tell(self, _: &Meters) {
        info!(took = ?millis(self.took), "stopped");
    }
}

impl Happening for Reloaded<'_> {
    fn tell(self, meters: &Meters) {
        meters.reloads_done.increment(1);
        let Self { taken_over, waiting } = self;
        match taken_over {
            [] => info!("the configuration was read again; nothing is different that can be taken over"),
            keys => info!(keys = keys.join(" "), "the configuration was read again; these keys were taken over"),
        }
        if !waiting.is_empty() {
            warn!(keys = waiting.join(" "), "these keys are different, too, and take effect at the next start");
        }
    }
}

impl Happening for ReloadRefused<'_> {
    fn tell(self, meters: &Meters) {
        meters.reloads_refused.increment(1);
        error!(mistakes = self.mistakes, "the configuration was not taken over; all stays as it was");
    }
}

impl Happening for Levels {
    fn tell(self, meters: &Meters) {
        meters.set_levels(self);
    }
}

impl Happening for Backlog {
    fn tell(self, meters: &Meters) {
        meters.set_backlog(Some(self));
    }
}

impl Happening for BacklogUnknown {
    fn tell(self, meters: &Meters) {
        meters.set_backlog(None);
    }
}
