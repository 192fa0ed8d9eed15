//! Names, and how a process ends that cannot work.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;

use super::harness::{Daemon, GROUP, STREAM, World, wait_for, wait_until};

/// The name that a daemon has, once it has one.
fn name(daemon: &Daemon) -> String {
    wait_for("the daemon has its name", || {
        let line = daemon.log_lines("\"name\":\"").pop()?;
        let (_, rest) = line.split_once("\"name\":\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    })
}

#[test]
fn two_daemons_that_want_one_name_have_two_and_share_the_work() {
    let world = World::new();
    let first = world.daemon("w", &[]);
    assert_eq!(name(&first), "w");
    let second = world.daemon("w", &[]);
    assert_eq!(name(&second), "w.2");
    world.add_many(1_000, 250);
    world.wait_until_drained();
    assert_eq!(world.applied(), 1_000);
}

#[test]
fn a_daemon_that_was_stopped_for_too_long_finds_its_name_taken_and_goes_on_under_another() {
    let world = World::new();
    let set = [("consumers.batch", "20"), ("consumers.in_flight", "100")];
    let first = world.daemon("w", &set);
    first.wait_until_ready();
    world.add_many(4_000, 1_000);
    wait_until("it is at work", || world.applied() > 0);
    first.signal(Signal::STOP);
    let second = world.daemon("w", &set);
    assert_eq!(name(&second), "w", "the lock has run out");
    first.signal(Signal::CONT);
    wait_until("it has noticed", || name(&first) == "w.2");
    world.add_many_of("later", 4_000, 1_000);
    // What was on its way to the first when its name was taken counts as left behind only after a minute: it is looked after here.
    let _sweeper = world.daemon("sweeper", &[("reaper.claim_after", "2s"), ("reaper.interval", "100ms")]);
    world.wait_until_drained();
    assert_eq!(world.applied(), 8_000);
    assert_eq!(world.dead_letters().len(), 0);
    assert_eq!(second.log_lines("this instance has its name").len(), 1);
}

#[test]
fn a_daemon_that_ends_in_good_order_leaves_no_name_behind_and_has_its_own_again_at_once() {
    let world = World::new();
    let mut first = world.daemon("w", &[]);
    world.add_many(8, 2);
    world.wait_until_drained();
    assert_ne!(world.consumers(), [""; 0]);
    assert!(first.stop().0.success());
    assert_eq!(world.consumers(), [""; 0], "nothing was pending under their names");
    let is_locked: bool =
        redis::cmd("EXISTS").arg(format!("{{{STREAM}}}:instance:{GROUP}:w")).query(&mut world.redis()).unwrap();
    assert!(!is_locked, "a restart would have to wait for the name");
    let second = world.daemon("w", &[]);
    assert_eq!(name(&second), "w");
}

#[test]
fn a_daemon_whose_task_keeps_failing_gives_up_with_exit_code_70() {
    let world = World::new();
    // Every name it could have is somebody else's for good, so the road fails each time that it begins.
    let mut locks = redis::pipe();
    for n in 1..=1000 {
        let name = if n == 1 { "w".to_owned() } else { format!("w.{n}") };
        locks.cmd("SET").arg(format!("{{{STREAM}}}:instance:{GROUP}:{name}")).arg("another").ignore();
    }
    locks.query::<()>(&mut world.redis()).unwrap();
    let mut daemon = world.daemon("w", &[]);
    let failures = |daemon: &Daemon| daemon.log_lines("all of its suffixes are taken").len();
    wait_until("it is started again and again", || failures(&daemon) >= 4);
    assert!(daemon.is_running(), "{}", daemon.log());
    let (status, _) = daemon.wait();
    assert_eq!(status.code(), Some(70), "{}", daemon.log());
    assert!(failures(&daemon) >= 8, "{}", daemon.log());
}

#[test]
fn what_keeps_a_daemon_from_starting_has_an_exit_code_of_its_own() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let missing = format!("sqlite:{}", world.path("missing/orders.db").display());
    let cases = [
        (("ledger.url", &*missing), 69, "missing"),
        (("admin.listen", &*address), 69, &*address),
        (("consumers.batch", "0"), 78, "consumers.batch"),
        (("reaper.claim_after", "1"), 78, "reaper.claim_after"),
    ];
    for (setting, code, named) in cases {
        let mut daemon = world.daemon("w", &[setting]);
        let (status, took) = daemon.wait();
        assert_eq!(status.code(), Some(code), "{setting:?}: {}", daemon.log());
        assert!(daemon.log().contains(named), "{setting:?}: {}", daemon.log());
        assert!(took < Duration::from_secs(10), "{setting:?}: {took:?}");
    }
}
