//! Leases: slow work is not dead work, and what was lost is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use orderd::cli::sandbox::Options;
use orderd::domain::outcome::{Failure, Outcome};
use tokio::sync::watch;

use super::harness::{GROUP, STREAM, World, field, scripted, wait_until};

const NOTED: [(&str, &str); 2] = [("action", "noted"), ("orderId", "a")];

#[test]
fn a_handler_that_takes_five_times_the_claim_time_runs_once() {
    let world = World::new();
    let runs = Arc::new(AtomicU32::new(0));
    let set = [("reaper.claim_after", "600ms"), ("reaper.interval", "50ms")];
    let workers = ["slow", "eager"].map(|name| {
        let runs = Arc::clone(&runs);
        let handler = scripted(1, 4, move |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Outcome::Applied
            }
            .boxed()
        });
        world.embedded(name, &set, handler)
    });
    // The second waits in its lane behind the first: it is held, and not run.
    let ids = [world.add(&NOTED), world.add(&NOTED)];
    world.wait_until_drained();
    assert_eq!(runs.load(Ordering::Relaxed), 2, "{ids:?}");
    let sum = |name: &str| workers.iter().map(|worker| worker.metric(name)).sum::<f64>();
    assert!(sum("orderd_leases_renewed_total") > 4.0);
    assert!(sum("orderd_leases_lost_total") + sum("orderd_entries_reclaimed_total") < 0.5);
}

#[test]
fn after_an_outage_that_is_longer_than_the_claim_time_nobody_takes_over_what_the_living_have_in_hand() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"].map(Into::into).into();
    let mut world = World::with(Options { args, tcp: true, ..Options::default() });
    let (finish, finished) = watch::channel(false);
    let runs = Arc::new(AtomicU32::new(0));
    let set = [("reaper.claim_after", "1500ms"), ("reaper.interval", "50ms"), ("consumers.batch", "1")];
    let workers = ["a", "b"].map(|name| {
        let (runs, finished) = (Arc::clone(&runs), finished.clone());
        let handler = scripted(1, 8, move |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            let mut finished = finished.clone();
            async move {
                let _ = finished.wait_for(|finished| *finished).await;
                Outcome::Applied
            }
            .boxed()
        });
        world.embedded(name, &set, handler)
    });
    (0..8).for_each(|n| drop(world.add(&[("action", "noted"), ("orderId", &format!("order-{n}"))])));
    let sum = |name: &str| workers.iter().map(|worker| worker.metric(name)).sum::<f64>();
    wait_until("all are in hand", || sum("orderd_entries_read_total") > 7.5);
    world.server.kill9().unwrap();
    let over = Instant::now() + Duration::from_secs(2);
    wait_until("the outage has been longer than the claim time", || Instant::now() >= over);
    world.server.restart().unwrap();
    let renewed = sum("orderd_leases_renewed_total");
    // Twice, so that many a sweep has come by.
    wait_until("everything was renewed", || sum("orderd_leases_renewed_total") >= renewed + 16.0);
    assert!(sum("orderd_leases_lost_total") + sum("orderd_entries_reclaimed_total") < 0.5);
    finish.send_replace(true);
    world.wait_until_drained();
    assert_eq!(runs.load(Ordering::Relaxed), 8);
}

#[test]
fn a_call_that_hangs_is_given_up_and_its_event_tried_again() {
    let world = World::new();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let handler = scripted(1, 4, move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => std::future::pending().boxed(),
        _ => async { Outcome::Applied }.boxed(),
    });
    let worker = world.embedded("w", &[("handler.timeout", "100ms"), ("retry.delay_min", "10ms")], handler);
    world.add(&NOTED);
    world.wait_until_drained();
    assert!((worker.metric("orderd_handler_timeouts_total") - 1.0).abs() < 0.5);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[test]
fn a_lost_lease_is_noticed_and_a_failure_after_it_buries_nothing() {
    let world = World::new();
    let (finish, finished) = watch::channel(false);
    let handler = scripted(1, 4, move |_| {
        let mut finished = finished.clone();
        async move {
            let _ = finished.wait_for(|finished| *finished).await;
            Outcome::Failed(Failure::permanent("of no consequence"))
        }
        .boxed()
    });
    let worker = world.embedded("w", &[("reaper.claim_after", "900ms"), ("reaper.interval", "1h")], handler);
    let taken = world.add(&NOTED);
    wait_until("it is in hand", || worker.metric("orderd_entries_read_total") > 0.0);
    move_to(&world, "other-0", &taken);
    wait_until("the loss is noticed", || worker.metric("orderd_leases_lost_total") > 0.0);
    finish.send_replace(true);
    let next = world.add(&NOTED);
    wait_until("the next one is buried", || world.dead_letters().len() == 1);
    assert_eq!(field(&world.dead_letters()[0], "_id"), next);
    let pending = world.pending_entries();
    assert_eq!((pending.len(), &*pending[0].consumer, &*pending[0].id), (1, "other-0", &*taken));
    drop(worker);
}

#[test]
fn an_entry_that_moved_from_one_of_our_names_to_another_is_still_ours() {
    let world = World::new();
    let failed = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&failed);
    let handler = scripted(1, 4, move |_| {
        let before = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if before == 0 { Outcome::Failed(Failure::transient("once")) } else { Outcome::Applied }
        }
        .boxed()
    });
    let set = [("reaper.claim_after", "900ms"), ("reaper.interval", "1h"), ("retry.delay_min", "1s")];
    let worker = world.embedded("w", &set, handler);
    let id = world.add(&NOTED);
    wait_until("it is in hand", || !world.pending_entries().is_empty());
    let reader = world.pending_entries()[0].consumer.clone();
    move_to(&world, if reader == "w-0" { "w-1" } else { "w-0" }, &id);
    wait_until("it failed once", || worker.metric("orderd_retries_total") > 0.0);
    world.wait_until_drained();
    assert!(worker.metric("orderd_leases_lost_total") < 0.5);
    assert_eq!(failed.load(Ordering::Relaxed), 2);
}

fn move_to(world: &World, consumer: &str, id: &str) {
    let claim = (STREAM, GROUP, consumer, 0, id, "JUSTID");
    redis::cmd("XCLAIM").arg(claim).exec(&mut world.redis()).expect("XCLAIM");
}
