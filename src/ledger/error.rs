//! What can go wrong with a ledger as a whole.
//!
//! Owns: the sentence that tells an operator what is the matter with the ledger.
//! Never: what is wrong with one event (that is its `Outcome`).

use std::path::PathBuf;

use super::postgres::error::PostgresError;

/// A ledger that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// There is no file.
    #[error("there is no ledger at {}", .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be opened or made. Helps: the place, its rights.
    #[error("cannot open the ledger {}: {why}", .path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file is something else, and is left alone.
    #[error("{} is not a ledger of orderd: {why}", .path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// The ledger was written by a newer orderd. Helps: a newer orderd.
    #[error(
        "the ledger {} has schema version {found}, and this orderd knows versions up to {known}: use a newer orderd",
        .path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The ledger is open, and an operation on it failed. May work later.
    #[error("cannot {doing} the ledger {}: {why}", .path.display())]
    Failed {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// It is on Postgres, and something is the matter there.
    #[error(transparent)]
    Postgres(Box<PostgresError>),
    /// The writer's thread could not be started, or has ended before its time. Helps: a restart.
    #[error("the ledger's writer has stopped: {why}")]
    WriterStopped {
        /// The reason.
        why: String,
    },
}

impl LedgerError {
    /// Whether the ledger does not let us in, or not do what is needed.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Postgres(error) if matches!(**error, PostgresError::Denied { .. }))
    }
}
