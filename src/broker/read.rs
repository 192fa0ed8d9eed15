//! Reading new entries.
//!
//! Owns: one connection per consumer, on which nothing but this consumer's reads is sent, and the rule that a read in flight is never
//! dropped: the server would deliver to nobody.
//! Never: a response timeout on that connection; an entry out of the reader's sight without a [`Delivery`].

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike as _;
use tokio_util::sync::CancellationToken;

use super::Broker;
use super::connect::Opened;
use super::delivery::{Delivery, Origin, Places, Received};
use super::error::BrokerError;
use super::reply::{self, Listed};
use crate::domain::entry::Entry;
use crate::domain::id::{ConsumerName, EntryId};

/// What a blocked read may take over its time before the connection is given up.
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
}

/// What a read brought.
#[derive(Debug, Default)]
pub struct Read {
    /// Entries to handle, in the order of the stream.
    pub received: Vec<Received>,
    /// Entries that were deleted before they could be read. There is nothing left to handle; they are pending under this consumer.
    pub gone: Vec<EntryId>,
}

impl Reader {
    /// A reader for `consumer`, not connected yet.
    pub fn new(broker: Arc<Broker>, consumer: ConsumerName) -> Self {
        Self { broker, consumer, opened: None, opened_before: false }
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

    /// Opens the connection.
    pub async fn connect(&mut self) -> Result<(), BrokerError> {
        let opened = self.broker.connector.open("reader", None).await?;
        self.opened = Some(opened);
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

    /// Reads at most as many entries as there are `places`, waiting up to `block` for the first one. When `wake` is cancelled, the read
    /// is ended at the server, so that what was delivered until then still arrives. After an error that leaves the outcome open the
    /// reader is not connected any more.
    pub async fn read(
        &mut self,
        places: Places,
        block: Duration,
        wake: &CancellationToken,
    ) -> Result<Read, BrokerError> {
        let Some(opened) = &self.opened else {
            return Err(BrokerError::timed_out(OPERATION));
        };
        let (mut connection, id) = (opened.connection.clone(), opened.id);
        let keys = self.broker.keys();
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(keys.group.as_str()).arg(self.consumer.as_str());
        command.arg("COUNT").arg(places.count()).arg("BLOCK").arg(millis(block));
        command.arg("STREAMS").arg(keys.stream.as_str()).arg(">");
        // Not `query_async`: it builds the whole reply anew to look for errors inside, where a read has none.
        let reading = connection.req_packed_command(&command);
        tokio::pin!(reading);
        let deadline = tokio::time::sleep(block + OVERTIME);
        tokio::pin!(deadline);
        let reply = loop {
            tokio::select! {
                reply = &mut reading => {
                    break reply.and_then(reply::not_an_error).map_err(|error| BrokerError::new(OPERATION, &error));
                }
                () = &mut deadline => break Err(BrokerError::timed_out(OPERATION)),
                () = woken(wake) => self.broker.wake(id).await,
            }
        };
        let listed = reply.and_then(|reply| reply::read(reply).ok_or_else(|| BrokerError::reply(OPERATION)));
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

fn hand_out(listed: Vec<Listed>, consumer: &ConsumerName, mut places: Places) -> Read {
    let mut read = Read { received: Vec::with_capacity(listed.len()), gone: Vec::new() };
    for (id, fields) in listed {
        match (fields, places.next()) {
            (Some(fields), Some(place)) => {
                let delivery = Delivery::new(id, consumer.clone(), 1, Origin::Read, place);
                read.received.push(Received { delivery, entry: Entry { id, fields }, record: None, withheld: None });
            }
            // More than was asked for is not answered; it would stay pending and be found again.
            (Some(_), None) => {}
            (None, _) => read.gone.push(id),
        }
    }
    read
}

/// Whole milliseconds, at least one: `BLOCK 0` would wait for ever.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
