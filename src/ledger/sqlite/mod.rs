//! The ledger in an SQLite file.
//!
//! Owns: the writer's thread, and the way of a batch to it and back.
//! Never: a second writer in this process. Other processes may write to the same file; the file's lock keeps them apart.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, mpsc as std_mpsc};
use std::thread::{Builder, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::chore::{Prune, Pruned};
use super::error::LedgerError;
use super::{Ledger, Parts};
use crate::domain::batch::{Batch, Source};
use crate::domain::mark::Mark;
use crate::domain::outcome::{Failure, Outcome};
use writer::{Chore, Job, Request, Waiting};

mod book;
mod chores;
mod fault;
mod hook;
mod inbox;
mod lock;
mod open;
mod place;
pub mod reader;
mod row;
mod writer;

pub use hook::Hook;
/// What a [`Hook`] speaks to the ledger with.
pub use rusqlite;

/// So many batches may wait for the writer; whoever brings one more waits with it.
const QUEUE: usize = 64;

/// A ledger in a file. Dropping it lets the writer finish what it was given, and waits for that.
///
/// The writer takes all that waits into one transaction, so that many batches share one write to the disk.
#[derive(Debug)]
pub struct SqliteLedger {
    // Both are `Some` until the ledger is closed.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    broken: Arc<OnceLock<String>>,
}

impl SqliteLedger {
    /// Opens the ledger at `path`; makes the file where there is none, and brings an older schema up to date.
    pub fn open(path: &Path, parts: Parts) -> Result<Self, LedgerError> {
        Self::open_maybe_with(path, parts, None)
    }

    /// The same, with a `hook` that joins its transactions.
    pub fn open_with(path: &Path, parts: Parts, hook: Arc<dyn Hook>) -> Result<Self, LedgerError> {
        Self::open_maybe_with(path, parts, Some(hook))
    }

    fn open_maybe_with(path: &Path, parts: Parts, hook: Option<Arc<dyn Hook>>) -> Result<Self, LedgerError> {
        let path = path.to_owned();
        let (ready, opened) = std_mpsc::channel();
        let ledger = Self::start(move |requests, broken| {
            writer::run(&Job { path, parts, hook, log_failed: Arc::default() }, requests, &ready, broken);
        })?;
        let died = || LedgerError::WriterStopped { why: "it died while it opened the file".to_owned() };
        opened.recv().map_err(|_| died())??;
        Ok(ledger)
    }

    /// Lets the writer finish what it was given, and says whether it lived to the end.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.finish()
    }

    /// Ends when the writer has: not before this ledger is closed, unless it died. Nothing is applied from then on.
    pub async fn stopped(&self) {
        if let Some(requests) = &self.requests {
            requests.closed().await;
        }
    }

    fn start(
        write: impl FnOnce(mpsc::Receiver<Request>, &OnceLock<String>) + Send + 'static,
    ) -> Result<Self, LedgerError> {
        let (requests, waiting) = mpsc::channel(QUEUE);
        let broken = Arc::default();
        let reason = Arc::clone(&broken);
        let thread = Builder::new().name("ledger".to_owned()).spawn(move || write(waiting, &reason));
        let writer = thread.map_err(|error| LedgerError::WriterStopped { why: error.to_string() })?;
        Ok(Self { requests: Some(requests), writer: Some(writer), broken })
    }

    fn finish(&mut self) -> Result<(), LedgerError> {
        // The writer ends when nobody can bring it anything any more.
        self.requests = None;
        let ended = self.writer.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| LedgerError::WriterStopped { why: "it panicked".to_owned() })
    }

    /// Brings `batch` to the writer and waits; `None` where there is no writer any more.
    async fn ask(&self, batch: Batch) -> Option<Vec<Outcome>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Batch(Waiting { batch, reply })).await?;
        answer.await.ok()
    }

    async fn send(&self, request: Request) -> Option<()> {
        self.requests.as_ref()?.send(request).await.ok()
    }
}

impl Ledger for SqliteLedger {
    fn apply(&self, batch: Batch) -> Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + '_>> {
        Box::pin(async move {
            let events = batch.len();
            let no_writer = || vec![Outcome::Failed(Failure::unavailable("the ledger's writer has stopped")); events];
            self.ask(batch).await.unwrap_or_else(no_writer)
        })
    }

    fn standing(&self, source: Arc<Source>) -> Pin<Box<dyn Future<Output = Result<Mark, LedgerError>> + Send + '_>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.send(Request::Chore(Chore::Standing(source, reply))).await.ok_or_else(no_writer)?;
            answer.await.map_err(|_| no_writer())?
        })
    }

    fn prune(&self, request: Prune) -> Pin<Box<dyn Future<Output = Result<Pruned, LedgerError>> + Send + '_>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.send(Request::Chore(Chore::Prune(request, reply))).await.ok_or_else(no_writer)?;
            answer.await.map_err(|_| no_writer())?
        })
    }

    fn broken(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            self.stopped().await;
            self.broken.get().map_or_else(|| "the ledger's writer has stopped".to_owned(), Clone::clone)
        })
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the ledger was not closed in good order");
        }
    }
}

fn no_writer() -> LedgerError {
    LedgerError::WriterStopped { why: "it has ended".to_owned() }
}

/// The error for something that failed on an open ledger.
fn failed(doing: &'static str, path: &Path, error: &rusqlite::Error) -> LedgerError {
    LedgerError::Failed { doing, path: PathBuf::from(path), why: fault::sentence(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_writer_that_panics_is_noticed_and_nobody_waits_for_it() {
        let ledger = SqliteLedger::start(|mut requests, _| {
            let _held = requests.blocking_recv();
            panic!("on purpose");
        })
        .unwrap();
        runtime().block_on(async {
            let nothing: Batch = Arc::default();
            assert_eq!(ledger.ask(Arc::clone(&nothing)).await, None, "the batch that was in its hands");
            ledger.stopped().await;
            assert_eq!(ledger.ask(nothing).await, None, "a batch that comes later");
        });
        assert_eq!(ledger.close().unwrap_err().to_string(), "the ledger's writer has stopped: it panicked");
    }
}
