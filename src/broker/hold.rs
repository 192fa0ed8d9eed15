//! Holding entries: leases.
//!
//! Owns: renewing what is held, telling Redis that a try begins, and handing back what will not be finished. All of it checks the
//! owner first, in one script for many entries: `XCLAIM` alone would take them back from whoever has them now.
//! Never: the content of an entry; settling.

use std::time::Duration;

use super::Broker;
use super::claim::Pending;
use super::delivery::Delivery;
use super::error::{BrokerError, Unsettled};
use super::read::millis;
use crate::bug;
use crate::domain::id::{ConsumerName, EntryId};

/// The most entries that one call of the script goes through, so that no call holds Redis up for more than some milliseconds.
pub const HOLD_BATCH: usize = 200;
/// An entry that was handed back has been idle for so long: longer than anybody's `claim_after`.
pub const HANDED_BACK: Duration = Duration::from_hours(24 * 365);

/// An entry that is held: its id, and its delivery count as Redis has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The entry.
    pub id: EntryId,
    /// How many times it was handed out.
    pub deliveries: u32,
}

impl From<&Pending> for Held {
    fn from(pending: &Pending) -> Self {
        Self { id: pending.entry.id, deliveries: pending.deliveries() }
    }
}

impl From<&Delivery> for Held {
    fn from(delivery: &Delivery) -> Self {
        Self { id: delivery.id(), deliveries: delivery.deliveries() }
    }
}

/// What is held, sorted by the consumer under whose name it is.
pub fn by_consumer<'a>(held: impl Iterator<Item = (&'a ConsumerName, Held)>) -> Vec<(ConsumerName, Vec<Held>)> {
    let mut groups: Vec<(ConsumerName, Vec<Held>)> = Vec::new();
    for (consumer, held) in held {
        match groups.iter_mut().find(|(name, _)| name == consumer) {
            Some((_, group)) => group.push(held),
            None => groups.push((consumer.clone(), vec![held])),
        }
    }
    groups
}

impl Broker {
    /// Starts the idle time of what `consumer` holds again. Returns the ids that are not its own any more.
    pub async fn renew(&self, consumer: &ConsumerName, held: &[Held]) -> Result<Vec<EntryId>, BrokerError> {
        if bug::is("renew-what-is-not-ours") {
            let mut claim = redis::cmd("XCLAIM");
            claim.arg(self.keys.stream.as_str()).arg(self.keys.group.as_str()).arg(consumer.as_str()).arg(0);
            let ids: Vec<String> = held.iter().map(|held| held.id.to_string()).collect();
            let claimed = self.commands.query("renewing leases", claim.arg(ids).arg("JUSTID")).await;
            return claimed.map(|_: redis::Value| Vec::new());
        }
        self.hold("renewing leases", consumer, Duration::ZERO, held, |count| count).await
    }

    /// Counts a delivery, for a try of entries that were taken up. Returns them with the higher count, and the ids of those that are not
    /// ours any more.
    pub async fn begin(
        &self,
        mut deliveries: Vec<Delivery>,
    ) -> Result<(Vec<Delivery>, Vec<EntryId>), Unsettled<Vec<Delivery>>> {
        let mut lost = Vec::new();
        for (consumer, held) in by_consumer(deliveries.iter().map(|delivery| (delivery.consumer(), delivery.into()))) {
            let count = |count: u32| count.saturating_add(1);
            match self.hold("beginning a try", &consumer, Duration::ZERO, &held, count).await {
                Ok(ids) => lost.extend(ids),
                Err(error) => return Err(Unsettled { what: deliveries, error }),
            }
        }
        deliveries.iter_mut().for_each(Delivery::begun);
        Ok((deliveries, lost))
    }

    /// Hands entries back that `consumer` will not finish, with the delivery counts that they are given in `held`. They count as idle for
    /// long, so that the next sweep of any worker takes them; and every worker is told to sweep now ([`Broker::renew_name`]).
    pub async fn hand_back(&self, consumer: &ConsumerName, held: &[Held]) -> Result<Vec<EntryId>, BrokerError> {
        let lost = self.hold("handing back", consumer, HANDED_BACK, held, |count| count).await?;
        let mut tell = redis::cmd("INCR");
        tell.arg(self.keys.handed_back());
        // Without this word, the others find the entries at their next sweep.
        if let Err(error) = self.commands.query::<u64>("telling that entries were handed back", &tell).await {
            tracing::debug!(%error, "nobody was told of what was handed back");
        }
        Ok(lost)
    }

    async fn hold(
        &self,
        operation: &'static str,
        consumer: &ConsumerName,
        idle: Duration,
        held: &[Held],
        count: impl Fn(u32) -> u32,
    ) -> Result<Vec<EntryId>, BrokerError> {
        let mut lost = Vec::new();
        for chunk in held.chunks(HOLD_BATCH) {
            let mut script = self.scripts.hold.key(self.keys.stream.as_str());
            script.arg(self.keys.group.as_str()).arg(consumer.as_str());
            script.arg(if idle.is_zero() { 0 } else { millis(idle) });
            for Held { id, deliveries } in chunk {
                script.arg(id.to_string()).arg(count(*deliveries));
            }
            let ids: Vec<String> = self.commands.script(operation, &script).await?;
            lost.extend(ids.iter().filter_map(|id| id.parse::<EntryId>().ok()));
        }
        Ok(lost)
    }
}
