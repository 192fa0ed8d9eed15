//! What dead workers left behind, in quantity and in odd shapes.

use std::collections::HashSet;

use futures_util::FutureExt as _;
use orderd::cli::sandbox::Options;
use orderd::domain::outcome::Outcome;

use super::harness::{GROUP, STREAM, World, on_every_server, scripted, wait_until};

const SWEEPS: [(&str, &str); 2] = [("reaper.claim_after", "60s"), ("reaper.interval", "50ms")];

/// Leaves `each` entries pending under each of `names` dead names, for longer than a minute. Their ids.
fn leave(world: &World, names: usize, each: usize) -> Vec<String> {
    let mut connection = world.redis();
    let _: Result<(), _> = redis::cmd("XGROUP").arg(("CREATE", STREAM, GROUP, "0", "MKSTREAM")).query(&mut connection);
    let mut all = Vec::new();
    for name in 0..names {
        let consumer = format!("dead-{name}");
        let mut add = redis::pipe();
        for n in 0..each {
            add.cmd("XADD").arg((STREAM, "*", "action", "noted", "orderId", format!("{name}-{n}")));
        }
        let ids: Vec<String> = add.query(&mut connection).expect("XADD");
        let read = ("GROUP", GROUP, &consumer, "COUNT", each, "STREAMS", STREAM, ">");
        redis::cmd("XREADGROUP").arg(read).exec(&mut connection).expect("XREADGROUP");
        let mut claim = redis::cmd("XCLAIM");
        claim.arg((STREAM, GROUP, &consumer, 0)).arg(&ids).arg(("IDLE", 120_000, "JUSTID"));
        claim.exec(&mut connection).expect("XCLAIM");
        all.extend(ids);
    }
    all
}

#[test]
fn twenty_thousand_entries_of_fifty_dead_workers_are_all_recovered_and_the_names_removed() {
    let world = World::new();
    // A live one has so much in hand, and stands first, that no single call of a sweep sees past it. Nobody may touch that.
    world.add_many(3_000, 1_000);
    leave(&world, 0, 0);
    let read = ("GROUP", GROUP, "living-0", "COUNT", 3_000, "STREAMS", STREAM, ">");
    redis::cmd("XREADGROUP").arg(read).exec(&mut world.redis()).expect("XREADGROUP");
    leave(&world, 50, 400);

    let handler = scripted(256, 4, |_| async { Outcome::Applied }.boxed());
    let worker = world.embedded("w", &SWEEPS, handler);
    wait_until("all are recovered", || world.pending() == 3_000);
    wait_until("all are counted", || (worker.metric("orderd_events_settled_total") - 20_000.0).abs() < 0.5);
    assert!(world.pending_entries().iter().all(|entry| entry.consumer == "living-0"));
    drop(worker);

    let handler = scripted(256, 4, |_| async { Outcome::Applied }.boxed());
    let _soon = world.embedded("x", &[("reaper.claim_after", "1s"), ("reaper.interval", "50ms")], handler);
    wait_until("names that hold nothing are removed", || world.consumers().iter().all(|name| name.starts_with("x-")));
    assert_eq!(world.pending(), 0, "by then it counted as left behind, too");
}

#[test]
fn entries_that_were_deleted_while_pending_are_counted_named_and_settled_on_every_server() {
    on_every_server(|options| {
        for own in [true, false] {
            deleted_entries(options.clone(), own);
        }
    });
}

fn deleted_entries(options: Options, own: bool) {
    let world = World::with(options);
    let ids = leave(&world, 4, 25);
    let gone: HashSet<&String> = ids.iter().filter(|_| fastrand::u8(..) < 80).chain([&ids[0], &ids[99]]).collect();
    redis::cmd("XDEL").arg(STREAM).arg(&gone).exec(&mut world.redis()).expect("XDEL");
    // Under the dead worker's own name they are found without a claim.
    let daemon = world.daemon(if own { "dead" } else { "w" }, &[SWEEPS[0], SWEEPS[1], ("handler.kind", "none")]);
    wait_until("nothing is pending", || world.pending() == 0);
    wait_until("the loss is counted", || {
        daemon.metric("orderd_entries_lost_total") == Some(f64::from(u32::try_from(gone.len()).unwrap()))
    });
    // Counted after the acknowledgement.
    let left = Some(f64::from(u32::try_from(100 - gone.len()).unwrap()));
    wait_until("all others are counted", || daemon.metric("orderd_events_settled_total") == left);
    let named = daemon.log_lines("were deleted before they were handled").concat();
    assert!(named.contains(&ids[0]), "{named}");
}

#[test]
fn a_consumer_that_holds_anything_is_not_removed_on_any_server() {
    on_every_server(|options| {
        let world = World::with(options);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let broker = world.broker();
        let remove = || runtime.block_on(broker.remove_consumer(&"dead-0".into())).expect("an answer");
        let id = world.left_by_dead_worker("a", 1);
        assert!(!remove());
        assert_eq!(world.pending(), 1, "what it holds is still there");
        redis::cmd("XACK").arg((STREAM, GROUP, id)).exec(&mut world.redis()).expect("XACK");
        assert!(remove());
        assert!(!remove(), "there is none any more");
    });
}

#[test]
fn no_call_takes_up_more_entries_than_redis_can_look_at_in_a_moment_whatever_is_configured() {
    for instance in ["dead", "w"] {
        let world = World::new();
        leave(&world, 1, 2_000);
        redis::cmd("CONFIG").arg(("SET", "slowlog-max-len", 100_000)).exec(&mut world.redis()).expect("CONFIG SET");
        redis::cmd("CONFIG").arg(("SET", "slowlog-log-slower-than", 0)).exec(&mut world.redis()).expect("CONFIG SET");
        let large = [("reaper.batch", "10000"), ("consumers.batch", "2000"), ("handler.kind", "none")];
        let _worker = world.daemon(instance, &[&SWEEPS[..], &large[..]].concat());
        wait_until("nothing is pending", || world.pending() == 0);
        let told: Vec<(u64, u64, u64, Vec<String>, String, String)> =
            redis::cmd("SLOWLOG").arg(("GET", 100_000)).query(&mut world.redis()).expect("SLOWLOG GET");
        // Stream and retry records are the keys of those two scripts that take entries up, and the number of entries stands last.
        let calls = told.iter().map(|(_, _, _, command, ..)| command);
        let calls = calls.filter(|command| command.get(4).is_some_and(|key| key.contains(":retry:")));
        let most: Vec<usize> = calls.map(|command| command.last().unwrap().parse().unwrap()).collect();
        assert!(most.len() >= 40 && most.iter().all(|most| *most <= 50), "{instance}: {most:?}");
    }
}
