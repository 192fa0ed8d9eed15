//! The reaper: takes over what dead workers left, and removes their names.
//!
//! Owns: the cursor of the sweep, kept from call to call: a sweep that starts at the front each time never gets past a front of live
//! entries.
//! Never: more than the window has room for; an entry that is in hand here.

use std::time::Duration;

use tokio::time::Instant;

use super::consumer::{LanesGone, Shared};
use crate::broker::claim::{Claimed, Pending};
use crate::broker::delivery::Origin;
use crate::broker::error::BrokerError;
use crate::domain::id::{ConsumerName, EntryId};
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::event::{ConsumersRemoved, EntriesReclaimed, Source};

/// When an entry counts as left behind (the `[reaper]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often the group is swept.
    pub interval: Duration,
    /// An entry that nobody has renewed for so long is taken over.
    pub claim_after: Duration,
    /// The most entries taken over in one call.
    pub batch: usize,
}

impl Options {
    /// How often what is held is renewed: three times before it would count as left behind.
    pub fn renew_every(&self) -> Duration {
        self.claim_after / 3
    }
}

/// The reaper.
pub struct Reaper {
    shared: Shared,
    options: Options,
    /// Under this name entries are taken over.
    consumer: ConsumerName,
    /// The consumers of this process.
    own: Vec<ConsumerName>,
}

impl Reaper {
    /// A reaper that takes entries over for the first of `own`, the consumers of this process.
    pub fn new(shared: Shared, options: Options, own: Vec<ConsumerName>) -> Option<Self> {
        let consumer = own.first()?.clone();
        Some(Self { shared, options, consumer, own })
    }

    /// Sweeps until it is told to stop.
    pub async fn run(self, shutdown: Shutdown, heartbeat: Heartbeat) -> Result<(), TaskError> {
        let mut next = Instant::now() + self.pause();
        loop {
            tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(()),
                () = heartbeat.while_waiting(tokio::time::sleep_until(next)) => {}
            }
            if let Err(error) = heartbeat.while_waiting(self.sweep(&shutdown)).await? {
                tracing::debug!(%error, "the sweep was cut short");
            }
            next = Instant::now() + self.pause();
        }
    }

    /// The interval, a fifth more or less, so that replicas do not sweep in step.
    fn pause(&self) -> Duration {
        self.options.interval.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    /// Goes through the whole group once, in bounded calls, and then through its consumers. What was claimed is always taken up.
    async fn sweep(&self, shutdown: &Shutdown) -> Result<Result<(), BrokerError>, LanesGone> {
        let mut cursor = EntryId::MIN;
        loop {
            let taking_up = self.shared.taking_up.lock().await;
            // The places are taken first, and kept: what is claimed must not wait for one, unknown to the lanes.
            let mut places = tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(Ok(())),
                places = self.shared.window.take(self.options.batch) => places,
            };
            let claim_after = self.options.claim_after;
            let claimed = self.shared.broker.claim(&self.consumer, claim_after, cursor, places.count()).await;
            let Claimed { found, cursor: next } = match claimed {
                Ok(claimed) => claimed,
                Err(error) => return Ok(Err(error)),
            };
            self.shared.tell_lost(&found.gone, "while it was pending with a worker that is gone");
            let pending = self.shared.unknown(found.pending).await?;
            if !pending.is_empty() {
                self.shared.telemetry.emit(EntriesReclaimed { count: pending.len() });
            }
            let accept = |one: Pending| one.accept(&self.consumer, Origin::TakenUp, &mut places);
            let received = pending.into_iter().filter_map(accept).collect();
            drop(places);
            self.shared.admit(received, Source::Claimed).await?;
            drop(taking_up);
            if next == EntryId::MIN {
                break;
            }
            cursor = next;
        }
        Ok(self.remove_consumers().await)
    }

    /// Removes consumers that have nothing pending and whose process is gone: its name is not locked, and it has done nothing for long.
    async fn remove_consumers(&self) -> Result<(), BrokerError> {
        let broker = &self.shared.broker;
        let mut count = 0;
        for info in broker.consumers().await? {
            if info.pending > 0 || info.idle < self.options.claim_after || self.own.contains(&info.name) {
                continue;
            }
            let instance = instance_of(&info.name);
            if !broker.is_name_locked(instance).await? && broker.remove_consumer(&info.name).await? {
                count += 1;
            }
        }
        if count > 0 {
            self.shared.telemetry.emit(ConsumersRemoved { count });
        }
        Ok(())
    }
}

/// The instance that a consumer belongs to, by its name: `<instance>-<index>`.
fn instance_of(consumer: &ConsumerName) -> &str {
    consumer.as_str().rsplit_once('-').map_or(consumer.as_str(), |(instance, _)| instance)
}
