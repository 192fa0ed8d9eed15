//! A batch: the events that a handler is given in one call.
//!
//! Owns: what a handler may know of an event besides the event itself.
//! Never: the delivery; a handler has nothing to acknowledge with.

use std::sync::Arc;

use super::event::SharedEvent;
use super::id::{GroupName, StreamKey};

/// The events of one call. Those of one order stand in stream order.
///
/// Shared, so that a handler may take it to a thread of its own and be left behind there when it hangs.
pub type Batch = Arc<Vec<Work>>;

/// One event, and what is known of it.
#[derive(Debug, Clone)]
pub struct Work {
    /// The event.
    pub event: SharedEvent,
    /// What is known of it.
    pub context: Context,
}

/// Where an event comes from and how often it was tried.
#[derive(Debug, Clone)]
pub struct Context {
    /// The stream and the group it was delivered to.
    pub source: Arc<Source>,
    /// This try, from 1.
    pub attempt: u32,
}

/// A stream, as seen by one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The stream.
    pub stream: StreamKey,
    /// The group.
    pub group: GroupName,
}

impl Work {
    /// A key that is the same for each delivery and each replay of this event and different for every other event:
    /// `stream/group/id`, with the id of the entry that carried it first.
    pub fn idempotency_key(&self) -> String {
        let Source { stream, group } = &*self.context.source;
        format!("{stream}/{group}/{}", self.event.origin())
    }
}
