//! The trimmer: bounds the stream without cutting what is still needed.
//!
//! Owns: when to trim, and saying who stands in the way.
//! Never: how far (that is one step inside Redis: `broker::trim`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::nudge::Nudge;
use super::tuning::Tuned;
use crate::broker::Broker;
use crate::broker::error::BrokerError;
use crate::broker::trim::{TrimState, Trimmed};
use crate::crash;
use crate::domain::trim::{Standstill, Turn};
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event;

/// No step cuts more than this, so that no other command waits long behind it.
const MOST_IN_A_STEP: u64 = 20_000;

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

impl Options {
    /// The most entries that one step cuts; the stream may be so much over its bound between two steps.
    pub fn step(&self) -> u64 {
        (self.max_len / 10).clamp(1_000, MOST_IN_A_STEP / 2)
    }

    /// After so many settled events a step is due before its time: half a step, so that the stream is never over its bound by more than
    /// a whole one while the trimmer is on its way. In a backlog, which is `over` the bound by itself, an eighth of that, so that a
    /// long one is not surveyed again and again for a little of it.
    pub fn nudge(&self, over: u64) -> u64 {
        (over / 8).min(MOST_IN_A_STEP / 2).max(self.step() / 2)
    }
}

/// Why the trimmer trims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// Enough was settled.
    Nudge,
    /// It is time, or there is a new bound.
    Look,
}

/// The trimmer.
pub struct Trimmer {
    tuning: Tuned,
    broker: Arc<Broker>,
    settled: Nudge,
    /// By so much the stream is over its bound with what cannot be cut yet.
    over: u64,
    telemetry: Telemetry,
    standstill: Standstill,
}

impl Trimmer {
    /// A trimmer that is woken by `settled`, too, once enough entries are settled to be worth a step.
    pub fn new(tuning: Tuned, broker: Arc<Broker>, settled: Nudge, telemetry: Telemetry) -> Self {
        Self { tuning, broker, settled, over: 0, telemetry, standstill: Standstill::default() }
    }

    /// Trims until it is told to stop.
    pub async fn run(mut self, shutdown: Shutdown, heartbeat: Heartbeat) -> Result<(), TaskError> {
        let mut next_look = Instant::now() + self.options().interval;
        let mut tuning = self.tuning.clone();
        loop {
            let due = async {
                tokio::select! {
                    () = tokio::time::sleep_until(next_look) => Occasion::Look,
                    () = self.settled.nudged() => Occasion::Nudge,
                }
            };
            let occasion = tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(()),
                occasion = heartbeat.while_waiting(due) => occasion,
                // A new bound holds from now on, not from the next look on.
                Ok(()) = tuning.changed() => {
                    next_look = next_look.min(Instant::now() + self.options().interval);
                    Occasion::Look
                }
            };
            let trimmed = self.trim(occasion, &shutdown).await;
            if Instant::now() >= next_look {
                self.look(trimmed.as_ref().ok().and_then(Option::as_ref));
                next_look = Instant::now() + self.options().interval;
            }
            if let Err(error) = trimmed {
                tracing::debug!(%error, "the stream was not trimmed");
            }
        }
    }

    fn options(&self) -> Options {
        self.tuning.borrow().trimmer
    }

    /// Steps until the stream is within its bound, something stands in the way, or only a rest is left that can wait. Returns how the last
    /// step ended.
    async fn trim(&mut self, occasion: Occasion, shutdown: &Shutdown) -> Result<Option<Trimmed>, BrokerError> {
        let mut last = None;
        // While a group works, there is always a little left, so the rest waits for the next time; and a look takes one, not each.
        let mut takes_rest = occasion == Occasion::Look;
        while !shutdown.stopping().is_cancelled() {
            let options = self.options();
            let cut_blocked = options.on_blocked == OnBlocked::Trim;
            crash::point("before-trim");
            // Twice what was settled since, so that its bound does not end it.
            let most = options.step().max(2 * options.nudge(self.over));
            let trimmed = self.broker.trim(options.max_len, most, cut_blocked).await?;
            crash::point("after-trim");
            if trimmed.cut > 0 {
                self.telemetry.emit(event::Trimmed { count: trimmed.cut, unacknowledged: trimmed.unacknowledged });
            }
            self.over = trimmed.length.saturating_sub(options.max_len);
            self.settled.set_every(options.nudge(self.over));
            let goes_on = match trimmed.state {
                TrimState::More => true,
                TrimState::Rest => std::mem::take(&mut takes_rest),
                TrimState::Within | TrimState::Blocked | TrimState::Nothing => false,
            };
            last = Some(trimmed);
            if !goes_on {
                break;
            }
        }
        Ok(last)
    }

    /// Says when a group begins to stand in the way, and when none does any more. Only looks at the pace of the timer count: a group that
    /// works off a backlog stands in the way at each nudge, and never twice at the same place.
    fn look(&mut self, trimmed: Option<&Trimmed>) {
        let Some(trimmed) = trimmed else { return self.standstill.missed() };
        let floor = trimmed.floor.as_ref().filter(|_| trimmed.state == TrimState::Blocked);
        match (self.standstill.look(floor), floor) {
            (Some(Turn::Blocked), Some(floor)) => {
                let over = trimmed.length.saturating_sub(self.options().max_len);
                self.telemetry.emit(event::TrimBlocked { group: floor.held_by.as_str(), over });
            }
            (Some(Turn::Free), _) => self.telemetry.emit(event::TrimUnblocked),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_due_after_half_a_step_and_in_a_backlog_after_an_eighth_of_it() {
        let options = Options { interval: Duration::from_secs(1), max_len: 10_000, on_blocked: OnBlocked::Keep };
        assert_eq!((options.step(), options.nudge(0), options.nudge(4_000)), (1_000, 500, 500));
        assert_eq!((options.nudge(40_000), options.nudge(u64::MAX)), (5_000, MOST_IN_A_STEP / 2));
    }
}
