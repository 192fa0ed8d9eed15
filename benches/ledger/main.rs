//! The speed of the ledger: one transaction for each event, one for all that waits, and what a hand-written insert of batches does.
//!
//! Owns: who is measured and how often, and the growth of a ledger.
//! Never: a number that was not measured in this run; a process left behind.
//!
//! `make bench-ledger` runs it; `docs/ledger.md` says what the rows mean. Both ledgers write to a disk, with every fsync that they need.

use std::time::Duration;

use clap::Parser;

#[path = "../road/frame.rs"]
#[expect(dead_code, reason = "there is no JSON of this one")]
mod frame;
#[path = "../road/machine.rs"]
mod machine;
#[path = "../road/table.rs"]
mod table;

mod growth;
mod lives;
mod measure;
mod postgres;
mod server;
mod sqlite;
mod store;

use lives::Lives;
use measure::median;
use server::Server;
use store::Store;
use table::{count, grouped};

/// Measures the ledgers
#[derive(Debug, Parser)]
#[command(name = "ledger")]
struct Options {
    /// How often each row is measured; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Events of a row
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    events: u64,
    /// For how many seconds one event at a time is entered
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Up to how many orders the ledger grows; 0 leaves that out
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    orders: u64,
    /// A first look: one round, a fifth of the events, no growth
    #[arg(long)]
    quick: bool,
    /// Only this one
    #[arg(long, value_enum)]
    store: Option<store::Kind>,
    /// Ids of orders that rise, such as numbers, in place of random ones
    #[arg(long)]
    rising: bool,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    if !frame::is_asked_for() {
        return Ok(());
    }
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.events, options.orders) = (1, options.events / 5, 0);
    }
    println!("{} cores, load average {:.1}", machine::cores(), machine::load()?);
    let server = if options.store == Some(store::Kind::Sqlite) { None } else { Server::start()? };
    let mut stores: Vec<Box<dyn Store>> = Vec::new();
    if options.store != Some(store::Kind::Postgres) {
        stores.push(Box::new(sqlite::Sqlite));
    }
    match &server {
        Some(server) => stores.push(Box::new(postgres::Postgres::new(server))),
        None => println!("Postgres is left out"),
    }
    for store in &stores {
        speed(&**store, &options)?;
    }
    if options.orders > 0 {
        growth::show(&stores, options.orders, options.events, options.rising)?;
    }
    println!("load average {:.1} at the end", machine::load()?);
    Ok(())
}

/// The rows of one store, all of them in each round, so that what the machine does besides falls on all.
fn speed(store: &dyn Store, options: &Options) -> anyhow::Result<()> {
    let (mut singly, mut batches, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    let mut size = 0.0;
    for _ in 0..options.rounds {
        let mut lives = Lives::new(options.rising);
        let place = store.place()?;
        singly.push(measure::singly(&*place.open()?, &mut lives, Duration::from_secs(options.seconds))?);
        let place = store.place()?;
        let mut lives = Lives::new(options.rising);
        let took = measure::batches(&*place.open()?, lives.batches(options.events))?;
        batches.push(count(options.events) / took.as_secs_f64());
        size = place.bytes()? / count(options.events) * 1e6;
        let place = store.place()?;
        by_hand.push(place.by_hand(&lives.batches(options.events))?);
    }
    let (singly, batches, by_hand) = (median(singly), median(batches), median(by_hand));
    let mut table = table::markdown(&[store.name(), "events/s", "times one by one", "of the reference"]);
    let row = |name: &str, rate: f64| {
        let of = format!("{:.0} %", 100.0 * rate / by_hand);
        [name.to_owned(), grouped(rate), format!("{:.1}", rate / singly), of]
    };
    table.add_row(row("one transaction per event", singly));
    table.add_row(row("orderd: all that waits", batches));
    table.add_row(row("reference, by hand", by_hand));
    println!("\n{table}\n\nA million events take {:.0} MB.", size / 1e6);
    Ok(())
}
