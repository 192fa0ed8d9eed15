//! What goes wrong with events and with the handler.
//!
//! Owns: failures, dead letters, and outages of what the handler depends on.
//! Never: a line for each event that meets an outage.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::millis;
use crate::domain::id::EntryId;
use crate::domain::outcome::FailureClass;
use crate::domain::retry::DeadReason;
use crate::telemetry::Happening;
use crate::telemetry::meters::Meters;

/// An entry became a dead letter.
#[derive(Debug, Clone, Copy)]
pub struct DeadLettered<'a> {
    /// The entry.
    pub entry: EntryId,
    /// Why.
    pub reason: DeadReason,
    /// What happened, for people.
    pub detail: &'a str,
}

/// The oldest dead letters were cut: there were more than the bound allows.
#[derive(Debug, Clone, Copy)]
pub struct DeadLettersCut {
    /// How many.
    pub count: u64,
    /// The bound.
    pub keep: u64,
}

/// An event failed.
#[derive(Debug, Clone, Copy)]
pub struct EventFailed<'a> {
    /// Its entry.
    pub entry: EntryId,
    /// Whose fault it was.
    pub class: FailureClass,
    /// What happened, for people.
    pub message: &'a str,
    /// The pause before its next try; `None` when it has none of its own (a dead letter follows, or the worker waits).
    pub next: Option<Duration>,
}

/// A call of the handler ended in a panic. An event that was alone in it fails, and is told as an
/// [`EventFailed`] besides; several are tried again one by one.
#[derive(Debug, Clone, Copy)]
pub struct HandlerPanicked<'a> {
    /// Which handler.
    pub handler: &'static str,
    /// Events in the call.
    pub events: usize,
    /// What the panic said.
    pub message: &'a str,
}

/// A call of the handler was given up.
#[derive(Debug, Clone, Copy)]
pub struct HandlerTimedOut {
    /// After how long.
    pub after: Duration,
}

/// What the handler depends on went away. Told once, when it begins.
#[derive(Debug, Clone, Copy)]
pub struct HandlerAway<'a> {
    /// What the handler said.
    pub message: &'a str,
}

/// What the handler depends on is back.
#[derive(Debug, Clone, Copy)]
pub struct HandlerBack {
    /// How long it was away.
    pub after: Duration,
}

impl Happening for DeadLettered<'_> {
    fn tell(self, meters: &Meters) {
        let reason = self.reason.as_str();
        meters.count_by("orderd_dead_letters_total", "reason", reason, 1);
        warn!(entry = %self.entry, reason, detail = self.detail, "an entry became a dead letter");
    }
}

impl Happening for DeadLettersCut {
    fn tell(self, meters: &Meters) {
        let Self { count, keep } = self;
        meters.dead_letters_cut.increment(count);
        error!(count, keep, "the oldest dead letters were cut: there were more than dead.max_len");
    }
}

impl Happening for EventFailed<'_> {
    fn tell(self, meters: &Meters) {
        let Self { entry, message, .. } = self;
        match (self.class, self.next) {
            (FailureClass::Unavailable, _) => {
                // The outage itself is told once; a line for each event that meets it would be a flood.
                meters.failures_unavailable.increment(1);
                debug!(%entry, error = message, "an event could not be handled; it waits");
                return;
            }
            (FailureClass::Transient, _) => meters.failures_transient.increment(1),
            (FailureClass::Permanent, _) => meters.failures_permanent.increment(1),
        }
        if let Some(next) = self.next {
            meters.retries.increment(1);
            info!(%entry, error = message, next_try_in = ?millis(next), "an event failed; it is tried again");
        } else {
            warn!(%entry, error = message, "an event failed; it is not tried again");
        }
    }
}

impl Happening for HandlerPanicked<'_> {
    fn tell(self, meters: &Meters) {
        meters.handler_panics.increment(1);
        error!(handler = self.handler, events = self.events, panic = self.message, "the handler panicked");
    }
}

impl Happening for HandlerTimedOut {
    fn tell(self, meters: &Meters) {
        meters.handler_timeouts.increment(1);
        warn!(after = ?millis(self.after), "a call of the handler took too long and was given up");
    }
}

impl Happening for HandlerAway<'_> {
    fn tell(self, meters: &Meters) {
        meters.handler_unavailable.set(1);
        warn!(reason = self.message, "what the handler depends on is away; reading pauses until it is back");
    }
}

impl Happening for HandlerBack {
    fn tell(self, meters: &Meters) {
        meters.handler_unavailable.set(0);
        info!(after = ?millis(self.after), "what the handler depends on is back");
    }
}
