//! Readiness: one answer out of everything that can be the matter.
//!
//! Owns: the reasons, in the order in which a person would want to know them.
//! Never: a question to Redis; it listens to those who work with it.

use std::convert::Infallible;

use tokio::sync::watch;

use super::lane::Gate;
use super::trouble::Since;
use crate::broker::connect::Availability;
use crate::supervisor::phase::{Phase, Readiness};

/// What is listened to.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The phase of the daemon.
    pub phase: watch::Receiver<Phase>,
    /// Whether Redis is there.
    pub redis: watch::Receiver<Availability>,
    /// What keeps reading from working.
    pub reading: watch::Receiver<Option<Since>>,
    /// What keeps the handler from working.
    pub gate: watch::Receiver<Gate>,
}

impl Sources {
    /// The answer as of now.
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        match *self.phase.borrow() {
            Phase::Running => {}
            other => reasons.push(other.as_str().to_owned()),
        }
        if let Availability::Away { reason, .. } = &*self.redis.borrow() {
            reasons.push(reason.clone());
        }
        if let Some(Since { reason, .. }) = &*self.reading.borrow()
            && !reasons.contains(reason)
        {
            reasons.push(reason.clone());
        }
        if let Gate::Closed(reason) = &*self.gate.borrow() {
            reasons.push(format!("the handler cannot work: {reason}"));
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    /// Writes the answer down whenever it changes, for as long as it is polled.
    pub async fn follow(mut self, answer: watch::Sender<Readiness>) -> Infallible {
        loop {
            let now = self.readiness();
            answer.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
            tokio::select! {
                Ok(()) = self.phase.changed() => {}
                Ok(()) = self.redis.changed() => {}
                Ok(()) = self.reading.changed() => {}
                Ok(()) = self.gate.changed() => {}
                // Nobody is left who could change anything.
                else => std::future::pending().await,
            }
        }
    }
}
