//! The road of an event: read, decode, handle, acknowledge.

use super::harness::{DEAD, World, column, field, number, wait_until};

#[test]
fn every_event_is_applied_once_and_acknowledged() {
    let world = World::new();
    world.add_many(2_000, 500);
    let mut daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM order_events"), 2_000);
    assert_eq!(column::<String>(&world.ledger(), "SELECT DISTINCT state FROM orders"), ["delivered"]);
    let (status, _) = daemon.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn what_cannot_be_decoded_becomes_a_dead_letter_and_its_neighbours_do_not() {
    let world = World::new();
    world.add(&[("action", "created"), ("orderId", "a"), ("amount", "1.50"), ("userId", "u")]);
    let bad = world.add(&[("action", "paid"), ("orderId", "a"), ("amount", "1,50"), ("note", "x"), ("note", "y")]);
    world.add(&[("action", "paid"), ("orderId", "a"), ("amount", "1.50")]);
    let _daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 1, "{DEAD}: {letters:?}");
    assert_eq!(field(&letters[0], "_id"), bad);
    assert_eq!(field(&letters[0], "_reason"), "bad-amount");
    let original: Vec<&[u8]> = letters[0].iter().take(5).map(|(name, _)| name.as_slice()).collect();
    assert_eq!(original, [&b"action"[..], b"orderId", b"amount", b"note", b"note"]);
    assert_eq!(column::<String>(&world.ledger(), "SELECT state FROM orders"), ["paid"]);
}

#[test]
fn a_backlog_does_not_sit_in_the_memory_of_the_worker() {
    let world = World::new();
    let set = [("handler.kind", "none"), ("consumers.in_flight", "512")];
    let daemon = world.daemon("w", &set);
    daemon.wait_until_ready();
    let idle = daemon.memory_kib();
    world.add_many(60_000, 500);
    let mut most = idle;
    wait_until("the stream is drained", || {
        most = most.max(daemon.memory_kib());
        world.is_drained()
    });
    eprintln!("idle: {idle} KiB, working off 60,000 entries: at most {most} KiB");
    // The entries alone are some 10 MiB, and several times as much once they are parsed.
    assert!(most < idle + 24 * 1024, "{idle} KiB idle, {most} KiB at work");
}
