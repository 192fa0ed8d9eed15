//! What can go wrong with a ledger on Postgres as a whole.
//!
//! Owns: the sentence that tells an operator what is the matter.
//! Never: what is wrong with one event (that is its `Outcome`); a password (an `Address` shows itself without).

use super::address::Address;

/// A ledger on Postgres that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresError {
    /// The server does not answer, or takes nobody now. May pass.
    #[error("cannot reach the ledger {at}: {why}")]
    Unreachable {
        /// Where it was looked for.
        at: Box<Address>,
        /// The reason.
        why: String,
    },
    /// The server does not let us in, or not do what is needed. Helps: the password, the rights of the role.
    #[error("the ledger {at} is not open to us: {why}")]
    Denied {
        /// Where it is.
        at: Box<Address>,
        /// What the server said.
        why: String,
    },
    /// The database holds no ledger. A worker makes one at its start.
    #[error("there is no ledger at {at}")]
    Missing {
        /// Where it was looked for.
        at: Box<Address>,
    },
    /// The database cannot hold a ledger, or something else has its place, and is left alone.
    #[error("{at} is not a ledger of orderd: {why}")]
    NotALedger {
        /// Where it is.
        at: Box<Address>,
        /// What is there.
        why: String,
    },
    /// The ledger was written by a newer orderd. Helps: a newer orderd.
    #[error(
        "the ledger {at} has schema version {found}, and this orderd knows versions up to {known}: use a newer orderd"
    )]
    NewerSchema {
        /// Where it is.
        at: Box<Address>,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// An operation on it failed. May work later.
    #[error("cannot {doing} the ledger {at}: {why}")]
    Failed {
        /// The operation.
        doing: &'static str,
        /// Where it is.
        at: Box<Address>,
        /// The reason.
        why: String,
    },
}
