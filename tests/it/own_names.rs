//! The names of one worker: what is in hand under one of them is not lost to another.

use super::harness::{Daemon, GROUP, STREAM, World, wait_for, wait_until};

const RETRY: &str = "{orders:events}:retry:order-processors";

/// The owner of an entry, and for how many milliseconds it has been idle.
fn pending(world: &World, id: &str) -> Option<(String, u64)> {
    let entries = world.pending_entries();
    entries.into_iter().find(|entry| entry.id == id).map(|entry| (entry.consumer, entry.idle_ms))
}

/// Makes it look as if nobody had renewed an entry of `consumer` for an hour. It has been handed out twice, so that it runs alone and
/// what waits behind it does not come near a handler.
fn age(world: &World, consumer: &str, id: &str) {
    let claim = (STREAM, GROUP, consumer, 0, id, "IDLE", 3_600_000, "RETRYCOUNT", 2, "JUSTID");
    redis::cmd("XCLAIM").arg(claim).exec(&mut world.redis()).expect("XCLAIM");
}

/// Two entries of one order that an earlier life of the worker `w` left an hour ago, under its second name. The first comes too early,
/// and is tried again and again for longer than a test takes; the second has to wait for it.
fn left_behind(world: &World) -> [String; 2] {
    let mut redis = world.redis();
    redis::cmd("XGROUP").arg(("CREATE", STREAM, GROUP, "0", "MKSTREAM")).exec(&mut redis).expect("XGROUP");
    world.add(&[("action", "created"), ("orderId", "a"), ("amount", "1"), ("userId", "u")]);
    let ids = ["shipped", "cancelled"].map(|action| world.add(&[("action", action), ("orderId", "a")]));
    let read = ("GROUP", GROUP, "w-1", "COUNT", 10, "STREAMS", STREAM, ">");
    redis::cmd("XREADGROUP").arg(read).exec(&mut redis).expect("XREADGROUP");
    ids.iter().for_each(|id| age(world, "w-1", id));
    ids
}

/// A worker that has both in hand.
fn revived(world: &World, sweep_every: &str, ids: &[String; 2]) -> Daemon {
    let settings = [
        ("reaper.interval", sweep_every),
        ("reaper.claim_after", "3s"),
        ("consumers.count", "2"),
        ("retry.delay_min", "10m"),
        ("retry.delay_max", "1h"),
    ];
    let daemon = world.daemon("w", &settings);
    let is_parked = || redis::cmd("HEXISTS").arg((RETRY, &ids[0])).query::<bool>(&mut world.redis()).expect("HEXISTS");
    wait_until("the first try to fail", is_parked);
    // The second is at once, for nothing earlier is in other hands.
    wait_until("the second try to fail", || daemon.log_lines("shipped comes too early").len() == 2);
    daemon
}

#[test]
fn what_a_worker_takes_up_again_is_not_idle_any_more() {
    let world = World::new();
    let ids = left_behind(&world);
    let _daemon = revived(&world, "1h", &ids);
    for id in &ids {
        let (owner, idle) = pending(&world, id).expect("it is pending");
        assert_eq!((owner.as_str(), idle < 600_000), ("w-1", true), "{idle} ms");
    }
}

#[test]
fn what_a_worker_has_in_hand_under_one_of_its_names_is_not_lost_to_another_of_them() {
    let world = World::new();
    let ids = left_behind(&world);
    let daemon = revived(&world, "50ms", &ids);
    // As after a pause in which it could not renew anything.
    ids.iter().for_each(|id| age(&world, "w-1", id));
    for id in &ids {
        let rested = |(owner, idle): (String, u64)| (idle < 600_000).then_some(owner);
        let owner = wait_for("a sweep to come by", || pending(&world, id).and_then(rested));
        assert!(owner == "w-0" || owner == "w-1", "{owner}");
    }
    let renewed = daemon.metric("orderd_leases_renewed_total").unwrap_or_default();
    wait_until("both are renewed", || daemon.metric("orderd_leases_renewed_total") >= Some(renewed + 2.0));
    // What the first one waits for: now both are done, one after the other, by who has had them all the time.
    let paid = ("action", "paid", "orderId", "a", "amount", "1");
    redis::cmd("XADD").arg(("late:events", "*")).arg(paid).exec(&mut world.redis()).expect("XADD");
    let _late = world.daemon("late", &[("stream.key", "late:events")]);
    wait_until("the payment is in the ledger", || world.applied() == 2);
    wait_until("both are counted as in hand", || daemon.metric("orderd_entries_in_hand") == Some(2.0));
    let lost = daemon.log_lines("another worker has taken over");
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(daemon.metric("orderd_leases_lost_total"), Some(0.0));
    assert_eq!(daemon.metric("orderd_entries_reclaimed_total"), Some(0.0), "what is in hand is not taken up again");
}
