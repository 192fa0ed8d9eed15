//! Taking entries up that somebody else, or an earlier life of ours, was handed and did not settle.
//!
//! Owns: going through a consumer's own pending list, and taking over from workers that are gone.
//! Never: the delivery count. It stays as it is until a try really begins (`hold`), so that being in the hand of a dying worker's
//! rescuer is no crash.

use std::time::Duration;

use redis::Value;

use super::Broker;
use super::delivery::{Delivery, Hold, Origin, Places, Received};
use super::error::{BrokerError, Trouble};
use super::read::millis;
use super::reply;
use crate::domain::decode::MAX_ENTRY_BYTES;
use crate::domain::entry::{Entry, Fields};
use crate::domain::id::{ConsumerName, EntryId};
use crate::domain::retry::RetryRecord;

const OWN: &str = "going through the own pending list";

/// The most entries that one call takes up, whatever the configuration says: each costs the server some 15 µs, and no call may hold it for
/// more than 5 ms. This leaves room for a slow machine.
pub const MOST_IN_A_CALL: usize = 50;

/// Entries found pending, with what is needed to go on with them.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that can be handled, in the order of the stream. Without deliveries yet: see [`Pending::accept`].
    pub pending: Vec<Pending>,
    /// Those that were deleted from the stream; they are settled, and lost.
    pub gone: Vec<EntryId>,
    /// Whether there may be more behind them.
    pub more: bool,
}

/// An entry that is pending under one of our names.
#[derive(Debug)]
pub struct Pending {
    /// What it says.
    pub entry: Entry,
    deliveries: u32,
    record: Option<RetryRecord>,
    withheld: Option<usize>,
}

/// What one step of a sweep found.
#[derive(Debug)]
pub struct Claimed {
    /// The entries that are ours now.
    pub found: Found,
    /// Where the next step begins.
    pub cursor: EntryId,
}

/// Whose an entry is, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The entry.
    pub id: EntryId,
    /// The consumer that has it.
    pub owner: ConsumerName,
    /// How many times it was handed out.
    pub deliveries: u32,
}

impl Found {
    /// The largest id that was looked at.
    pub fn last(&self) -> Option<EntryId> {
        self.pending.iter().map(|pending| pending.entry.id).chain(self.gone.iter().copied()).max()
    }
}

impl Pending {
    /// How many times it was handed out so far, as Redis counts.
    pub fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// Makes it a delivery. `origin` says whether an earlier holder may have died of it.
    pub fn accept(self, consumer: &ConsumerName, origin: Origin, places: &mut Places) -> Option<Received> {
        let hold = Hold::begin(consumer.clone(), places);
        let delivery = Delivery::new(self.entry.id, self.deliveries, origin, &hold, places)?;
        Some(Received { delivery, entry: self.entry, record: self.record, withheld: self.withheld })
    }
}

impl Broker {
    /// A page of what `consumer` has pending, from `lowest` on, at most `most` entries. A reply that is more than the server holds for
    /// a client ends the connection each time that it is asked for, so then one entry is asked for, and of one that would be refused
    /// for its size anyway, only that.
    pub async fn own_pending(
        &self,
        consumer: &ConsumerName,
        lowest: EntryId,
        most: usize,
    ) -> Result<Found, BrokerError> {
        match self.own_page(consumer, lowest, most, 0).await {
            Err(BrokerError { operation: OWN, trouble: Trouble::Unreachable(_) }) => {
                self.own_page(consumer, lowest, 1, MAX_ENTRY_BYTES).await
            }
            page => page,
        }
    }

    async fn own_page(
        &self,
        consumer: &ConsumerName,
        lowest: EntryId,
        most: usize,
        largest: usize,
    ) -> Result<Found, BrokerError> {
        let mut own = self.scripts.own.key(self.keys.stream.as_str());
        own.key(self.keys.retry()).arg(self.keys.group.as_str()).arg(consumer.as_str());
        own.arg(lowest.to_string()).arg(most).arg(largest);
        let found = found(self.commands.script(OWN, &own).await?).ok_or_else(|| BrokerError::reply(OWN))?;
        Ok(Found { more: found.pending.len() + found.gone.len() == most, ..found })
    }

    /// A page of everything that is pending in the group, from `lowest` on, at most `most` entries.
    pub async fn pending_page(&self, lowest: EntryId, most: usize) -> Result<Vec<Owned>, BrokerError> {
        const OPERATION: &str = "listing what is pending";
        let mut list = redis::cmd("XPENDING");
        list.arg(self.keys.stream.as_str()).arg(self.keys.group.as_str());
        list.arg(lowest.to_string()).arg("+").arg(most);
        let rows = reply::array(self.commands.query(OPERATION, &list).await?);
        let held: Option<Vec<Owned>> = rows.and_then(|rows| rows.into_iter().map(held).collect());
        held.ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// The oldest entry that is pending with another instance than that of `consumer`.
    pub async fn oldest_elsewhere(&self, consumer: &ConsumerName) -> Result<Option<EntryId>, BrokerError> {
        const OPERATION: &str = "looking at what others have in hand";
        let mut look = self.scripts.elsewhere.key(self.keys.stream.as_str());
        look.arg(self.keys.group.as_str()).arg(consumer.as_str());
        match self.commands.script(OPERATION, &look).await? {
            Value::Nil => Ok(None),
            id => reply::entry_id(&id).map(Some).ok_or_else(|| BrokerError::reply(OPERATION)),
        }
    }

    /// Takes one entry over, whatever its idle time, if it is still as it was when it was `seen`.
    pub async fn seize(&self, consumer: &ConsumerName, seen: &Owned) -> Result<Found, BrokerError> {
        const OPERATION: &str = "taking over an entry";
        let mut seize = self.scripts.seize.key(self.keys.stream.as_str());
        seize.key(self.keys.retry()).arg(self.keys.group.as_str()).arg(consumer.as_str());
        seize.arg(seen.id.to_string()).arg(seen.owner.as_str()).arg(seen.deliveries);
        let reply: Value = self.commands.script(OPERATION, &seize).await?;
        found(reply).ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// One step of a sweep: takes over at most `most` entries that have been idle for `idle`, beginning at `cursor`. Looks at no more
    /// than ten times as many.
    pub async fn claim(
        &self,
        consumer: &ConsumerName,
        idle: Duration,
        cursor: EntryId,
        most: usize,
    ) -> Result<Claimed, BrokerError> {
        const OPERATION: &str = "taking over from dead workers";
        let mut claim = self.scripts.claim.key(self.keys.stream.as_str());
        claim.key(self.keys.retry()).arg(self.keys.group.as_str()).arg(consumer.as_str());
        claim.arg(millis(idle)).arg(cursor.to_string()).arg(most);
        let reply: Value = self.commands.script(OPERATION, &claim).await?;
        claimed(reply).ok_or_else(|| BrokerError::reply(OPERATION))
    }
}

fn claimed(reply: Value) -> Option<Claimed> {
    let mut parts = reply::array(reply)?.into_iter();
    let cursor = reply::entry_id(&parts.next()?)?;
    let mut found = found(parts.next()?)?;
    let deleted = reply::array(parts.next()?)?;
    found.gone.extend(deleted.iter().filter_map(reply::entry_id));
    Some(Claimed { found, cursor })
}

fn held(row: Value) -> Option<Owned> {
    let mut parts = reply::array(row)?.into_iter();
    let id = reply::entry_id(&parts.next()?)?;
    let owner = reply::text(parts.next()?)?.into();
    let deliveries = u32::try_from(reply::number(&parts.nth(1)?)?).unwrap_or(u32::MAX);
    Some(Owned { id, owner, deliveries })
}

fn found(reply: Value) -> Option<Found> {
    let entries = reply::array(reply)?;
    let mut found = Found::default();
    for entry in entries {
        let mut parts = reply::array(entry)?.into_iter();
        let id = reply::entry_id(&parts.next()?)?;
        let deliveries = u32::try_from(reply::number(&parts.next()?)?).unwrap_or(u32::MAX);
        let mut withheld = None;
        let fields: Option<Fields> = match parts.next() {
            Some(Value::Nil) | None => None,
            Some(Value::Int(size)) => {
                withheld = usize::try_from(size).ok();
                Some(Fields::default())
            }
            Some(fields) => Some(reply::fields(fields)?.into()),
        };
        let record = parts.next().and_then(reply::text).as_deref().and_then(read_record);
        match fields {
            Some(fields) => found.pending.push(Pending { entry: Entry { id, fields }, deliveries, record, withheld }),
            None => found.gone.push(id),
        }
    }
    Some(found)
}

/// A retry record as it stands in the hash: `<failures> <due> <error>`.
pub(super) fn write_record(record: &RetryRecord) -> String {
    let RetryRecord { failures, due_ms, error } = record;
    format!("{failures} {due_ms} {error}")
}

fn read_record(text: &str) -> Option<RetryRecord> {
    let mut parts = text.splitn(3, ' ');
    let failures = parts.next()?.parse().ok()?;
    let due_ms = parts.next()?.parse().ok()?;
    Some(RetryRecord { failures, due_ms, error: parts.next().unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_record_is_read_as_it_was_written() {
        let record =
            RetryRecord { failures: 3, due_ms: 1_700_000_000_000, error: "too early: not paid yet".to_owned() };
        assert_eq!(read_record(&write_record(&record)), Some(record));
        assert_eq!(read_record("nonsense"), None);
    }
}
