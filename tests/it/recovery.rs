//! What a worker leaves behind when it dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use orderd::domain::outcome::Outcome;

use super::harness::{Daemon, World, field, scripted, wait_until};

/// Nothing counts as left behind while a test runs: only the name can bring an entry back.
const NEVER: [(&str, &str); 2] = [("reaper.claim_after", "60s"), ("reaper.interval", "50ms")];
/// What is left behind is taken over soon.
const SOON: [(&str, &str); 2] = [("reaper.claim_after", "1s"), ("reaper.interval", "100ms")];

#[test]
fn a_worker_that_died_before_its_commit_applies_the_events_once_when_it_comes_back() {
    comes_back_from("before-commit");
}

#[test]
fn a_worker_that_died_after_its_commit_applies_the_events_once_when_it_comes_back() {
    comes_back_from("after-commit");
}

#[test]
fn a_worker_that_died_before_its_ack_applies_the_events_once_when_it_comes_back() {
    comes_back_from("before-ack");
}

#[test]
fn a_worker_that_died_after_its_ack_applies_the_events_once_when_it_comes_back() {
    comes_back_from("after-ack");
}

fn comes_back_from(place: &str) {
    let world = World::new();
    world.add_many(400, 100);
    let mut doomed = world.doomed_daemon("w", &NEVER, place);
    let (status, _) = doomed.wait();
    assert_eq!(status.code(), None, "it died of a signal");
    let left = world.pending();
    assert!(left > 0 || place == "after-ack", "{left} entries are pending after a death {place}");
    let began = Instant::now();
    let daemon = world.daemon("w", &NEVER);
    wait_until("what was pending is taken up", || world.is_drained());
    let took = began.elapsed();
    eprintln!("died {place}: {left} entries were pending, and all done {took:?} after the restart");
    // The claim would take a minute; the bound is what the issue asks for, and as much again for a slow machine.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(world.applied(), 400);
    assert_eq!(world.dead_letters().len(), 0);
    assert_eq!(daemon.metric("orderd_entries_reclaimed_total"), Some(0.0));
}

#[test]
fn another_worker_takes_over_what_a_dead_one_had_in_hand() {
    let world = World::new();
    world.add_many(400, 100);
    let mut doomed = world.doomed_daemon("first", &SOON, "after-commit");
    doomed.wait();
    let left = world.pending();
    assert!(left > 0);
    assert!(world.pending_entries().iter().all(|entry| entry.deliveries == 1));
    let daemon = world.daemon("second", &SOON);
    world.wait_until_drained();
    assert_eq!(world.applied(), 400);
    wait_until("the names of the dead one are removed", || {
        world.consumers().iter().all(|name| name.starts_with("second-"))
    });
    assert_eq!(daemon.metric("orderd_entries_reclaimed_total"), Some(f64::from(u32::try_from(left).unwrap())));
}

#[test]
fn two_workers_with_one_stream_and_one_ledger_share_the_work() {
    let world = World::new();
    let settings = [("consumers.batch", "20"), ("consumers.in_flight", "40")];
    let daemons = [world.daemon("a", &settings), world.daemon("b", &settings)];
    daemons.iter().for_each(Daemon::wait_until_ready);
    world.add_many(4_000, 1_000);
    world.wait_until_drained();
    assert_eq!(world.applied(), 4_000);
    let settled = daemons.each_ref().map(|daemon| daemon.metric("orderd_events_settled_total").unwrap());
    assert!(settled.iter().all(|settled| *settled > 0.0), "{settled:?}");
    for daemon in &daemons {
        assert_eq!(
            daemon.log_lines("what the handler depends on is away"),
            Vec::<String>::new(),
            "they wait for each other"
        );
    }
    assert_eq!(world.dead_letters().len(), 0);
}

#[test]
fn an_event_that_kills_its_worker_becomes_a_dead_letter_and_its_neighbours_do_not() {
    let world = World::new();
    for n in 0..300 {
        world.add(&[("action", "created"), ("orderId", &n.to_string()), ("amount", "1"), ("userId", "u")]);
    }
    let mut deaths = 0;
    wait_until("the worker survives", || {
        let mut daemon = world.doomed_daemon("w", &[NEVER[0], NEVER[1], ("retry.max_crashes", "3")], "handle=150");
        wait_until("it is done or dead", || !daemon.is_running() || world.is_drained());
        deaths += u32::from(!daemon.is_running());
        let suspects = world.pending_entries().iter().filter(|entry| entry.deliveries > 1).count();
        // Two calls at the same time, of 32 events each, and what was done and not yet acknowledged.
        assert!(suspects <= 128, "{suspects} entries were under way when the worker died");
        world.is_drained()
    });
    assert_eq!(deaths, 3, "as many workers died of it as `retry.max_crashes` says");
    let letters = world.dead_letters();
    let buried: Vec<&str> = letters.iter().map(|letter| field(letter, "orderId")).collect();
    assert_eq!(buried, ["150"]);
    assert_eq!((field(&letters[0], "_reason"), field(&letters[0], "_crashes")), ("max-crashes", "3"));
    assert_eq!(world.applied(), 299);
}

#[test]
fn nothing_runs_beside_an_event_that_may_kill_the_worker() {
    let world = World::new();
    let suspect = world.left_by_dead_worker("suspect", 2);
    let (running, others) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (release, released) = tokio::sync::watch::channel(false);
    let (is_running, others_run) = (Arc::clone(&running), Arc::clone(&others));
    let handler = scripted(64, 4, move |work| {
        let (is_running, others_run, mut released) =
            (Arc::clone(&is_running), Arc::clone(&others_run), released.clone());
        async move {
            if work.event.order.as_str() == "suspect" {
                is_running.store(true, Ordering::SeqCst);
                released.wait_for(|released| *released).await.unwrap();
            } else {
                others_run.fetch_add(1, Ordering::SeqCst);
            }
            Outcome::Applied
        }
        .boxed()
    });
    let worker = world.embedded("w", &SOON, handler);
    wait_until("the suspect runs", || running.load(Ordering::SeqCst));
    world.add_many(20, 20);
    wait_until("the others are in hand", || {
        world.pending() == 21 && worker.metric("orderd_entries_read_total") >= 20.0
    });
    assert_eq!(others.load(Ordering::SeqCst), 0);
    assert!(world.pending_entries().iter().any(|entry| entry.id == suspect && entry.deliveries == 3));
    release.send(true).unwrap();
    world.wait_until_drained();
    assert_eq!((others.load(Ordering::SeqCst), world.dead_letters().len()), (20, 0));
    worker.stop().unwrap();
}
