//! The whole program with its ledger on Postgres.

use std::process::Command;
use std::sync::Arc;

use super::harness::faults::Faults;
use super::harness::postgres::{Database, Postgres};
use super::harness::{World, wait_until};

const EVENTS: &str = "SELECT count(*) FROM orderd.order_events";

#[test]
fn while_the_database_is_away_reading_pauses_and_then_everything_is_applied_once() {
    let Some(server) = Postgres::start() else { return };
    let database = Database::on(Arc::new(server));
    let world = World::new();
    database.server.stop();
    let mut daemon = world.daemon("w", &[("ledger.url", &database.url())]);
    world.add_many(400, 100);
    wait_until("the outage is noticed", || daemon.get("/readyz").1.contains("cannot reach the ledger"));

    database.server.start_again();
    world.wait_until_drained();
    assert_eq!(database.value::<i64>(EVENTS), 400);

    // In the midst of work, again and again.
    let mut expected = 400;
    for round in 0..3 {
        for n in 0..1000 {
            let order = format!("r{round}-{n}");
            world.add(&[("action", "created"), ("orderId", &order), ("amount", "1"), ("userId", "u")]);
            if n == 500 && round == 1 {
                database.server.kill9();
                database.server.start_again();
            } else if n == 500 {
                database.server.stop();
                database.server.start_again();
            }
        }
        expected += 1000;
    }
    world.wait_until_drained();
    assert_eq!(database.value::<i64>(EVENTS), expected);
    assert_eq!(world.dead_letters().len(), 0);
    let (status, _) = daemon.stop();
    assert!(status.success(), "{status}");
}

/// Adds orders that begin, as many as need more room than there is.
fn add_orders(world: &World, prefix: &str) {
    for n in 0..400 {
        let order = format!("{prefix}-{n}");
        world.add(&[("action", "created"), ("orderId", &order), ("amount", "1"), ("userId", "u")]);
    }
}

#[test]
fn a_full_disk_under_the_database_pauses_the_work_until_there_is_room_again() {
    let mut faults = None;
    let started = Postgres::start_in(|folder| {
        let faults = faults.insert(Faults::within(folder));
        faults.environment().map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    });
    let (Some(server), Some(faults)) = (started, faults) else { return };
    let database = Database::on(Arc::new(server));
    let world = World::new();
    let mut daemon = world.daemon("w", &[("ledger.url", &database.url())]);
    add_orders(&world, "a");
    world.wait_until_drained();

    // No room for the tables: the server says so and goes on.
    faults.begin_on("/data/base/", "full");
    add_orders(&world, "b");
    wait_until("it says that there is no room", || daemon.get("/readyz").1.contains("there is no room left"));
    assert!(world.pending() > 0, "nothing of it was acknowledged");
    faults.end("full");
    world.wait_until_drained();
    assert_eq!(database.value::<i64>(EVENTS), 800);

    // No room for its log: it breaks down, and tries to come back, again and again.
    faults.begin_on("/data/pg_wal/", "full");
    add_orders(&world, "c");
    wait_until("the outage is noticed", || daemon.get("/readyz").1.contains("cannot reach the ledger"));
    assert!(world.pending() > 0, "nothing of it was acknowledged");
    faults.end("full");
    world.wait_until_drained();
    assert_eq!(database.value::<i64>(EVENTS), 1200);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM orderd.orders WHERE version = 1"), 1200);
    assert!(world.dead_letters().is_empty());
    assert!(daemon.stop().0.success());
}

#[test]
fn a_worker_that_dies_around_the_commit_leaves_nothing_applied_twice_and_nothing_out() {
    for place in ["before-commit", "after-commit"] {
        let Some(database) = Database::new() else { return };
        let world = World::new();
        world.add_many(400, 100);
        let mut doomed = world.doomed_daemon("w", &[("ledger.url", &database.url())], place);
        let (status, _) = doomed.wait();
        assert!(!status.success(), "{place}: {status}");
        let _daemon = world.daemon("w", &[("ledger.url", &database.url())]);
        world.wait_until_drained();
        assert_eq!(database.value::<i64>(EVENTS), 400, "{place}");
        assert_eq!(database.text("SELECT DISTINCT state FROM orderd.orders"), "delivered\n", "{place}");
        assert_eq!(world.dead_letters().len(), 0, "{place}");
    }
}

#[test]
fn a_wrong_password_at_the_start_ends_it_with_77_and_what_else_does_not_pass_with_69() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    let role = format!("d_{}", database.name);
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right' IN ROLE locked"));
    let wrong = database.url().replace("postgres@", &format!("{role}:canary@"));
    let missing = database.server.url("no_such_database");
    for (url, code, sentence) in [(&wrong, 77, "password authentication failed"), (&missing, 69, "does not exist")] {
        let mut daemon = world.daemon("w", &[("ledger.url", url)]);
        let (status, _) = daemon.wait();
        assert_eq!(status.code(), Some(code), "{}", daemon.log());
        assert!(daemon.log().contains(sentence) && !daemon.log().contains("canary"), "{}", daemon.log());
        let orders = orders(url, &[]);
        assert_eq!(orders.status.code(), Some(code));
        let said = String::from_utf8_lossy(&orders.stderr).into_owned();
        assert!(said.contains(sentence) && !said.contains("canary"), "{said}");
    }
}

#[test]
fn a_database_that_was_put_back_is_refused_and_the_way_out_applies_what_it_lacks() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    let work_off = |url: &str, arguments: &[&str]| {
        let mut daemon = world.daemon_with("w", arguments, &[("ledger.url", url)], &[]);
        daemon.wait_until_ready();
        world.wait_until_drained();
        assert!(daemon.stop().0.success());
    };
    world.add_many(40, 10);
    work_off(&database.url(), &[]);
    let older = database.copy();
    for n in 0..5 {
        world.add(&[("action", "created"), ("orderId", &format!("late-{n}")), ("amount", "1"), ("userId", "u")]);
    }
    work_off(&database.url(), &[]);
    assert_eq!(database.value::<i64>(EVENTS), 45);

    let mut refusing = world.daemon("w", &[("ledger.url", &older.url())]);
    assert_eq!(refusing.wait().0.code(), Some(65), "{}", refusing.log());
    let message = refusing.log_lines("orderd: the ledger lacks").pop().expect("a message");
    assert!(message.contains("An older copy") && message.contains("there are still 5 entries"), "{message}");
    assert_eq!(older.value::<i64>(EVENTS), 40);

    let (_, rest) = message.split_once("run `").expect("a command");
    let command: Vec<&str> = rest.split_once('`').expect("a command").0.split(' ').collect();
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut world.redis()).expect("the command works");
    work_off(&older.url(), &["--accept-gap"]);
    assert_eq!(older.value::<i64>(EVENTS), 45);
    work_off(&older.url(), &[]);

    // And one that has nothing of it at all.
    let mut another = world.daemon("w", &[("ledger.url", &Database::new().expect("a database").url())]);
    assert_eq!(another.wait().0.code(), Some(65), "{}", another.log());
    assert!(another.log().contains("were applied to another one"), "{}", another.log());
}

#[test]
fn a_database_that_is_away_at_the_start_is_waited_for_before_it_is_held_against_its_mark() {
    let Some(server) = Postgres::start() else { return };
    let database = Database::on(Arc::new(server));
    let world = World::new();
    world.add_many(40, 10);
    let mut daemon = world.daemon("w", &[("ledger.url", &database.url())]);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
    database.server.stop();
    let mut daemon = world.daemon("w", &[("ledger.url", &database.url())]);
    wait_until("it says what it waits for", || daemon.get("/readyz").1.contains("cannot reach the ledger"));
    database.server.start_again();
    daemon.wait_until_ready();
    assert!(daemon.stop().0.success());
}

#[test]
fn orders_on_postgres_are_listed_and_shown() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    world.add_many(8, 2);
    let _daemon = world.daemon("w", &[("ledger.url", &database.url())]);
    world.wait_until_drained();
    let listed = String::from_utf8(orders(&database.url(), &["--state", "delivered"]).stdout).unwrap();
    assert!(listed.contains("order-0") && listed.contains("order-1") && listed.contains("10.50"), "{listed}");
    let shown = String::from_utf8(orders(&database.url(), &["show", "order-1", "--json"]).stdout).unwrap();
    assert!(shown.contains("\"paid\":\"10.50\"") && shown.contains("\"version\":4"), "{shown}");
}

fn orders(url: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.arg("orders").args(arguments).env("ORDERD__LEDGER__URL", url).env_remove("ORDERD_CONFIG");
    command.output().unwrap()
}

#[test]
fn a_ledger_that_is_not_there_yet_and_one_that_is_are_both_fine_for_the_check() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    let ledger = format!("ledger.url={}", database.url());
    let said = || {
        let output = world.orderd(&["check", "--set", &ledger]);
        assert_eq!(output.code, 0, "{}{}", output.out, output.err);
        output.out.lines().find(|line| line.starts_with("ok       ledger ")).map(str::to_owned).expect("a line")
    };
    let before = said();
    let mut daemon = world.daemon("w", &[("ledger.url", &database.url())]);
    daemon.wait_until_ready();
    assert!(daemon.stop().0.success());
    assert_ne!(said(), before, "there is one now");
}
