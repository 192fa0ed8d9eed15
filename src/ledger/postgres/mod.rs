//! The ledger in a Postgres database.
//!
//! Owns: what a Postgres ledger is to those who use it, and the runtime of its writer.
//! Never: a second writer in this process. Other processes may write to the same database, from any host.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use self::address::Address;
use self::error::PostgresError;
use self::writer::{Place, Writer};
use super::chore::{Prune, Pruned};
use super::error::LedgerError;
use super::queue::{Answer, Desk, Queue};
use super::{Ledger, Parts};
use crate::domain::batch::{Batch, Source};
use crate::domain::mark::Mark;
use crate::domain::outcome::Outcome;

pub mod address;
mod book;
mod chores;
pub mod error;
mod fault;
mod hook;
mod inbox;
mod link;
pub mod reader;
mod row;
mod sheet;
mod writer;

pub use hook::{Hook, Hooked};
/// What a [`Hook`] speaks to the ledger with.
pub use tokio_postgres;

/// A ledger in a database. Dropping it ends the writer, and waits for that: what it has in its hands nobody waits for any more, and a
/// database that does not answer is no reason to hold up the end of a process.
///
/// The writer takes all that waits into one transaction, so that many batches share one commit.
#[derive(Debug)]
pub struct PostgresLedger {
    // Goes first when the ledger is dropped: the writer ends, and the queue waits for that.
    open: Option<oneshot::Sender<()>>,
    queue: Queue,
}

impl PostgresLedger {
    /// Opens the ledger at `at`; makes it where there is none, and brings an older schema up to date.
    ///
    /// Where the server is away, that is done when it is back, and until then every batch is answered as unavailable. Every batch is
    /// answered within less than `call_timeout`, whatever the server does.
    pub fn open(at: &Address, parts: Parts, call_timeout: Duration) -> Result<Self, LedgerError> {
        Self::open_maybe_with(Place { at: at.clone(), hook: None }, parts, call_timeout)
    }

    /// The same, with a `hook` that joins its transactions.
    pub fn open_with(
        at: &Address,
        parts: Parts,
        call_timeout: Duration,
        hook: Arc<dyn Hook>,
    ) -> Result<Self, LedgerError> {
        Self::open_maybe_with(Place { at: at.clone(), hook: Some(hook) }, parts, call_timeout)
    }

    /// The same ledger, which from now on says of each event where its order stands after it: `AppliedTo` in place of `Applied`.
    #[must_use]
    pub fn telling_effects(mut self) -> Self {
        self.queue.tell_effects();
        self
    }

    /// Ends the writer, and says whether it lived to the end.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.open = None;
        self.queue.close()
    }

    fn open_maybe_with(place: Place, parts: Parts, call_timeout: Duration) -> Result<Self, LedgerError> {
        let (open, closed) = oneshot::channel();
        let queue = Queue::start(move |desk| {
            write(desk, closed, async move || Writer::open(place, parts, call_timeout).await);
        })?;
        Ok(Self { open: Some(open), queue })
    }
}

impl Ledger for PostgresLedger {
    fn apply(&self, batch: Batch) -> Answer<'_, Vec<Outcome>> {
        self.queue.apply(batch)
    }

    fn standing(&self, source: Arc<Source>) -> Answer<'_, Result<Mark, LedgerError>> {
        self.queue.standing(source)
    }

    fn prune(&self, request: Prune) -> Answer<'_, Result<Pruned, LedgerError>> {
        self.queue.prune(request)
    }

    fn broken(&self) -> Answer<'_, String> {
        self.queue.broken()
    }
}

/// The thread: opens the ledger, says how that went, and writes until it is closed.
fn write(mut desk: Desk, closed: oneshot::Receiver<()>, open: impl AsyncFnOnce() -> Result<Writer, PostgresError>) {
    let opened = own_runtime().and_then(|runtime| {
        let writer = runtime.block_on(open())?;
        Ok((runtime, writer))
    });
    match opened {
        Ok((runtime, writer)) => {
            desk.opened(Ok(()));
            runtime.block_on(writer.run(&mut desk, closed));
        }
        Err(error) => desk.opened(Err(error)),
    }
}

/// A runtime for one thread: what the ledger waits for does not depend on how busy the others are.
fn own_runtime() -> Result<Runtime, LedgerError> {
    let built = runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| LedgerError::WriterStopped { why: error.to_string() })
}

impl From<PostgresError> for LedgerError {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(Box::new(error))
    }
}
