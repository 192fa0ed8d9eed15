//! The names of one worker: what is in hand under one of them is not taken over under another.

use super::harness::{Daemon, GROUP, STREAM, World, wait_for, wait_until};

const RETRY: &str = "{orders:events}:retry:order-processors";

/// The owner of an entry, and for how many milliseconds it has been idle.
fn pending(world: &World, id: &str) -> Option<(String, u64)> {
    let mut ask = redis::cmd("XPENDING");
    ask.arg(STREAM).arg(GROUP).arg(id).arg(id).arg(1);
    let rows: Vec<(String, String, u64, u64)> = ask.query(&mut world.redis()).unwrap();
    rows.into_iter().next().map(|(_, owner, idle, _)| (owner, idle))
}

/// Makes it look as if nobody had renewed an entry of `consumer` for an hour. It has been handed out twice, so that it runs alone and
/// what waits behind it does not come near a handler.
fn age(world: &World, consumer: &str, id: &str) {
    let mut age = redis::cmd("XCLAIM");
    age.arg(STREAM)
        .arg(GROUP)
        .arg(consumer)
        .arg(0)
        .arg(id)
        .arg("IDLE")
        .arg(3_600_000)
        .arg("RETRYCOUNT")
        .arg(2)
        .arg("JUSTID");
    age.exec(&mut world.redis()).unwrap();
}

/// Two entries of one order that an earlier life of the worker `w` left an hour ago, under its second name. The first comes too early,
/// and is tried again and again for longer than a test takes; the second has to wait for it.
fn left_behind(world: &World) -> [String; 2] {
    let mut redis = world.redis();
    redis::cmd("XGROUP").arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM").exec(&mut redis).unwrap();
    world.add(&[("action", "created"), ("orderId", "a"), ("amount", "1"), ("userId", "u")]);
    let ids = ["shipped", "cancelled"].map(|action| world.add(&[("action", action), ("orderId", "a")]));
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg("w-1").arg("COUNT").arg(10).arg("STREAMS").arg(STREAM).arg(">");
    read.exec(&mut redis).unwrap();
    ids.iter().for_each(|id| age(world, "w-1", id));
    ids
}

/// A worker that has both in hand.
fn revived(world: &World, sweep_every: &str, ids: &[String; 2]) -> Daemon {
    let settings = [
        ("reaper.interval", sweep_every),
        ("reaper.claim_after", "10m"),
        ("consumers.count", "2"),
        ("retry.delay_min", "1m"),
    ];
    let daemon = world.daemon("w", &settings);
    let is_parked = || redis::cmd("HEXISTS").arg(RETRY).arg(&ids[0]).query::<bool>(&mut world.redis()).unwrap();
    wait_until("the first try to fail", is_parked);
    daemon
}

#[test]
fn what_a_worker_takes_up_again_is_not_idle_any_more() {
    let world = World::new();
    let ids = left_behind(&world);
    let _daemon = revived(&world, "1h", &ids);
    for id in &ids {
        let (owner, idle) = pending(&world, id).unwrap();
        assert_eq!((owner.as_str(), idle < 600_000), ("w-1", true), "{idle} ms");
    }
}

#[test]
fn what_a_worker_has_in_hand_under_one_of_its_names_is_not_taken_over_under_another() {
    let world = World::new();
    let ids = left_behind(&world);
    let daemon = revived(&world, "50ms", &ids);
    // As after a pause in which it could not renew anything.
    ids.iter().for_each(|id| age(&world, "w-1", id));
    for id in &ids {
        let rested = |(owner, idle): (String, u64)| (idle < 600_000).then_some(owner);
        let owner = wait_for("a sweep to come by", || pending(&world, id).and_then(rested));
        assert_eq!(owner, "w-1");
    }
    let lost = daemon.log_lines("another worker has taken over");
    assert!(lost.is_empty(), "{lost:?}");
}
