//! Redis away, in every way that it can be away.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use orderd::cli::sandbox::Options;
use orderd::domain::id::EntryId;
use orderd::domain::outcome::Outcome;

use super::harness::{Daemon, GROUP, STREAM, World, on_every_server, scripted, wait_for, wait_until};

/// Nothing that Redis acknowledged is lost when it is killed.
fn durable() -> Options {
    let args = ["--appendonly", "yes", "--appendfsync", "always"].map(Into::into).into();
    Options { args, tcp: true, ..Options::default() }
}

/// How long the daemon takes to be ready, from now.
fn time_until_ready(daemon: &Daemon) -> Duration {
    let began = Instant::now();
    daemon.wait_until_ready();
    began.elapsed()
}

/// Two seconds are the promise; the rest is for a slow machine, and less than the time of a read, which must not be waited for.
const READY_AGAIN: Duration = Duration::from_secs(4);

#[test]
fn a_redis_that_is_not_there_yet_is_waited_for_and_said_to_be_away_once() {
    let mut world = World::with(Options { tcp: true, ..Options::default() });
    world.server.kill9().unwrap();
    let mut daemon = world.daemon("w", &[]);
    let reason = wait_for("the reason is told", || {
        let (status, body) = daemon.get("/readyz");
        (status == 503 && body.contains("refused")).then_some(body)
    });
    eprintln!("readiness: {reason}");
    let many = daemon.log_lines("").len() + 4;
    wait_for("some time to pass", || (daemon.log_age() > Duration::from_secs(2)).then_some(()));
    assert!(daemon.log_lines("").len() < many, "a flood:\n{}", daemon.log());
    world.server.restart().unwrap();
    let took = time_until_ready(&daemon);
    eprintln!("ready {took:?} after Redis came");
    assert!(took < READY_AGAIN, "{took:?}");
    assert_eq!(daemon.log_lines("Redis is away").len(), 1, "{}", daemon.log());
    world.add_many(100, 50);
    world.wait_until_drained();
    assert_eq!(world.applied(), 100);
    assert_eq!(daemon.stop().0.code(), Some(0));
}

#[test]
fn a_redis_that_dies_under_load_loses_nothing_and_nothing_is_applied_twice() {
    let mut world = World::with(durable());
    let daemon = world.daemon("w", &[("consumers.batch", "50"), ("consumers.in_flight", "200")]);
    daemon.wait_until_ready();
    world.add_many(10_000, 2_500);
    wait_until("it is at work", || world.applied() > 0);
    world.server.kill9().unwrap();
    wait_until("it is not ready", || daemon.get("/readyz").0 == 503);
    world.server.restart().unwrap();
    let took = time_until_ready(&daemon);
    eprintln!("under load: ready {took:?} after Redis was back");
    world.wait_until_drained();
    assert_eq!(world.applied(), 10_000);
    assert_eq!(world.dead_letters().len(), 0);
    assert!(took < READY_AGAIN, "{took:?}");
    assert_eq!(daemon.log_lines("Redis is away").len(), 1, "{}", daemon.log());
    assert_eq!(daemon.log_lines("an event failed"), Vec::<String>::new());
}

#[test]
fn an_idle_daemon_is_ready_again_soon_after_redis_is_back_and_does_not_flap() {
    let mut world = World::with(durable());
    let daemon = world.daemon("w", &[("consumers.block", "10s")]);
    daemon.wait_until_ready();
    for round in 1..=2 {
        wait_until("a read is blocked", || world.is_reading());
        world.server.kill9().unwrap();
        wait_until("it is not ready", || daemon.get("/readyz").0 == 503);
        world.server.restart().unwrap();
        let took = time_until_ready(&daemon);
        eprintln!("idle: ready {took:?} after Redis was back");
        assert!(took < READY_AGAIN, "{took:?}");
        world.add_many_of(&format!("round-{round}"), 8, 4);
        world.wait_until_drained();
        assert_eq!(daemon.log_lines("Redis is away").len(), round, "{}", daemon.log());
        assert!(daemon.log_lines("new entries cannot be read").len() <= round, "{}", daemon.log());
    }
    assert_eq!(world.applied(), 16);
}

#[test]
fn connections_that_are_cut_again_and_again_lose_no_event_and_run_none_out_of_turn() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(std::collections::HashMap::<String, EntryId>::new()));
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let (noted, complaints) = (Arc::clone(&seen), Arc::clone(&wrong));
    let handler = scripted(16, 8, move |work| {
        let last = noted.lock().unwrap().insert(work.event.order.to_string(), work.event.id());
        if last.is_some_and(|last| last >= work.event.id()) {
            complaints.lock().unwrap().push((work.event.order.to_string(), last, work.event.id()));
        }
        async { Outcome::Applied }.boxed()
    });
    let set = [("consumers.batch", "20"), ("retry.max_crashes", "1000000")];
    let worker = world.embedded("w", &set, handler);
    let until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    let mut connection = world.redis();
    while Instant::now() < until {
        world.add_many_of("order", 100, 10);
        let kill = ("KILL", "TYPE", "normal", "SKIPME", "yes");
        redis::cmd("CLIENT").arg(kill).exec(&mut connection).expect("CLIENT KILL");
        rounds += 1;
        let next = Instant::now() + Duration::from_millis(50);
        wait_until("the next cut", || Instant::now() >= next);
    }
    world.wait_until_drained();
    // It is counted a moment after the acknowledgement.
    wait_until("all is counted", || worker.metric("orderd_events_settled_total") > f64::from(rounds * 100) - 0.5);
    let applied = worker.metric("orderd_events_settled_total");
    assert!(applied < f64::from(rounds * 100) + 0.5, "{applied} of {rounds} hundred");
    assert_eq!(*wrong.lock().unwrap(), []);
}

#[test]
fn a_server_that_stands_still_for_a_while_costs_no_event() {
    let world = World::new();
    let daemon = world.daemon("w", &[("consumers.block", "100ms"), ("consumers.batch", "50")]);
    daemon.wait_until_ready();
    world.add_many(2_000, 500);
    redis::cmd("CLIENT").arg(("PAUSE", 2_600, "ALL")).exec(&mut world.redis()).expect("CLIENT PAUSE");
    world.wait_until_drained();
    assert_eq!(world.applied(), 2_000);
    assert_eq!(world.dead_letters().len(), 0);
}

#[test]
fn a_wrong_password_at_the_start_ends_the_daemon_with_exit_code_77() {
    let world = World::with(Options { args: ["--requirepass", "right"].map(Into::into).into(), ..Options::default() });
    let file = world.path("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut daemon = world.daemon("w", &[("redis.password_file", file.to_str().unwrap())]);
    let (status, _) = daemon.wait();
    assert_eq!(status.code(), Some(77), "{}", daemon.log());
    assert!(daemon.log().contains("WRONGPASS"), "{}", daemon.log());
}

#[test]
fn a_lost_group_is_made_anew_where_it_was_on_every_server() {
    on_every_server(|options| lose_the_group(&World::with(options)));
}

/// Takes stream or group away in every way during a blocked read, and looks what becomes of it.
fn lose_the_group(world: &World) {
    let set = [("consumers.block", "1s"), ("trimmer.interval", "50ms")];
    let daemon = world.daemon("w", &set);
    daemon.wait_until_ready();
    let calamities: [&[&str]; 5] = [
        &["XGROUP", "DESTROY", STREAM, GROUP],
        &["DEL", STREAM],
        &["RENAME", STREAM, "elsewhere"],
        &["SET", STREAM, "no stream"],
        &["FLUSHALL"],
    ];
    for (round, calamity) in calamities.into_iter().enumerate() {
        world.add_many_of(&format!("round-{round}"), 8, 2);
        world.wait_until_drained();
        let settled = world.last_id().expect("an entry");
        let mark = format!("{{{STREAM}}}:watermark:{GROUP}");
        wait_until("the watermark is written", || {
            let mark: Option<String> = redis::cmd("GET").arg(&mark).query(&mut world.redis()).unwrap();
            mark.is_some_and(|mark| mark.split(' ').next() == Some(&*settled))
        });
        wait_until("a read is blocked", || world.is_reading());
        redis::cmd(calamity[0]).arg(&calamity[1..]).exec(&mut world.redis()).expect("a calamity");
        if calamity[0] == "SET" {
            wait_until("the reason is told", || daemon.get("/readyz").1.contains("WRONGTYPE"));
            redis::cmd("DEL").arg(STREAM).exec(&mut world.redis()).expect("DEL");
        }
        let made =
            wait_for("the group is made anew", || daemon.log_lines("was gone and was made anew").get(round).cloned());
        let at = if calamity[0] == "XGROUP" { &*settled } else { "0-0" };
        assert!(made.contains(&format!("\"at\":\"{at}\"")), "{calamity:?}: {made}");
        wait_until("it is ready", || daemon.get("/readyz").0 == 200);
    }
    world.add_many_of("last", 8, 2);
    world.wait_until_drained();
    assert_eq!(world.applied(), 48);
    assert_eq!(daemon.metric("orderd_group_recreated_total"), Some(5.0));
    assert_eq!(daemon.log_lines("the consumer group was gone").len(), 5, "one line each:\n{}", daemon.log());
    assert!(daemon.log_lines("").len() < 60, "a flood:\n{}", daemon.log());
}
