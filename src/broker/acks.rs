//! The connection for acknowledging.
//!
//! Owns: a connection on which nothing is sent but `XACK` and what has to follow it at once, so that no reply of another command stands
//! in its way; the ids of a batch written straight into what is sent.
//! Never: a connection used again on which an answer may still be on its way; a message that went out without the acknowledgement
//! before it, or twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::connect::Connector;
use super::error::{BrokerError, Trouble};
use super::keys::Keys;
use super::messages::Messages;
use super::wire::command::Command;
use super::wire::link::{Link, in_time};
use crate::domain::id::EntryId;

const OPERATION: &str = "acknowledging";

/// Acknowledges, over a connection that is opened when it is needed, and again after it broke.
#[derive(Debug)]
pub(super) struct Acks {
    connector: Arc<Connector>,
    state: Mutex<State>,
    opened_before: AtomicBool,
}

/// What became of messages that were to follow an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// They were not sent, and still can be.
    Untold,
    /// They were published.
    Told {
        /// How many subscribers were given one, summed over all messages.
        receivers: u64,
    },
    /// The connection broke, so they may have been published or not.
    Unknown,
}

#[derive(Debug, Default)]
struct State {
    opened: Option<Opened>,
    command: Command,
}

#[derive(Debug)]
struct Opened {
    link: Link,
    /// Whether transactions are allowed; `None` where nobody has asked.
    transactions: Option<bool>,
}

impl Acks {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, state: Mutex::default(), opened_before: AtomicBool::new(false) }
    }

    /// Acknowledges entries by one command. Returns how many of them were pending. With `messages`, these follow it in one go where
    /// that can be had: nobody hears one unless the server has taken the acknowledgement.
    pub(super) async fn ack(
        &self,
        keys: &Keys,
        ids: impl ExactSizeIterator<Item = EntryId> + Clone,
        messages: Option<&Messages>,
    ) -> (Result<usize, BrokerError>, Telling) {
        let mut state = self.state.lock().await;
        let State { opened, command } = &mut *state;
        let mut telling = Telling::Untold;
        if let Some(messages) = messages {
            command.begin("MULTI", 0);
            write_ack(command, keys, ids.clone());
            command.commands(messages.as_bytes()).then("EXEC", 0);
            match self.execute(opened, command, messages.count()).await {
                Ok(Some((known, receivers))) => {
                    self.connector.note_answer(None);
                    return (Ok(known), Telling::Told { receivers });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "an acknowledgement with messages was not answered; it is sent again without them");
                    telling = Telling::Unknown;
                }
            }
        }
        command.clear();
        write_ack(command, keys, ids);
        // A connection that was idle may have been closed meanwhile. An ack may be sent twice, so that is no reason to let it wait.
        let was_open = opened.is_some();
        let mut answer = self.send(opened, command).await;
        if was_open && matches!(&answer, Err(error) if is_closed(error)) {
            answer = self.send(opened, command).await;
        }
        self.connector.note_answer(answer.as_ref().err());
        (answer, telling)
    }

    /// Sends an acknowledgement and `count` messages as a transaction. `None`: nothing was carried out. An error: that is not known.
    ///
    /// A transaction undoes nothing, and needs not to. What keeps a server from acknowledging (a missing right, a role, its state) it
    /// says beforehand, and then does nothing at all. Later on only one thing can be wrong: the key is no stream any more, and with
    /// the stream everything is gone that could be acknowledged.
    async fn execute(
        &self,
        place: &mut Option<Opened>,
        command: &Command,
        count: usize,
    ) -> Result<Option<(usize, u64)>, BrokerError> {
        let Some(mut opened) = self.with_transactions(place).await else { return Ok(None) };
        let link = &mut opened.link;
        let asked = async {
            link.send(OPERATION, command.as_bytes()).await?;
            link.executed(OPERATION, 1 + count).await
        };
        let answer = in_time(OPERATION, asked).await?;
        *place = Some(opened);
        let Ok(numbers) = answer else { return Ok(None) };
        let mut numbers = numbers.into_iter();
        let known = numbers.next().unwrap_or_else(|| Err(BrokerError::reply(OPERATION)))?;
        let receivers = numbers.flatten().filter_map(|number| u64::try_from(number).ok()).sum();
        Ok(Some((usize::try_from(known).map_err(|_| BrokerError::reply(OPERATION))?, receivers)))
    }

    /// The connection, where transactions can be had on it and it is not known to be gone.
    async fn with_transactions(&self, place: &mut Option<Opened>) -> Option<Opened> {
        if place.as_mut().is_some_and(|opened| opened.link.is_gone()) {
            *place = None;
        }
        let mut opened = match place.take() {
            Some(opened) => opened,
            None => self.open().await.ok()?,
        };
        if opened.transactions.is_none() {
            let mut command = Command::default();
            command.begin("MULTI", 0).then("EXEC", 0);
            let asked = async {
                opened.link.send(OPERATION, command.as_bytes()).await?;
                opened.link.executed(OPERATION, 0).await
            };
            opened.transactions = Some(in_time(OPERATION, asked).await.ok()?.is_ok());
        }
        if opened.transactions == Some(true) {
            return Some(opened);
        }
        *place = Some(opened);
        None
    }

    /// Sends an acknowledgement. The connection is out of `place` meanwhile: whoever drops this half-way leaves none behind.
    async fn send(&self, place: &mut Option<Opened>, command: &Command) -> Result<usize, BrokerError> {
        let mut opened = match place.take() {
            Some(opened) => opened,
            None => self.open().await?,
        };
        let asked = async {
            opened.link.send(OPERATION, command.as_bytes()).await?;
            opened.link.number(OPERATION).await
        };
        let answer = in_time(OPERATION, asked).await;
        if !answer.as_ref().is_err_and(BrokerError::breaks_connection) {
            *place = Some(opened);
        }
        answer.and_then(|known| usize::try_from(known).map_err(|_| BrokerError::reply(OPERATION)))
    }

    async fn open(&self) -> Result<Opened, BrokerError> {
        let (link, _) = Link::open(&self.connector, "acks").await?;
        if self.opened_before.swap(true, Ordering::Relaxed) {
            self.connector.reconnected("acks");
        }
        Ok(Opened { link, transactions: None })
    }
}

fn write_ack(command: &mut Command, keys: &Keys, ids: impl ExactSizeIterator<Item = EntryId>) {
    command.then("XACK", 2 + ids.len()).word(keys.stream.as_str()).word(keys.group.as_str());
    ids.for_each(|id| {
        command.id(id);
    });
}

fn is_closed(error: &BrokerError) -> bool {
    matches!(error.trouble, Trouble::Unreachable(_)) && *error != BrokerError::timed_out(OPERATION)
}
