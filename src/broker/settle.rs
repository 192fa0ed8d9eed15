//! Settling: the end of an entry's road.
//!
//! Owns: acknowledging, burying and parking. A settle that fails hands its deliveries back, so that nothing is lost because Redis is
//! away.
//! Never: an ack before the effect is durable (who calls says so by calling); a dead letter with MULTI, which is no rollback.

use redis::Value;

use super::Broker;
use super::acks::Telling;
use super::claim::write_record;
use super::delivery::Delivery;
use super::error::{BrokerError, Trouble, Unsettled};
use super::hold::Held;
use super::messages::Messages;
use crate::bug;
use crate::domain::entry::{Entry, Field};
use crate::domain::id::{ConsumerName, EntryId};
use crate::domain::retry::{DeadReason, RetryRecord};

/// The most ids in one `XACK`.
const ACK_BATCH: usize = 1000;
/// The most fields that a script can add in one step: Lua's `unpack` takes some 8,000 values.
pub(super) const SCRIPT_FIELDS: usize = 3_500;
/// The last fields of a dead letter, in this order, behind the fields of the entry.
pub const FACTS: [&str; 10] = [
    "_id",
    "_group",
    "_consumer",
    "_deliveries",
    "_failures",
    "_crashes",
    "_reason",
    "_error",
    "_first_seen",
    "_dead_at",
];

/// Deliveries that are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// How many.
    pub count: usize,
    /// How many of them Redis did not know as pending any more: somebody else has acknowledged them, or the group was made anew.
    pub missed: usize,
}

/// Something that may be told or done only once the entries it belongs to are settled. Nothing but [`Broker::ack_then`] makes one.
#[derive(Debug)]
pub struct Receipt<T> {
    what: T,
    telling: Telling,
}

/// Why an entry becomes a dead letter, and what is known of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obituary {
    /// The reason.
    pub reason: DeadReason,
    /// The last error, for people.
    pub error: String,
    /// How often it failed.
    pub failures: u32,
    /// How many workers died with it in hand.
    pub crashes: u32,
    /// When it was first seen by this worker, in milliseconds since the Unix epoch.
    pub first_seen_ms: u64,
    /// When it was given up, in milliseconds since the Unix epoch.
    pub dead_at_ms: u64,
}

/// What came of burying an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buried {
    /// The dead letter is there, and the entry acknowledged.
    Done {
        /// How many of the oldest letters had to go for it.
        cut: u64,
    },
    /// The entry is not ours any more; whoever has it decides.
    NotOurs,
}

impl Broker {
    /// Acknowledges entries whose effect is durable. Whose they are by now does not matter: done is done.
    pub async fn ack(&self, batch: Vec<Delivery>) -> Result<Settled, Unsettled<Vec<Delivery>>> {
        self.ack_all(batch, None).await.0
    }

    /// The same, with something that must wait for it: it comes back as a receipt once all of `batch` is acknowledged. `messages` tell
    /// just that, and may go out together with the acknowledgement; the receipt says whether they have. Where the batch was not
    /// acknowledged, `then` comes back unless they may have been told nevertheless.
    pub async fn ack_then<T>(
        &self,
        batch: Vec<Delivery>,
        then: T,
        messages: Option<&Messages>,
    ) -> Result<(Settled, Receipt<T>), Unsettled<(Vec<Delivery>, Option<T>)>> {
        match self.ack_all(batch, messages).await {
            (Ok(settled), telling) => Ok((settled, Receipt { what: then, telling })),
            (Err(Unsettled { what, error }), telling) => {
                Err(Unsettled { what: (what, (telling == Telling::Untold).then_some(then)), error })
            }
        }
    }

    async fn ack_all(
        &self,
        mut batch: Vec<Delivery>,
        messages: Option<&Messages>,
    ) -> (Result<Settled, Unsettled<Vec<Delivery>>>, Telling) {
        let (mut settled, mut told) = (Settled::default(), Telling::Untold);
        // Lanes mix them up. In the order of the stream, the server finds each next to the one before it.
        batch.sort_unstable_by_key(Delivery::id);
        // They follow the acknowledgement of all, so it must be one.
        let messages = messages.filter(|_| batch.len() <= ACK_BATCH);
        while !batch.is_empty() {
            let chunk = batch.split_off(batch.len().saturating_sub(ACK_BATCH));
            let (answer, telling) = self.acks.ack(&self.keys, chunk.iter().map(Delivery::id), messages).await;
            told = telling;
            match answer {
                Ok(known) => {
                    settled.count += chunk.len();
                    settled.missed += chunk.len().saturating_sub(known);
                    Delivery::close_all(chunk);
                }
                Err(error) => {
                    batch.extend(chunk);
                    return (Err(Unsettled { what: batch, error }), told);
                }
            }
        }
        (Ok(settled), told)
    }

    /// Acknowledges entries that are gone from the stream: there is nothing left to handle.
    pub async fn ack_gone(&self, ids: &[EntryId]) -> Result<(), BrokerError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.ack_ids(ids.iter().copied()).await.map(|_| ())
    }

    async fn ack_ids(&self, ids: impl ExactSizeIterator<Item = EntryId> + Clone) -> Result<usize, BrokerError> {
        self.acks.ack(&self.keys, ids, None).await.0
    }

    /// Forgets the retry records of entries that are settled.
    pub async fn forget_records(&self, ids: &[EntryId]) -> Result<(), BrokerError> {
        let mut forget = redis::cmd("HDEL");
        forget.arg(self.keys.retry());
        for id in ids {
            forget.arg(id.to_string());
        }
        self.commands.query("forgetting retry records", &forget).await
    }

    /// Writes the retry record of an entry that failed, and renews its lease. `false` when it is not `consumer`'s any more.
    pub async fn park(&self, consumer: &ConsumerName, held: Held, record: &RetryRecord) -> Result<bool, BrokerError> {
        let mut park = self.scripts.park.key(self.keys.stream.as_str());
        park.key(self.keys.retry()).arg(self.keys.group.as_str()).arg(consumer.as_str());
        park.arg(held.id.to_string()).arg(held.deliveries).arg(write_record(record));
        self.commands.script("writing a retry record", &park).await
    }

    /// Makes an entry a dead letter: its fields as they were, and beside them why. At least the newest `keep` letters are kept.
    pub async fn bury(
        &self,
        delivery: Delivery,
        entry: &Entry,
        obituary: &Obituary,
        keep: u64,
    ) -> Result<Buried, Unsettled<Delivery>> {
        let letter = self.write_letter(&delivery, entry, obituary);
        let buried = if letter.len() > SCRIPT_FIELDS {
            self.bury_in_two_steps(&delivery, &letter, keep).await
        } else {
            self.bury_in_one_step(&delivery, &letter, keep).await
        };
        match buried {
            Ok(buried) => {
                delivery.close();
                Ok(buried)
            }
            Err(error) => Err(Unsettled { what: delivery, error }),
        }
    }

    async fn bury_in_one_step(&self, delivery: &Delivery, letter: &[Field], keep: u64) -> Result<Buried, BrokerError> {
        if bug::is("bury-with-multi") {
            let mut multi = redis::pipe();
            multi.atomic().cmd("XADD").arg(self.keys.dead()).arg("*").arg(letter);
            multi.cmd("XACK").arg(self.keys.stream.as_str()).arg(self.keys.group.as_str());
            multi.arg(delivery.id().to_string());
            // As the mistake goes: what was executed is done.
            return match self.commands.pipeline("adding a dead letter", &multi).await {
                Err(error) if error.is_away() => Err(error),
                _ => Ok(Buried::Done { cut: 0 }),
            };
        }
        let mut bury = self.scripts.bury.key(self.keys.stream.as_str());
        bury.key(self.keys.dead()).key(self.keys.retry());
        bury.arg(self.keys.group.as_str()).arg(delivery.consumer().as_str()).arg(delivery.id().to_string()).arg(keep);
        for (name, value) in letter {
            bury.arg(name.as_slice()).arg(value.as_slice());
        }
        let cut: Option<u64> = self.commands.script("adding a dead letter", &bury).await?;
        Ok(cut.map_or(Buried::NotOurs, |cut| Buried::Done { cut }))
    }

    /// For an entry with more fields than a script can pass on: first the letter, then, when its reply is there, the ack. A worker that
    /// dies in between leaves two letters of one entry, never none.
    async fn bury_in_two_steps(&self, delivery: &Delivery, letter: &[Field], keep: u64) -> Result<Buried, BrokerError> {
        let held = [Held::from(delivery)];
        if !self.renew(delivery.consumer(), &held).await?.is_empty() {
            return Ok(Buried::NotOurs);
        }
        let mut add = redis::cmd("XADD");
        add.arg(self.keys.dead()).arg("*");
        for (name, value) in letter {
            add.arg(name.as_slice()).arg(value.as_slice());
        }
        self.commands.query::<Value>("adding a dead letter", &add).await?;
        self.ack_ids(std::iter::once(delivery.id())).await?;
        let mut trim = redis::cmd("XTRIM");
        trim.arg(self.keys.dead()).arg("MAXLEN").arg("~").arg(keep);
        let cut = self.commands.query("bounding the dead letters", &trim).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the next dead letter bounds them");
            0
        });
        Ok(Buried::Done { cut })
    }

    fn write_letter(&self, delivery: &Delivery, entry: &Entry, obituary: &Obituary) -> Vec<Field> {
        // In the order of `FACTS`.
        let facts = [
            entry.id.to_string(),
            self.keys.group.to_string(),
            delivery.consumer().to_string(),
            delivery.deliveries().to_string(),
            obituary.failures.to_string(),
            obituary.crashes.to_string(),
            obituary.reason.as_str().to_owned(),
            obituary.error.clone(),
            obituary.first_seen_ms.to_string(),
            obituary.dead_at_ms.to_string(),
        ];
        let facts = FACTS.iter().zip(facts).map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes()));
        let own = entry.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
        own.chain(facts).collect()
    }
}

impl<T> Receipt<T> {
    /// What may be told or done now, and what became of the messages that tell it.
    pub fn into_inner(self) -> (T, Telling) {
        (self.what, self.telling)
    }
}

impl Trouble {
    /// Whether only adding is impossible: what needs no new memory goes on.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory(_))
    }
}
