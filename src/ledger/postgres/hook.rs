//! A hook: what a program that embeds orderd does in the transaction of the ledger.
//!
//! Owns: the contract, and the first call of a connection.
//! Never: an effect outside of the transaction; what a hook does elsewhere can happen twice, or for nothing.

use std::pin::Pin;

use tokio_postgres::{Client, Error};

use super::link::MIGRATION;
use crate::domain::batch::Work;
use crate::domain::outcome::Failure;

/// What a hook answers some time later. An error is that of the whole transaction.
pub type Hooked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Joins the transaction of the ledger: what it writes there is in place exactly when the events are.
///
/// It runs on the ledger's connection, and holds up all events while it does. It must neither begin nor end a transaction, and keep to
/// tables of its own, outside of the schema `orderd`. Workers lock what they write in one order, so that they never wait for each other
/// in a circle: a hook that changes rows of several orders should do it by key, too.
pub trait Hook: Send + Sync + 'static {
    /// Called on each new connection, in a transaction of its own, by one worker at a time: the place to make a table where there is none.
    fn prepare<'a>(&'a self, ledger: &'a Client) -> Hooked<'a, ()>;

    /// Called once in each transaction, at its end, with the events that were applied in it, in order. `Ok(Err(failure))` refuses them:
    /// all is undone, and they are entered again in halves, until one stands alone; to that one the failure belongs, and what came with it
    /// is in place.
    fn applied<'a>(&'a self, ledger: &'a Client, works: &'a [&'a Work]) -> Hooked<'a, Result<(), Failure>>;
}

/// Lets `hook` make what it needs.
pub(super) async fn prepare(hook: &dyn Hook, client: &Client) -> Result<(), Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'").await?;
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION]).await?;
    hook.prepare(client).await?;
    client.batch_execute("COMMIT").await
}
