//! The ledger in an SQLite file.
//!
//! Owns: what an SQLite ledger is to those who use it.
//! Never: a second writer in this process. Other processes may write to the same file; the file's lock keeps them apart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chore::{Prune, Pruned};
use super::error::LedgerError;
use super::queue::{Answer, Queue};
use super::{Ledger, Parts};
use crate::domain::batch::{Batch, Source};
use crate::domain::mark::Mark;
use crate::domain::outcome::Outcome;
use writer::Job;

mod book;
mod chores;
mod fault;
mod hook;
mod inbox;
mod lock;
mod open;
mod orders;
mod place;
pub mod probe;
pub mod reader;
mod row;
mod writer;

pub use hook::Hook;
/// What a [`Hook`] speaks to the ledger with.
pub use rusqlite;

/// A ledger in a file. Dropping it lets the writer finish what it was given, and waits for that.
///
/// The writer takes all that waits into one transaction, so that many batches share one write to the disk.
#[derive(Debug)]
pub struct SqliteLedger {
    queue: Queue,
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

    /// The same ledger, which from now on says of each event where its order stands after it: `AppliedTo` in place of `Applied`.
    #[must_use]
    pub fn telling_effects(mut self) -> Self {
        self.queue.tell_effects();
        self
    }

    /// Lets the writer finish what it was given, and says whether it lived to the end.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.queue.close()
    }

    fn open_maybe_with(path: &Path, parts: Parts, hook: Option<Arc<dyn Hook>>) -> Result<Self, LedgerError> {
        let job = Job { path: path.to_owned(), parts, hook, log_failed: Arc::default() };
        Ok(Self { queue: Queue::start(move |desk| writer::run(&job, desk))? })
    }
}

impl Ledger for SqliteLedger {
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

/// The error for something that failed on an open ledger.
fn failed(doing: &'static str, path: &Path, error: &rusqlite::Error) -> LedgerError {
    LedgerError::Failed { doing, path: PathBuf::from(path), why: fault::sentence(error) }
}
