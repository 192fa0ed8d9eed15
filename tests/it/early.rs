//! An order whose events are in the hands of two workers, one of which dies.
//!
//! Owns: what must not become of an event that comes too early: a dead letter, or a pause that outlasts what it waits for.

use super::harness::{Daemon, World, column, wait_until};

const EVENTS: u64 = 1_200;

/// The dead one's entries count as left behind soon.
const SOON: [(&str, &str); 2] = [("reaper.claim_after", "1500ms"), ("reaper.interval", "200ms")];

/// Two workers share the events of many orders, each of them with its hands full, when `then` decides what becomes of the first.
/// Whoever is left finishes all of it. How many tries came too early.
fn two_share(settings: &[(&str, &str)], each: u64, then: impl FnOnce(Daemon) -> Option<Daemon>) -> usize {
    let world = World::new();
    // However seldom one of them gets a core, the other cannot take its share.
    let most = (EVENTS - each).to_string();
    let set = [&SOON[..], &[("consumers.in_flight", &*most)], settings].concat();
    let [first, second] = ["first", "second"].map(|name| world.daemon(name, &set));
    [&first, &second].into_iter().for_each(Daemon::wait_until_ready);
    let ledger = rusqlite::Connection::open(world.ledger()).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.add_many(usize::try_from(EVENTS).unwrap(), usize::try_from(EVENTS / 4).unwrap());
    let held = |name: &str| {
        let pending = world.pending_entries();
        u64::try_from(pending.iter().filter(|entry| entry.consumer.starts_with(name)).count()).unwrap()
    };
    wait_until("both have their hands full", || held("first") >= each && held("second") >= each);
    let left: Vec<Daemon> = then(first).into_iter().chain([second]).collect();
    eprintln!("the first had {} entries in hand, the second {}", held("first"), held("second"));
    ledger.execute_batch("ROLLBACK").unwrap();
    world.wait_until_drained();
    assert_eq!(world.dead_letters().len(), 0);
    assert_eq!(world.applied(), i64::try_from(EVENTS).unwrap());
    let states = column::<String>(&world.ledger(), "SELECT DISTINCT state FROM orders");
    assert_eq!(states, ["delivered"]);
    left.iter().map(|daemon| daemon.log_lines("comes too early").len()).sum()
}

fn dies(first: Daemon) -> Option<Daemon> {
    first.kill9();
    None
}

#[test]
fn what_waits_for_an_entry_in_a_dead_workers_hands_is_no_dead_letter_however_often_it_is_tried() {
    let set = [
        ("consumers.batch", "20"),
        ("retry.max_failures", "3"),
        ("retry.delay_max", "20ms"),
        ("retry.delay_min", "10ms"),
    ];
    assert!(two_share(&set, 400, dies) > 0, "none had to wait: the test shows nothing");
}

#[test]
fn what_waits_for_an_entry_of_a_worker_that_lives_is_tried_as_soon_as_that_has_settled_it() {
    let set = [("consumers.batch", "20"), ("retry.delay_min", "10m"), ("retry.delay_max", "1h")];
    assert!(two_share(&set, 400, Some) > 0, "none had to wait: the test shows nothing");
}

#[test]
fn what_waits_for_an_entry_of_a_dead_worker_is_tried_as_soon_as_that_is_settled_here() {
    // The shortest pause is a tenth of that: longer than any test may take.
    let set = [("consumers.batch", "20"), ("retry.delay_min", "10m"), ("retry.delay_max", "1h")];
    assert!(two_share(&set, 400, dies) > 0, "none had to wait: the test shows nothing");
}

#[test]
fn a_window_full_of_what_waits_still_takes_over_what_that_waits_for() {
    let set = [
        ("consumers.batch", "20"),
        // What it may hold is what each is to hold: it is full.
        ("consumers.in_flight", "300"),
        ("retry.delay_min", "10m"),
        ("retry.delay_max", "1h"),
    ];
    two_share(&set, 300, dies);
}
