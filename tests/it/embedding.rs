//! The examples, run: programs that embed the daemon.

use std::fs::File;
use std::sync::Arc;

use orderd::daemon::Daemon;
use orderd::ledger::Parts;
use orderd::ledger::postgres::PostgresLedger;
use orderd::ledger::sqlite::SqliteLedger;
use orderd::settings::{self, Settings, Sources};
use orderd::supervisor::shutdown::Shutdown;
use orderd::telemetry::Telemetry;

use super::harness::postgres::Database;
use super::harness::{World, column, number, wait_until};

#[expect(dead_code, reason = "its `main` is for those who run it by hand")]
#[path = "../../examples/ledger_hook.rs"]
mod ledger_hook;
#[expect(dead_code, reason = "its `main` is for those who run it by hand")]
#[path = "../../examples/ledger_hook_postgres.rs"]
mod ledger_hook_postgres;
#[expect(dead_code, reason = "its `main` is for those who run it by hand")]
#[path = "../../examples/own_handler.rs"]
mod own_handler;

fn settings(world: &World) -> Settings {
    let set = [("redis.url", world.server.url()), ("admin.listen", "127.0.0.1:0".to_owned())];
    let overrides = set.map(|(key, value)| (key.to_owned(), value)).to_vec();
    settings::load(&Sources { overrides, ..Sources::default() }).expect("settings")
}

/// Runs a daemon beside the test, until the test has seen what it waits for.
fn run(daemon: Daemon, until: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let shutdown = Shutdown::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| runtime.block_on(daemon.run(shutdown.clone())));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(until));
        // In any case: the scope waits for the daemon.
        shutdown.stop();
        seen.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
        running.join().expect("no panic").expect("it stops in good order");
    });
}

#[test]
fn a_handler_of_ones_own_gets_every_event_in_the_order_of_its_order() {
    let world = World::new();
    world.add_many(300, 100);
    let journal = File::options().append(true).create(true).open(world.path("journal.txt")).expect("a file");
    let handler = Arc::new(own_handler::Journal(journal));
    let daemon = Daemon::with_handler(settings(&world), Telemetry::new().expect("telemetry"), handler);
    run(daemon.expect("a daemon"), || world.wait_until_drained());
    let text = std::fs::read_to_string(world.path("journal.txt")).expect("the journal");
    assert_eq!(text.lines().count(), 300);
    let of_one = text.lines().filter(|line| line.contains(" order-7 ")).filter_map(|line| line.rsplit(' ').next());
    assert_eq!(of_one.collect::<Vec<_>>(), ["created", "paid", "shipped"]);
}

#[test]
fn the_example_of_a_handler_is_shorter_than_forty_lines() {
    assert!(include_str!("../../examples/own_handler.rs").lines().count() < 40);
}

#[test]
fn a_hook_writes_in_the_transaction_of_the_ledger_and_what_it_refuses_leaves_nothing() {
    let world = World::new();
    add_parcels(&world);
    let telemetry = Telemetry::new().expect("telemetry");
    let settings = settings(&world);
    let parts = Parts { rules: settings.rules.clone(), telemetry: telemetry.clone() };
    let ledger = SqliteLedger::open_with(&world.ledger(), parts, Arc::new(ledger_hook::Parcels)).expect("a ledger");
    let daemon = Daemon::with_ledger(settings, telemetry, Arc::new(ledger)).expect("a daemon");
    run(daemon, || {
        world.wait_until_drained();
        wait_until("the refused one is a dead letter", || world.dead_letters().len() == 1);
    });
    let parcels = column::<String>(&world.ledger(), "SELECT order_id || parcels FROM my_parcels ORDER BY order_id");
    assert_eq!(parcels, ["a1", "b1"]);
    let states = column::<String>(&world.ledger(), "SELECT order_id || ' ' || state FROM orders ORDER BY order_id");
    assert_eq!(states, ["a shipped", "b shipped", "nowhere paid"]);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), 8);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM history"), 8);
}

#[test]
fn a_hook_on_postgres_writes_in_the_transaction_of_the_ledger_and_what_it_refuses_leaves_nothing() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    add_parcels(&world);
    let telemetry = Telemetry::new().expect("telemetry");
    let settings = settings(&world);
    let parts = Parts { rules: settings.rules.clone(), telemetry: telemetry.clone() };
    let at = database.url().parse().expect("an address");
    let hook = Arc::new(ledger_hook_postgres::Parcels);
    let ledger = PostgresLedger::open_with(&at, parts, settings.lanes.timeout, hook).expect("a ledger");
    let daemon = Daemon::with_ledger(settings, telemetry, Arc::new(ledger)).expect("a daemon");
    run(daemon, || {
        world.wait_until_drained();
        wait_until("the refused one is a dead letter", || world.dead_letters().len() == 1);
    });
    let parcels = "SELECT string_agg(order_id || parcels, ' ' ORDER BY order_id) FROM my_parcels";
    assert_eq!(database.value::<String>(parcels), "a1 b1");
    let states = "SELECT string_agg(order_id || ' ' || state, ', ' ORDER BY order_id) FROM orderd.orders";
    assert_eq!(database.value::<String>(states), "a shipped, b shipped, nowhere paid");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM orderd.inbox"), 8);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM orderd.history"), 8);
}

/// Three orders, one of them to where no parcel can go.
fn add_parcels(world: &World) {
    for order in ["a", "nowhere", "b"] {
        for action in ["created", "paid", "shipped"] {
            world.add(&[("action", action), ("orderId", order), ("amount", "1"), ("userId", "u")]);
        }
    }
}
