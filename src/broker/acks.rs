//! The connection for acknowledging.
//!
//! Owns: a connection on which nothing but `XACK` is sent, so that no reply of another command stands in its way, and the ids of a batch
//! written straight into what is sent.
//! Never: a connection used again on which an answer may still be on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::connect::{Connector, RESPONSE_TIMEOUT};
use super::error::{BrokerError, Trouble};
use super::keys::Keys;
use super::wire::command::Command;
use super::wire::link::Link;
use crate::domain::id::EntryId;

const OPERATION: &str = "acknowledging";

/// Acknowledges, over a connection that is opened when it is needed, and again after it broke.
#[derive(Debug)]
pub(super) struct Acks {
    connector: Arc<Connector>,
    state: Mutex<State>,
    opened_before: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    command: Command,
}

impl Acks {
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        Self { connector, state: Mutex::default(), opened_before: AtomicBool::new(false) }
    }

    /// Acknowledges entries by one command. Returns how many of them were pending.
    pub(super) async fn ack(
        &self,
        keys: &Keys,
        ids: impl ExactSizeIterator<Item = EntryId>,
    ) -> Result<usize, BrokerError> {
        let mut state = self.state.lock().await;
        let State { link, command } = &mut *state;
        command.begin("XACK", 2 + ids.len()).word(keys.stream.as_str()).word(keys.group.as_str());
        ids.for_each(|id| {
            command.id(id);
        });
        // A connection that was idle may have been closed meanwhile. An ack may be sent twice, so that is no reason to let it wait.
        let was_open = link.is_some();
        let mut answer = self.send(link, command).await;
        if was_open && matches!(&answer, Err(error) if is_closed(error)) {
            answer = self.send(link, command).await;
        }
        self.connector.note_answer(answer.as_ref().err());
        answer
    }

    /// Sends it. The connection is out of `place` meanwhile: whoever drops this half-way leaves none behind.
    async fn send(&self, place: &mut Option<Link>, command: &Command) -> Result<usize, BrokerError> {
        let mut link = match place.take() {
            Some(link) => link,
            None => self.open().await?,
        };
        let asked = async {
            link.send(OPERATION, command.as_bytes()).await?;
            link.number(OPERATION).await
        };
        let answer = tokio::time::timeout(RESPONSE_TIMEOUT, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(BrokerError::timed_out(OPERATION)));
        if !answer.as_ref().is_err_and(BrokerError::breaks_connection) {
            *place = Some(link);
        }
        answer.and_then(|known| usize::try_from(known).map_err(|_| BrokerError::reply(OPERATION)))
    }

    async fn open(&self) -> Result<Link, BrokerError> {
        let (link, _) = Link::open(&self.connector, "acks").await?;
        if self.opened_before.swap(true, Ordering::Relaxed) {
            self.connector.reconnected("acks");
        }
        Ok(link)
    }
}

fn is_closed(error: &BrokerError) -> bool {
    matches!(error.trouble, Trouble::Unreachable(_)) && *error != BrokerError::timed_out(OPERATION)
}
