//! What is measured.

use orderd::domain::batch::Batch;
use orderd::ledger::Ledger;

/// Which stores there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A store, on which ledgers can be made.
pub(crate) trait Store {
    fn name(&self) -> &'static str;

    /// A new place for a ledger, with nothing in it.
    fn place(&self) -> anyhow::Result<Box<dyn Place>>;
}

/// A place for a ledger. Dropped, it goes.
pub(crate) trait Place {
    /// The ledger at this place, made where there is none.
    fn open(&self) -> anyhow::Result<Box<dyn Ledger>>;

    /// Events a second of an insert written by hand, in transactions of as many events as those of orderd: into the same tables, with
    /// the same indexes, and without a question about what may happen to an order.
    fn by_hand(&self, batches: &[Batch]) -> anyhow::Result<f64>;

    /// What the ledger takes up.
    fn bytes(&self) -> anyhow::Result<f64>;
}
