//! A table of one's own, kept in the transaction of the ledger on Postgres: exactly once, as the ledger itself.
//! `ORDERD__LEDGER__URL=postgres://… cargo run --example ledger_hook_postgres`

use std::error::Error;
use std::sync::Arc;

use orderd::daemon::Daemon;
use orderd::domain::batch::Work;
use orderd::domain::event::Action;
use orderd::domain::outcome::Failure;
use orderd::ledger::Parts;
use orderd::ledger::location::Location;
use orderd::ledger::postgres::tokio_postgres::Client;
use orderd::ledger::postgres::{Hook, Hooked, PostgresLedger};
use orderd::settings::{self, Sources};
use orderd::supervisor::shutdown::Shutdown;
use orderd::telemetry::Telemetry;

/// Counts the parcels of each order.
pub(crate) struct Parcels;

impl Hook for Parcels {
    fn prepare<'a>(&'a self, ledger: &'a Client) -> Hooked<'a, ()> {
        Box::pin(ledger.batch_execute("CREATE TABLE IF NOT EXISTS my_parcels (order_id text PRIMARY KEY, parcels int)"))
    }

    fn applied<'a>(&'a self, ledger: &'a Client, works: &'a [&'a Work]) -> Hooked<'a, Result<(), Failure>> {
        Box::pin(async move {
            let shipped = works.iter().filter(|work| work.event.action == Action::Shipped);
            let orders: Vec<&str> = shipped.map(|work| work.event.order.as_str()).collect();
            if orders.iter().any(|order| order.starts_with("nowhere")) {
                return Ok(Err(Failure::permanent("there is no such address")));
            }
            let count = "INSERT INTO my_parcels SELECT o, count(*) FROM unnest($1::text[]) AS o GROUP BY o ORDER BY o
                ON CONFLICT (order_id) DO UPDATE SET parcels = my_parcels.parcels + excluded.parcels";
            ledger.execute(count, &[&orders]).await?;
            Ok(Ok(()))
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = settings::load(&Sources { environment: std::env::vars_os().collect(), ..Sources::default() })?;
    let telemetry = Telemetry::new()?;
    let parts = Parts { rules: settings.rules.clone(), telemetry: telemetry.clone() };
    let Location::Postgres(address) = &settings.ledger else { return Err("ledger.url names no Postgres".into()) };
    let ledger = PostgresLedger::open_with(address, parts, settings.lanes.timeout, Arc::new(Parcels))?;
    Ok(Daemon::with_ledger(settings, telemetry, Arc::new(ledger))?.run(Shutdown::new()).await?)
}
