//! Why there is no daemon, or none any more.
//!
//! Owns: the reasons, from which `cli` makes exit codes.
//! Never: what is done about them.

use crate::admin::AdminError;
use crate::broker::error::BrokerError;
use crate::ledger::error::LedgerError;
use crate::supervisor::GaveUp;
use crate::task::gap::Missing;

/// A daemon could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The admin server cannot listen.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The address of Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] BrokerError),
}

/// A daemon ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task kept failing.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    /// Redis does not let us in, and waiting does not help.
    #[error(transparent)]
    Denied(BrokerError),
    /// The ledger lacks events that were acknowledged.
    #[error(transparent)]
    Gap(Box<Missing>),
}
