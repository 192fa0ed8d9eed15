//! What a handler may say of an event.
//!
//! Owns: the outcomes, and the class that every failure must have.
//! Never: what follows from an outcome (that is `retry`).

use std::time::Duration;

use super::id::UserId;
use super::order::State;

/// What came of handling one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is in place and durable.
    Applied,
    /// The same, from a handler that was asked to say where the order stands now.
    AppliedTo(Box<Effect>),
    /// It has no effect and is to have none: it is acknowledged, and nobody is told of it.
    Ignored,
    /// The effect was in place already: this event had been handled before.
    Duplicate,
    /// The effect is not in place.
    Failed(Failure),
    /// Not tried, since an earlier event of the same order in the same batch failed.
    NotReached,
}

/// Where an order stands after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Whose order it is.
    pub user: UserId,
    /// Its state.
    pub state: State,
    /// How many events have been applied to it.
    pub version: u64,
    /// When this one was applied, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Why an event has no effect yet. There is no way to make one without saying its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    class: FailureClass,
    message: String,
    retry_after: Option<Duration>,
    early: bool,
}

/// Whose fault a failure is, and so what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// This event may work later: it is tried again, up to a limit.
    Transient,
    /// This event will never work: it becomes a dead letter.
    Permanent,
    /// Not this event's fault: what the handler depends on is away. Nothing is counted; the worker waits.
    Unavailable,
}

impl Failure {
    /// This event may work later.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, message.into())
    }

    /// This event works once another one of its order has: a transient failure, and it is known what is waited for.
    pub fn early(message: impl Into<String>) -> Self {
        Self { early: true, ..Self::transient(message) }
    }

    /// This event will never work.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message.into())
    }

    /// What the handler depends on is away.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Unavailable, message.into())
    }

    /// Asks for a pause of at least `pause` before the next try (an HTTP `Retry-After`, say).
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Whose fault it is.
    pub fn class(&self) -> FailureClass {
        self.class
    }

    /// What happened, for people. Carries no payload of the event.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The pause that was asked for.
    pub fn pause(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether it waits for another event of its order.
    pub fn is_early(&self) -> bool {
        self.early
    }

    fn new(class: FailureClass, message: String) -> Self {
        Self { class, message, retry_after: None, early: false }
    }
}
