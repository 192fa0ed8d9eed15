//! The ledger through the life of a shop: what the whole program makes of a stream that begins again, a ledger that was lost, a disk
//! that fails.
//!
//! Owns: the ledger behind a running daemon. What the ledger promises by itself is in `ledger.rs`.
//! Never: a fault that only a mock could have.

use super::harness::{STREAM, World, column, number, wait_until};

/// Adds an event under an id of the test's choice.
fn add_as(world: &World, id: &str, order: &str, action: &str) {
    let mut add = redis::cmd("XADD");
    add.arg(STREAM).arg(id).arg("action").arg(action).arg("orderId").arg(order);
    add.arg("amount").arg("10.50").arg("userId").arg("u").exec(&mut world.redis()).expect("XADD");
}

#[test]
fn a_stream_that_was_deleted_and_gives_out_its_ids_again_loses_nothing() {
    let world = World::new();
    add_as(&world, "5-1", "a", "created");
    add_as(&world, "5-2", "a", "paid");
    let mut daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());

    redis::cmd("DEL").arg(STREAM).exec(&mut world.redis()).expect("DEL");
    add_as(&world, "5-1", "b", "created");
    add_as(&world, "5-2", "a", "paid");
    add_as(&world, "5-3", "b", "paid");
    let daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    wait_until("all is applied", || number(&world.ledger(), "SELECT count(*) FROM order_events") == 4);
    let orders: Vec<String> = column(&world.ledger(), "SELECT order_id || ' ' || state || ' ' || version FROM orders");
    assert_eq!(orders, ["a paid 2", "b paid 2"], "5-2 is the same entry as before; the others are not");
    assert_eq!(daemon.metric("orderd_generations_total"), Some(1.0));
    let lines = daemon.log_lines("an id came again with another entry");
    assert!(lines.len() == 1 && lines[0].contains("5-1") && lines[0].contains("5-2"), "{lines:?}");
}

/// What the bookkeeper does at once when the daemon starts; else it looks once a minute.
fn restarted_until(world: &World, what: &str, settings: &[(&str, &str)], mut condition: impl FnMut() -> bool) {
    let mut daemon = world.daemon("w", settings);
    wait_until(what, &mut condition);
    assert!(daemon.stop().0.success());
}

#[test]
fn the_inbox_forgets_what_can_be_delivered_no_more_and_remembers_dead_letters_and_other_groups() {
    let world = World::new();
    for n in 1..=40 {
        add_as(&world, &format!("{n}-0"), &format!("o-{n}"), if n == 20 { "lost-in-thought" } else { "created" });
    }
    redis::cmd("XGROUP").arg(&["CREATE", STREAM, "others", "10-0"]).exec(&mut world.redis()).expect("XGROUP");
    let settings = [("trimmer.max_len", "5"), ("trimmer.interval", "50ms"), ("ledger.keep_inbox", "1m")];
    let length = || redis::cmd("XLEN").arg(STREAM).query::<u64>(&mut world.redis()).expect("XLEN");
    restarted_until(&world, "all is handled, and trimmed up to the other group", &settings, || {
        world.is_drained() && length() == 30 && number(&world.ledger(), "SELECT count(*) FROM inbox") == 39
    });
    // A bound counts once it has held for ledger.keep_inbox. A minute passes.
    let a_minute_passes = || {
        let ledger = rusqlite::Connection::open(world.ledger()).expect("the ledger");
        ledger.execute("UPDATE bounds SET noted_at = noted_at - 60000", []).expect("UPDATE");
    };
    let keep = [("ledger.keep_inbox", "1m")];
    restarted_until(&world, "a bound is noted", &keep, || number(&world.ledger(), "SELECT count(*) FROM bounds") > 0);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), 39);
    a_minute_passes();
    let first = || column::<i64>(&world.ledger(), "SELECT min(ms) FROM inbox")[0];
    restarted_until(&world, "what the other group has behind it is forgotten", &keep, || first() == 10);

    // Without the other group, the dead letter still holds what lies above it.
    redis::cmd("XGROUP").arg(&["DESTROY", STREAM, "others"]).exec(&mut world.redis()).expect("XGROUP");
    restarted_until(&world, "the stream is trimmed", &settings, || length() == 5);
    a_minute_passes();
    restarted_until(&world, "the bound rises to the dead letter", &keep, || {
        number(&world.ledger(), "SELECT max(ms) FROM bounds") == 20
    });
    assert_eq!(first(), 10);
    a_minute_passes();
    restarted_until(&world, "what lies below the dead letter is forgotten", &keep, || first() == 21);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), 20, "21 to 40");
}
