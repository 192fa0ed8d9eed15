//! The end of a daemon: nothing lost, nothing counted, nothing left behind.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use orderd::domain::outcome::Outcome;
use rustix::process::Signal;

use super::harness::{Daemon, GROUP, STREAM, World, column, scripted, wait_for, wait_until};

/// What counts as left behind only when it was handed back: a minute is longer than any test.
const SWEEPS: [(&str, &str); 2] = [("reaper.claim_after", "60s"), ("reaper.interval", "50ms")];

#[test]
fn an_idle_daemon_in_a_long_read_ends_at_once_and_leaves_no_name_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::new();
        let mut daemon = world.daemon("w", &[("consumers.block", "30s")]);
        daemon.wait_until_ready();
        wait_until("a read is blocked", || world.is_reading());
        daemon.signal(signal);
        let (status, took) = daemon.wait();
        eprintln!("idle, {signal:?}: ended after {took:?}");
        assert_eq!(status.code(), Some(0));
        // Without the wake-up it would be half a minute.
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(world.consumers(), Vec::<String>::new());
    }
}

#[test]
fn a_stop_under_load_finishes_what_is_in_hand_and_leaves_the_rest_to_the_next() {
    let world = World::new();
    world.add_many(20_000, 5_000);
    let mut daemon = world.daemon("first", &SWEEPS);
    wait_until("it is at work", || world.ledger().exists() && world.pending() > 0);
    let (status, took) = daemon.stop();
    eprintln!("under load: ended after {took:?}");
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    let applied = column::<String>(&world.ledger(), "SELECT entry_id FROM order_events");
    let pending = world.pending_entries();
    let both: Vec<_> = pending.iter().filter(|entry| applied.contains(&entry.id)).collect();
    assert!(both.is_empty(), "applied and not acknowledged: {both:?}");
    assert!(applied.len() < 20_000, "it was stopped before it was done");
    assert!(pending.iter().all(|entry| entry.deliveries == 0), "a stop counts as no delivery: {pending:?}");

    let second = world.daemon("second", &SWEEPS);
    world.wait_until_drained();
    assert_eq!(world.applied(), 20_000);
    assert_eq!(
        second.metric("orderd_events_settled_total"),
        Some(f64::from(20_000 - u32::try_from(applied.len()).unwrap()))
    );
}

#[test]
fn what_a_stop_cuts_off_is_handed_back_uncounted_and_another_worker_has_it_at_once() {
    let world = World::new();
    let suspect = world.left_by_dead_worker("order-1", 2);
    let hanging = scripted(1, 1, |_| std::future::pending::<Outcome>().boxed());
    let set = SWEEPS.into_iter().chain([("shutdown.grace", "1s"), ("lanes.count", "1")]);
    let first = world.embedded("first", &set.collect::<Vec<_>>(), hanging);
    wait_until("the handler hangs", || first.metric("orderd_entries_read_total") > 0.0);
    (0..20).for_each(|n| drop(world.add(&[("action", "noted"), ("orderId", &format!("order-{n}"))])));
    wait_until("all of it is in hand", || world.pending() == 21 && first.metric("orderd_entries_read_total") >= 21.0);
    first.stop().unwrap();
    let pending = world.pending_entries();
    let counts: Vec<u64> = pending.iter().map(|entry| entry.deliveries).collect();
    let expected: Vec<u64> = pending.iter().map(|entry| if entry.id == suspect { 2 } else { 0 }).collect();
    assert_eq!(counts, expected, "{pending:?}");

    let applying = scripted(64, 4, |_| async { Outcome::Applied }.boxed());
    let second = world.embedded("second", &SWEEPS, applying);
    world.wait_until_drained();
    assert!((second.metric("orderd_entries_reclaimed_total") - 21.0).abs() < 0.5);
}

#[test]
fn what_is_handed_back_is_taken_at_once_though_no_sweep_is_due_for_long() {
    let world = World::new();
    // No sweep by itself: only the word of the one who stops.
    let set = [("reaper.claim_after", "60s"), ("reaper.interval", "1h"), ("shutdown.grace", "1s")];
    let hanging = scripted(1, 1, |_| std::future::pending::<Outcome>().boxed());
    let first = world.embedded("first", &set, hanging);
    (0..5).for_each(|n| drop(world.add(&[("action", "noted"), ("orderId", &format!("order-{n}"))])));
    wait_until("all of it is in hand", || first.metric("orderd_entries_read_total") > 4.5);
    let applying = scripted(64, 4, |_| async { Outcome::Applied }.boxed());
    let second = world.embedded("second", &set, applying);
    let lock = format!("{{{STREAM}}}:instance:{GROUP}:second");
    wait_until("the second has its name", || redis::cmd("EXISTS").arg(&lock).query(&mut world.redis()).unwrap());
    // It hears of what is handed back when it renews that, four times a second.
    let renewed = Instant::now() + Duration::from_secs(1);
    wait_until("it has renewed it", || Instant::now() >= renewed);
    first.stop().unwrap();
    world.wait_until_drained();
    assert!((second.metric("orderd_entries_reclaimed_total") - 5.0).abs() < 0.5);
}

#[test]
fn an_entry_that_was_taken_over_and_not_begun_keeps_its_count_of_crashes() {
    let world = World::new();
    let hanging = scripted(1, 1, |_| std::future::pending::<Outcome>().boxed());
    let set = SWEEPS.into_iter().chain([("shutdown.grace", "1s")]);
    let worker = world.embedded("w", &set.collect::<Vec<_>>(), hanging);
    world.add(&[("action", "noted"), ("orderId", "first")]);
    wait_until("the handler hangs", || worker.metric("orderd_entries_read_total") > 0.0);
    let suspect = world.left_by_dead_worker("second", 2);
    wait_until("it is taken over", || worker.metric("orderd_entries_reclaimed_total") > 0.0);
    worker.stop().unwrap();
    let pending = world.pending_entries();
    let kept = pending.iter().find(|entry| entry.id == suspect).expect("it is pending");
    assert_eq!(kept.deliveries, 2);
}

#[test]
fn a_second_signal_ends_the_process_while_a_handler_hangs() {
    let world = World::new();
    let mut daemon = world.daemon("w", &[]);
    daemon.wait_until_ready();
    let other = rusqlite::Connection::open(world.ledger()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.add_many(10, 10);
    wait_until("the ledger's writer waits for the lock", || world.pending() == 10);
    daemon.signal(Signal::TERM);
    wait_for("the first signal is heard", || daemon.log_lines("a second signal ends").pop());
    assert!(daemon.is_running());
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    let (status, _) = daemon.wait();
    assert_eq!(status.code(), Some(1));
    // The writer alone would wait for five seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(world.pending(), 10, "what was in hand stays pending");
}

#[test]
fn a_signal_during_the_start_is_a_stop_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::new();
        // The start waits for a ledger that somebody else is just making.
        let other = rusqlite::Connection::open(world.ledger()).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE t (x)").unwrap();
        let mut daemon = world.daemon("w", &[]);
        wait_until("it starts", || !daemon.log_lines("orderd starts").is_empty());
        assert!(daemon.log_lines("the admin server listens").is_empty(), "it has started already");
        daemon.signal(signal);
        other.execute_batch("ROLLBACK").unwrap();
        let (status, _) = daemon.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", daemon.log());
    }
}

#[test]
fn rolling_restarts_under_load_delay_nothing_and_apply_nothing_twice() {
    let world = World::new();
    let set = [SWEEPS[0], SWEEPS[1], ("consumers.in_flight", "300"), ("retry.max_crashes", "3")];
    let mut daemons: Vec<Daemon> = ["a", "b", "c"].map(|name| world.daemon(name, &set)).into();
    for round in 0..6 {
        world.add_many_of(&format!("round-{round}"), 1_000, 250);
        daemons[round % 3].wait_until_ready();
        let (status, _) = daemons[round % 3].stop();
        assert_eq!(status.code(), Some(0));
        daemons[round % 3] = world.daemon(["a", "b", "c"][round % 3], &set);
    }
    world.wait_until_drained();
    assert_eq!(world.applied(), 6_000);
    assert_eq!(world.dead_letters().len(), 0);
    let groups: Vec<redis::Value> =
        redis::cmd("XINFO").arg("CONSUMERS").arg(STREAM).arg(GROUP).query(&mut world.redis()).unwrap();
    assert!(groups.len() <= 12, "names do not pile up: {groups:?}");
}
