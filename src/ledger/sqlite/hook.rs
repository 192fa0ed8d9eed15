//! A hook: what a program that embeds orderd does in the transaction of the ledger.
//!
//! Owns: the contract.
//! Never: an effect outside of the transaction; what a hook does elsewhere can happen twice, or for nothing.

use rusqlite::{Connection, Result};

use crate::domain::batch::Work;
use crate::domain::outcome::Failure;

/// Joins the transaction of the ledger: what it writes there is in place exactly when the event is.
///
/// It runs on the ledger's thread, and holds up all events while it does. It must neither begin nor end a transaction, and keep to
/// tables of its own, whose names begin with something that orderd does not use.
pub trait Hook: Send + Sync + 'static {
    /// Called once, when the ledger is opened: the place to make a table.
    fn prepare(&self, ledger: &Connection) -> Result<()>;

    /// Called for each event that was applied, after it was. `Ok(Err(failure))` refuses the event: what it did to its order is undone,
    /// what this call wrote too, and the failure is the event's outcome. An error is that of the whole transaction, which comes again.
    fn applied(&self, ledger: &Connection, work: &Work) -> Result<std::result::Result<(), Failure>>;
}
