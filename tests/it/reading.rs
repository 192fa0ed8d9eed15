//! Reading and acknowledging, where the connection lets them down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use orderd::cli::sandbox::Options;
use orderd::domain::id::EntryId;
use orderd::domain::outcome::Outcome;

use super::harness::embedded::Embedded;
use super::harness::proxy::{Cut, Proxy};
use super::harness::{STREAM, World, scripted, wait_until};

/// What is acknowledged is counted a moment later.
fn wait_until_settled(worker: &Embedded, count: u32) {
    wait_until("all of it is counted", || {
        (worker.metric("orderd_events_settled_total") - f64::from(count)).abs() < 0.5
    });
}

#[test]
fn answers_that_break_off_anywhere_lose_no_event_and_run_none_twice_or_out_of_turn() {
    let world = World::with(Options { tcp: true, ..Options::default() });
    let proxy = Proxy::new(world.server.port().unwrap(), "XREADGROUP");
    let seen = Arc::new(Mutex::new(HashMap::<String, EntryId>::new()));
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let (noted, complaints) = (Arc::clone(&seen), Arc::clone(&wrong));
    let handler = scripted(64, 4, move |work| {
        let (order, id) = (work.event.order.to_string(), work.event.id());
        let last = noted.lock().unwrap().insert(order.clone(), id);
        if last.is_some_and(|last| last >= id) {
            complaints.lock().unwrap().push((order, last, id));
        }
        async { Outcome::Applied }.boxed()
    });
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let set = [("redis.url", url.as_str()), ("consumers.batch", "50"), ("consumers.in_flight", "400")];
    let worker = world.embedded("w", &set, handler);
    // Within the head, within an id, within a field, at the end of an entry or nearly so, and far behind.
    for bytes in [1, 4, 30, 60, 150, 333, 1_000, 3_333, 6_000] {
        proxy.cut(Cut::Within(bytes));
    }
    let mut added = 0;
    wait_until("every answer was cut", || {
        world.add_many_of("order", 500, 20);
        added += 500;
        proxy.has_cut()
    });
    world.wait_until_drained();
    wait_until_settled(&worker, added);
    assert_eq!(*wrong.lock().unwrap(), []);
    assert!(worker.metric("orderd_redis_reconnects_total") >= 9.0);
    worker.stop().unwrap();
}

#[test]
fn an_ack_over_a_connection_that_was_closed_meanwhile_is_sent_again_over_a_new_one() {
    let world = World::new();
    let worker = world.embedded("w", &[], scripted(64, 4, |_| async { Outcome::Applied }.boxed()));
    for round in 1..=3 {
        world.add_many_of(&format!("round-{round}"), 10, 5);
        world.wait_until_drained();
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut world.redis()).expect("CLIENT LIST");
        let acks = clients.lines().find(|client| client.contains("name=orderd:w:acks")).expect("a connection");
        let id = acks.split([' ', '=']).nth(1).unwrap();
        let killed: u32 = redis::cmd("CLIENT").arg(("KILL", "ID", id)).query(&mut world.redis()).expect("CLIENT KILL");
        assert_eq!(killed, 1);
    }
    wait_until_settled(&worker, 30);
    assert!((worker.metric("orderd_redis_reconnects_total") - 2.0).abs() < 0.5);
    worker.stop().unwrap();
}

#[test]
fn what_no_parser_of_texts_would_take_is_read_and_its_neighbours_are_handled() {
    let world = World::new();
    let odd: [(&[u8], &[u8]); 4] =
        [(b"action", b"paid"), (&[0xff, b'\r', b'\n'], b""), (b"", &[0]), (b"orderId", &[0xfe])];
    let mut connection = world.redis();
    world.add_many(10, 5);
    redis::cmd("XADD").arg(STREAM).arg("*").arg(&odd[..]).exec(&mut connection).expect("XADD");
    let large = "x".repeat(900_000);
    world.add(&[("action", "shipped"), ("orderId", "large"), ("note", &large)]);
    world.add_many_of("behind", 10, 5);
    let worker = world.embedded("w", &[], scripted(64, 4, |_| async { Outcome::Applied }.boxed()));
    wait_until("all is settled", || world.dead_letters().len() == 1 && world.pending() == 0);
    world.wait_until_drained();
    wait_until_settled(&worker, 21);
    worker.stop().unwrap();
}
