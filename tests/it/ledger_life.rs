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
