//! A table of one's own, kept in the transaction of the ledger: exactly once, as the ledger itself. `cargo run --example ledger_hook`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use orderd::daemon::Daemon;
use orderd::domain::batch::Work;
use orderd::domain::event::Action;
use orderd::domain::outcome::Failure;
use orderd::ledger::Parts;
use orderd::ledger::sqlite::rusqlite::{Connection, Result};
use orderd::ledger::sqlite::{Hook, SqliteLedger};
use orderd::settings::{self, Sources};
use orderd::supervisor::shutdown::Shutdown;
use orderd::telemetry::Telemetry;

/// Counts the parcels of each user.
pub(crate) struct Parcels;

impl Hook for Parcels {
    fn prepare(&self, ledger: &Connection) -> Result<()> {
        ledger
            .execute_batch("CREATE TABLE IF NOT EXISTS my_parcels (order_id TEXT PRIMARY KEY, parcels INTEGER) STRICT")
    }

    fn applied(&self, ledger: &Connection, work: &Work) -> Result<std::result::Result<(), Failure>> {
        if work.event.action == Action::Shipped {
            if work.event.order.as_str().starts_with("nowhere") {
                return Ok(Err(Failure::permanent("there is no such address")));
            }
            let mut count = ledger.prepare_cached(
                "INSERT INTO my_parcels VALUES (?1, 1) ON CONFLICT DO UPDATE SET parcels = parcels + 1",
            )?;
            count.execute([work.event.order.as_str()])?;
        }
        Ok(Ok(()))
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let settings = settings::load(&Sources { environment: std::env::vars_os().collect(), ..Sources::default() })?;
    let telemetry = Telemetry::new()?;
    let parts = Parts { rules: settings.rules.clone(), telemetry: telemetry.clone() };
    let ledger = SqliteLedger::open_with(Path::new("orderd.db"), parts, Arc::new(Parcels))?;
    Ok(Daemon::with_ledger(settings, telemetry, Arc::new(ledger))?.run(Shutdown::new()).await?)
}
