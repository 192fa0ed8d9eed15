//! Failures: what is tried again, what is given up, and what waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use orderd::domain::outcome::{Failure, Outcome};

use super::harness::{GROUP, STREAM, World, column, field, scripted, wait_for, wait_until};

const SWEEPS: (&str, &str) = ("reaper.interval", "50ms");
const QUICK: [(&str, &str); 2] = [("retry.delay_min", "20ms"), ("retry.delay_max", "100ms")];

fn event<'e>(action: &'e str, order: &'e str) -> [(&'e str, &'e str); 4] {
    [("action", action), ("orderId", order), ("amount", "1"), ("userId", "u")]
}

#[test]
fn an_event_that_comes_too_early_waits_alone_and_is_applied_when_its_time_has_come() {
    let world = World::new();
    let set = [QUICK[0], QUICK[1], ("retry.max_failures", "1000000")];
    let early = world.daemon("w", &set);
    world.add(&event("paid", "a"));
    world.add(&event("shipped", "a"));
    wait_until("it has failed", || !early.log_lines("paid comes too early").is_empty());
    for step in ["created", "paid", "shipped", "delivered"] {
        (0..20).for_each(|n| drop(world.add(&event(step, &format!("other-{n}")))));
    }
    wait_until("the others are done", || world.pending() == 2 && world.applied() == 80);
    assert_eq!(early.log_lines("shipped comes too early"), Vec::<String>::new(), "it waits behind its order");

    // The beginning of the order reaches the ledger by another road.
    let _late = world.daemon("late", &[("stream.key", "late:events")]);
    redis::cmd("XADD").arg("late:events").arg("*").arg(&event("created", "a")).exec(&mut world.redis()).expect("XADD");
    world.wait_until_drained();
    assert_eq!(column::<String>(&world.ledger(), "SELECT state FROM orders WHERE order_id = 'a'"), ["shipped"]);
    assert_eq!(world.dead_letters().len(), 0);
}

#[test]
fn the_count_of_failures_survives_a_crash_and_ends_in_a_dead_letter() {
    let world = World::new();
    let set = [QUICK[0], QUICK[1], ("retry.max_failures", "7")];
    let id = world.add(&event("paid", "a"));
    let first = world.daemon("w", &set);
    let failures = || {
        let key = format!("{{{STREAM}}}:retry:{GROUP}");
        let record: Option<String> = redis::cmd("HGET").arg(key).arg(&id).query(&mut world.redis()).expect("HGET");
        record.map(|record| record.split(' ').next().expect("a count").parse::<u32>().expect("a number"))
    };
    wait_until("it has failed three times", || failures().is_some_and(|failures| failures >= 3));
    let log = first.kill9();
    let before = log.matches("comes too early").count();
    let second = world.daemon("w", &set);
    world.wait_until_drained();
    let letter = &world.dead_letters()[0];
    assert_eq!(
        (field(letter, "_reason"), field(letter, "_failures"), field(letter, "_id")),
        ("max-failures", "7", &*id)
    );
    assert_eq!(field(letter, "_error"), "paid comes too early: there is no such order");
    assert_eq!((field(letter, "_crashes"), field(letter, "_deliveries")), ("1", "2"));
    let after = second.log_lines("an event failed").len();
    // The last failure before the crash may have had no time to be written down.
    assert!((7..=8).contains(&(before + after)), "{before} failures before the crash and {after} after it");
    assert_eq!(failures(), None, "the record goes with the entry");
}

#[test]
fn an_impossible_event_is_a_dead_letter_at_once_and_its_order_goes_on() {
    let world = World::new();
    world.add(&event("created", "a"));
    let bad = world.add(&event("painted", "a"));
    world.add(&event("paid", "a"));
    let _daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((field(letter, "_id"), field(letter, "_reason"), field(letter, "_failures")), (&*bad, "permanent", "1"));
    assert_eq!(column::<String>(&world.ledger(), "SELECT state FROM orders"), ["paid"]);
}

#[test]
fn a_locked_ledger_stops_the_reading_and_counts_nothing_until_it_is_free() {
    let world = World::new();
    let daemon =
        world.daemon("w", &[("consumers.batch", "10"), ("consumers.in_flight", "50"), ("retry.max_failures", "1")]);
    daemon.wait_until_ready();
    let other = rusqlite::Connection::open(world.ledger()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.add_many(10, 10);
    let reason = wait_for("the reason is told", || {
        let (status, body) = daemon.get("/readyz");
        (status == 503 && body.contains("handler")).then_some(body)
    });
    assert!(reason.contains("lock"), "{reason}");
    world.add_many_of("more", 2_000, 500);
    wait_until("a read that was under way has come back", || !world.is_reading());
    assert!(world.pending() <= 20, "reading pauses: {} pending", world.pending());
    other.execute_batch("ROLLBACK").unwrap();
    world.wait_until_drained();
    assert_eq!(world.applied(), 2_010);
    assert_eq!(world.dead_letters().len(), 0);
    assert_eq!(daemon.log_lines("what the handler depends on is away").len(), 1);
    assert_eq!(daemon.get("/readyz").0, 200);
}

#[test]
fn a_worker_that_starts_while_the_ledger_is_locked_waits_for_it() {
    let world = World::new();
    let mut first = world.daemon("w", &[]);
    first.wait_until_ready();
    assert!(first.stop().0.success());
    let other = rusqlite::Connection::open(world.ledger()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.add_many(100, 25);
    let second = world.daemon("w", &[]);
    wait_until("the reason is told", || second.get("/readyz").1.contains("held its lock"));
    other.execute_batch("ROLLBACK").unwrap();
    world.wait_until_drained();
    assert_eq!(world.applied(), 100);
}

#[test]
fn an_event_that_makes_the_handler_panic_takes_no_neighbour_with_it() {
    let world = World::new();
    (0..300).for_each(|n| drop(world.add(&[("action", "noted"), ("orderId", &format!("{n}"))])));
    let handler = scripted(64, 2, |work| {
        assert_ne!(work.event.order.as_str(), "150", "on purpose");
        async { Outcome::Applied }.boxed()
    });
    let set = [("retry.delay_min", "1ms"), ("retry.delay_max", "1ms"), ("retry.max_failures", "3")];
    let worker = world.embedded("w", &set, handler);
    world.wait_until_drained();
    let letters = world.dead_letters();
    let orders: Vec<&str> = letters.iter().map(|letter| field(letter, "orderId")).collect();
    assert_eq!(orders, ["150"]);
    assert_eq!((field(&letters[0], "_reason"), field(&letters[0], "_failures")), ("max-failures", "3"));
    assert!(worker.metric("orderd_handler_panics_total") >= 3.0);
}

#[test]
fn an_event_that_makes_the_handler_hang_takes_no_neighbour_with_it() {
    let world = World::new();
    (0..60).for_each(|n| drop(world.add(&[("action", "noted"), ("orderId", &format!("{n}"))])));
    let handler = scripted(64, 2, |work| {
        if work.event.order.as_str() == "30" {
            return std::future::pending().boxed();
        }
        async { Outcome::Applied }.boxed()
    });
    let set = [
        ("handler.timeout", "200ms"),
        ("retry.delay_min", "1ms"),
        ("retry.delay_max", "1ms"),
        ("retry.max_failures", "2"),
    ];
    let _worker = world.embedded("w", &set, handler);
    world.wait_until_drained();
    let letters = world.dead_letters();
    let orders: Vec<&str> = letters.iter().map(|letter| field(letter, "orderId")).collect();
    assert_eq!(orders, ["30"]);
}

#[test]
fn a_pause_that_a_failure_asks_for_holds_up_its_own_order_alone() {
    let world = World::new();
    let first = AtomicBool::new(true);
    let handler = scripted(16, 2, move |work| {
        let slow = work.event.order.as_str() == "slow" && first.swap(false, Ordering::Relaxed);
        async move {
            if slow {
                return Outcome::Failed(Failure::transient("later").retry_after(Duration::from_secs(3)));
            }
            Outcome::Applied
        }
        .boxed()
    });
    let worker = world.embedded("w", &QUICK, handler);
    (0..2).for_each(|_| drop(world.add(&[("action", "noted"), ("orderId", "slow")])));
    (0..100).for_each(|n| drop(world.add(&[("action", "noted"), ("orderId", &format!("{n}"))])));
    wait_until("the others are done", || worker.metric("orderd_events_settled_total") > 99.5);
    assert_eq!(world.pending(), 2, "both events of the order wait");
    world.wait_until_drained();
    assert!((worker.metric("orderd_retries_total") - 1.0).abs() < 0.5);
}

#[test]
fn a_suspect_whose_try_came_back_is_none_any_more_and_its_deaths_are_counted_anew() {
    let world = World::new();
    let innocent = world.left_by_dead_worker("innocent", 2);
    let handler = scripted(8, 2, |_| async { Outcome::Failed(Failure::transient("not today")) }.boxed());
    let _worker = world.embedded("w", &[SWEEPS, ("retry.max_crashes", "3"), ("retry.delay_min", "60s")], handler);
    let records = || redis::cmd("HLEN").arg(format!("{{{STREAM}}}:retry:{GROUP}")).query::<u64>(&mut world.redis());
    wait_until("it has failed", || records().unwrap() == 1);
    let pending = world.pending_entries();
    assert_eq!((&pending[0].id, pending[0].deliveries), (&innocent, 1));
}

#[test]
fn nothing_that_may_kill_begins_before_what_was_applied_is_acknowledged() {
    let world = World::new();
    let ids = ["first", "second"].map(|order| world.left_by_dead_worker(order, 2));
    world.permit("-xack");
    let handler = scripted(8, 2, |_| async { Outcome::Applied }.boxed());
    let _worker = world.embedded("w", &[SWEEPS, ("retry.max_crashes", "3")], handler);
    wait_until("an acknowledgement is refused again and again", || world.refused("xack") >= 5);
    let pending = world.pending_entries();
    let deliveries: Vec<(&str, u64)> = pending.iter().map(|entry| (entry.id.as_str(), entry.deliveries)).collect();
    assert_eq!(deliveries, [(ids[0].as_str(), 3), (ids[1].as_str(), 2)], "the second one has not begun");
    world.permit("+xack");
    world.wait_until_drained();
    assert_eq!(world.dead_letters().len(), 0);
}
