//! Reading new entries.
//!
//! Owns: one connection per consumer, on which nothing but this consumer's reads is sent, and the rule that a read in flight is never
//! dropped: the server would deliver to nobody. Several may be under way; they are answered in order.
//! Never: an entry out of the reader's sight without a [`Delivery`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Broker;
use super::delivery::{Delivery, Hold, Origin, Places, Received};
use super::error::BrokerError;
use super::wire::batch::Answer;
use super::wire::command::Command;
use super::wire::link::Link;
use crate::domain::entry::{Entry, Fields};
use crate::domain::id::{ConsumerName, EntryId};

/// What a read may take over its time before the connection is given up.
const OVERTIME: Duration = Duration::from_secs(2);
/// How often the wake-up is sent again, for one that came before the read began to wait is lost.
const WAKE_AGAIN: Duration = Duration::from_millis(20);
const OPERATION: &str = "reading new entries";

/// Reads for one consumer.
#[derive(Debug)]
pub struct Reader {
    broker: Arc<Broker>,
    consumer: ConsumerName,
    opened: Option<Opened>,
    opened_before: bool,
    command: Command,
}

/// A connection, and what was asked on it.
#[derive(Debug)]
struct Opened {
    link: Link,
    /// What the server calls it; `CLIENT UNBLOCK` takes this.
    id: i64,
    /// Reads that are not answered yet: where their entries are to go, and how long each waits for the first.
    asked: VecDeque<(Places, Duration)>,
}

/// What a read brought.
#[derive(Debug, Default)]
pub struct Read {
    /// Entries to handle, in the order of the stream.
    pub received: Vec<Received>,
    /// Entries that were deleted before they could be read. There is nothing left to handle; they are pending under this consumer.
    pub gone: Vec<EntryId>,
    /// Whether it brought as much as it asked for, so that there is likely more.
    pub full: bool,
}

impl Reader {
    /// A reader for `consumer`, not connected yet.
    pub fn new(broker: Arc<Broker>, consumer: ConsumerName) -> Self {
        Self { broker, consumer, opened: None, opened_before: false, command: Command::default() }
    }

    /// The consumer it reads for.
    pub fn consumer(&self) -> &ConsumerName {
        &self.consumer
    }

    /// Whether there is a connection. Without one, entries may have been delivered that never arrived: before the next read the
    /// consumer's own pending list has to be gone through.
    pub fn is_connected(&self) -> bool {
        self.opened.is_some()
    }

    /// How many reads are under way.
    pub fn under_way(&self) -> usize {
        self.opened.as_ref().map_or(0, |opened| opened.asked.len())
    }

    /// Opens the connection.
    pub async fn connect(&mut self) -> Result<(), BrokerError> {
        let (link, id) = Link::open(&self.broker.connector, "reader").await?;
        self.opened = Some(Opened { link, id, asked: VecDeque::new() });
        if self.opened_before {
            self.broker.connector.reconnected("reader");
        }
        self.opened_before = true;
        Ok(())
    }

    /// Closes the connection.
    pub fn disconnect(&mut self) {
        self.opened = None;
    }

    /// Asks for at most as many entries as there are `places`, waiting up to `block` for the first one; without a time, for what is there
    /// now. [`Reader::receive`] brings the answer. After an error the reader is not connected any more.
    pub async fn ask(&mut self, places: Places, block: Option<Duration>) -> Result<(), BrokerError> {
        let Some(opened) = &mut self.opened else {
            return Err(BrokerError::timed_out(OPERATION));
        };
        let keys = self.broker.keys();
        let command = self.command.begin("XREADGROUP", if block.is_some() { 10 } else { 8 });
        command.word("GROUP").word(keys.group.as_str()).word(self.consumer.as_str());
        command.word("COUNT").number(places.count() as u64);
        if let Some(block) = block {
            command.word("BLOCK").number(millis(block));
        }
        command.word("STREAMS").word(keys.stream.as_str()).word(">");
        opened.asked.push_back((places, block.unwrap_or_default()));
        let sent = tokio::time::timeout(OVERTIME, opened.link.send(OPERATION, self.command.as_bytes())).await;
        let sent = sent.unwrap_or_else(|_| Err(BrokerError::timed_out(OPERATION)));
        if sent.is_err() {
            self.opened = None;
        }
        sent
    }

    /// Waits for the answer to the oldest read under way. When `wake` is cancelled, the read is ended at the server, so that what was
    /// delivered until then still arrives. After an error that leaves the outcome open the reader is not connected any more.
    pub async fn receive(&mut self, wake: &CancellationToken) -> Result<Read, BrokerError> {
        let Some(opened) = &mut self.opened else {
            return Err(BrokerError::timed_out(OPERATION));
        };
        let Some((places, block)) = opened.asked.pop_front() else { return Ok(Read::default()) };
        let id = opened.id;
        let deadline = tokio::time::sleep(block + OVERTIME);
        tokio::pin!(deadline);
        let answer = {
            let answer = opened.link.entries(OPERATION);
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut answer => break answer,
                    () = &mut deadline => break Err(BrokerError::timed_out(OPERATION)),
                    () = woken(wake) => self.broker.wake(id).await,
                }
            }
        };
        let listed = answer.and_then(|answer| match answer {
            Answer::Entries(entries) => Ok(entries),
            Answer::Error(text) => Err(BrokerError::said(OPERATION, &text)),
        });
        match listed {
            Ok(listed) => {
                self.broker.connector.note(None);
                Ok(hand_out(listed, &self.consumer, places))
            }
            Err(error) => {
                if error.breaks_connection() {
                    self.opened = None;
                }
                Err(error)
            }
        }
    }
}

impl Broker {
    /// Ends a blocked read, best effort: without the right to do so, the read ends with its time.
    async fn wake(&self, client: i64) {
        let mut unblock = redis::cmd("CLIENT");
        unblock.arg("UNBLOCK").arg(client).arg("TIMEOUT");
        if let Err(error) = self.commands.query::<i64>("ending a blocked read", &unblock).await {
            tracing::debug!(%error, "the read ends with its time");
        }
    }
}

/// Completes at once the first time that `wake` is seen cancelled, and then every now and again.
async fn woken(wake: &CancellationToken) {
    if wake.is_cancelled() {
        tokio::time::sleep(WAKE_AGAIN).await;
    } else {
        wake.cancelled().await;
    }
}

fn hand_out(listed: Vec<(EntryId, Option<Fields>)>, consumer: &ConsumerName, mut places: Places) -> Read {
    let full = listed.len() >= places.count();
    let mut read = Read { received: Vec::with_capacity(listed.len()), gone: Vec::new(), full };
    let hold = Hold::begin(consumer.clone(), &places);
    for (id, fields) in listed {
        let Some(fields) = fields else {
            read.gone.push(id);
            continue;
        };
        // More than was asked for is not answered; it would stay pending and be found again.
        let Some(delivery) = Delivery::new(id, 1, Origin::Read, &hold, &mut places) else { continue };
        read.received.push(Received { delivery, entry: Entry { id, fields }, record: None, withheld: None });
    }
    read
}

/// Whole milliseconds, at least one: `BLOCK 0` would wait for ever.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
