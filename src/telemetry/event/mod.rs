//! The things that happen.
//!
//! Owns: a type for each of them, with its log line and its metrics.
//! Never: a decision; the payload of an event in a log line.
//!
//! What happens for every batch writes no line below `trace`. What lasts (an outage, a blocked trimmer) is told when it begins
//! and when it ends, so whoever tells it remembers that it has.

use std::time::Duration;

mod failure;
mod ledger;
mod live;
mod process;
mod recovery;
mod road;
mod server;
mod trim;

pub use failure::{
    DeadLettered, DeadLettersCut, EventFailed, HandlerAway, HandlerBack, HandlerPanicked, HandlerTimedOut,
};
pub use ledger::{GapAccepted, GenerationBegan, LedgerPruned};
pub use live::{
    LiveAway, LiveClientCut, LiveClients, LiveGap, NotificationsDropped, NotificationsFailed, NotificationsSent,
    NotifierBack,
};
pub use process::{
    Backlog, BacklogUnknown, InstanceName, Levels, PhaseChanged, ReloadRefused, Reloaded, Stopped, TaskFailed,
    TaskStarted,
};
pub use recovery::{ConsumersRemoved, EntriesLost, EntriesReclaimed, HandedBack, LeaseLost, LeasesRenewed};
pub use road::{AckMissed, BatchHandled, DeliveryDropped, EntriesRead, EventsSettled, Source};
pub use server::{GroupCreated, ReadingBlocked, ReadingResumed, Reconnected, RedisAway, RedisBack, RedisConnected};
pub use trim::{TrimBlocked, TrimUnblocked, Trimmed};

/// A duration as a person reads it: whole milliseconds.
fn millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
