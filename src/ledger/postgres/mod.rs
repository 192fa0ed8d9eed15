//! The ledger in a Postgres database.
//!
//! Owns: the writer's thread, and the way of a batch to it and back.
//! Never: a second writer in this process. Other processes may write to the same database, from any host.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc as std_mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, oneshot};

use self::address::Address;
use self::error::PostgresError;
use self::writer::{Request, Writer};
use super::error::LedgerError;
use super::{Ledger, Parts};
use crate::domain::batch::Batch;
use crate::domain::outcome::{Failure, Outcome};

pub mod address;
mod book;
pub mod error;
mod fault;
mod inbox;
mod link;
pub mod reader;
mod row;
mod sheet;
mod writer;

/// So many batches may wait for the writer; whoever brings one more waits with it.
const QUEUE: usize = 64;

/// A ledger in a database. Dropping it ends the writer, and waits for that: what it has in its hands nobody waits for any more, and a
/// database that does not answer is no reason to hold up the end of a process.
///
/// The writer takes all that waits into one transaction, so that many batches share one commit.
#[derive(Debug)]
pub struct PostgresLedger {
    // All are `Some` until the ledger is closed.
    requests: Option<mpsc::Sender<Request>>,
    open: Option<oneshot::Sender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl PostgresLedger {
    /// Opens the ledger at `at`; makes it where there is none, and brings an older schema up to date.
    ///
    /// Where the server is away, that is done when it is back, and until then every batch is answered as unavailable. Every batch is
    /// answered within less than `call_timeout`, whatever the server does.
    pub fn open(at: &Address, parts: Parts, call_timeout: Duration) -> Result<Self, LedgerError> {
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (ready, opened) = std_mpsc::channel();
        let (open, closed) = oneshot::channel();
        let at = at.clone();
        let thread = Builder::new().name("ledger".to_owned()).spawn(move || {
            let opening = async move || Writer::open(at, parts, call_timeout).await;
            write(opening, waiting, closed, &ready);
        });
        let writer = thread.map_err(|error| LedgerError::WriterStopped { why: error.to_string() })?;
        let ledger = Self { requests: Some(requests), open: Some(open), writer: Some(writer) };
        let died = || LedgerError::WriterStopped { why: "it died while it opened the ledger".to_owned() };
        opened.recv().map_err(|_| died())??;
        Ok(ledger)
    }

    /// Ends the writer, and says whether it lived to the end.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), LedgerError> {
        self.requests = None;
        self.open = None;
        let ended = self.writer.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| LedgerError::WriterStopped { why: "it panicked".to_owned() })
    }

    /// Brings `batch` to the writer and waits; `None` where there is no writer any more.
    async fn ask(&self, batch: Batch) -> Option<Vec<Outcome>> {
        let (reply, answer) = oneshot::channel();
        self.requests.as_ref()?.send(Request { batch, reply }).await.ok()?;
        answer.await.ok()
    }
}

impl Ledger for PostgresLedger {
    fn apply(&self, batch: Batch) -> Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + '_>> {
        Box::pin(async move {
            let events = batch.len();
            let no_writer = || vec![Outcome::Failed(Failure::unavailable("the ledger's writer has stopped")); events];
            self.ask(batch).await.unwrap_or_else(no_writer)
        })
    }

    fn broken(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            if let Some(requests) = &self.requests {
                requests.closed().await;
            }
            "the ledger's writer has stopped".to_owned()
        })
    }
}

impl Drop for PostgresLedger {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the ledger was not closed in good order");
        }
    }
}

/// The thread: opens the ledger, says through `ready` how that went, and writes until it is closed.
fn write(
    opening: impl AsyncFnOnce() -> Result<Writer, PostgresError>,
    requests: mpsc::Receiver<Request>,
    closed: oneshot::Receiver<()>,
    ready: &std_mpsc::Sender<Result<(), LedgerError>>,
) {
    let opened = own_runtime().and_then(|runtime| {
        let writer = runtime.block_on(opening())?;
        Ok((runtime, writer))
    });
    // Whoever opens the ledger waits for this word. If it is gone, then so are the requests.
    match opened {
        Ok((runtime, writer)) => {
            let _ = ready.send(Ok(()));
            runtime.block_on(writer.run(requests, closed));
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
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
