//! Notices of settled events: what is told, when, and what happens when nobody can be told.

use std::sync::Arc;
use std::time::Duration;

use orderd::broker::address::Address;
use orderd::broker::connect::Connector;
use orderd::broker::error::Trouble;
use orderd::broker::messages::Messages;
use orderd::broker::pubsub::{Publisher, Topics};
use orderd::cli::sandbox::Options;
use orderd::domain::id::EntryId;
use orderd::task::listener::{Heard, Listener, QUEUE};
use orderd::telemetry::Telemetry;
use serde_json::{Value, json};

use super::harness::postgres::Database;
use super::harness::{DEADLINE, Daemon, World, number, wait_until};

const ON: (&str, &str) = ("notify.enabled", "true");

/// Somebody who listens to every user's channel.
struct Ear {
    runtime: tokio::runtime::Runtime,
    listener: Listener,
}

impl Ear {
    fn open(world: &World) -> Self {
        let address = Address::parse(&world.server.url(), None).unwrap();
        let connector = Arc::new(Connector::new(address, "ear", Telemetry::new().unwrap()).unwrap());
        let topics = Topics { channels: Vec::new(), patterns: vec!["notifications:user:*".to_owned()] };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut ear = Self { runtime, listener: Listener::new(connector, topics, QUEUE) };
        assert_eq!(ear.hear(), Heard::Listening);
        ear
    }

    fn hear(&mut self) -> Heard {
        let Self { runtime, listener } = self;
        runtime.block_on(async { tokio::time::timeout(DEADLINE, listener.next()).await.expect("something to hear") })
    }

    /// The next message: its channel, and what it says.
    fn message(&mut self) -> (String, Value) {
        loop {
            if let Heard::Message(message) = self.hear() {
                return (message.channel, serde_json::from_slice(&message.payload).unwrap());
            }
        }
    }
}

/// The id of orderd's connection of this kind.
fn client(world: &World, role: &str) -> Option<String> {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut world.redis()).unwrap();
    let line = clients.lines().find(|line| line.contains(&format!(":{role} ")))?;
    line.split(' ').next()?.strip_prefix("id=").map(str::to_owned)
}

fn publisher(world: &World) -> Option<String> {
    client(world, "publisher")
}

/// Cuts a connection.
fn kill(world: &World, id: &str) {
    redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).exec(&mut world.redis()).unwrap();
}

/// A message to nobody in particular.
fn hello() -> Messages {
    let mut messages = Messages::new();
    messages.push(|channel, text| {
        channel.push_str("news");
        text.push_str("hello");
    });
    messages
}

fn told(daemon: &Daemon, outcome: &str) -> u64 {
    let count = daemon.metric(&format!("orderd_notifications_total{{outcome=\"{outcome}\"}}"));
    format!("{:.0}", count.unwrap_or_default()).parse().unwrap()
}

fn created(world: &World, order: &str, user: &str) -> String {
    world.add(&[("action", "created"), ("orderId", order), ("amount", "49.99"), ("userId", user)])
}

#[test]
fn each_event_is_told_to_its_user_with_where_the_order_stands() {
    let world = World::new();
    is_told_with_where_the_order_stands(&world, &[ON]);
}

#[test]
fn each_event_is_told_with_where_the_order_stands_by_a_ledger_on_postgres_too() {
    let Some(database) = Database::new() else { return };
    is_told_with_where_the_order_stands(&World::new(), &[ON, ("ledger.url", &database.url())]);
}

fn is_told_with_where_the_order_stands(world: &World, settings: &[(&str, &str)]) {
    let mut ear = Ear::open(world);
    let created = created(world, "order-789", "user-123");
    let paid = world.add(&[("action", "paid"), ("orderId", "order-789"), ("amount", "49.99")]);
    let shipped = world.add(&[("action", "shipped"), ("orderId", "order-789")]);
    let daemon = world.daemon("w", settings);
    let expected = [
        (created, "order.created", "created", json!("49.99"), 1),
        (paid, "order.paid", "paid", json!("49.99"), 2),
        (shipped, "order.shipped", "shipped", Value::Null, 3),
    ];
    for (entry, kind, state, amount, version) in expected {
        let (channel, mut message) = ear.message();
        assert_eq!(channel, "notifications:user:user-123", "{message}");
        let at = message["at"].take();
        assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{at}");
        let expected = json!({ "type": kind, "orderId": "order-789", "state": state, "amount": amount,
            "entryId": entry, "version": version, "at": null });
        assert_eq!(message, expected);
    }
    wait_until("it is counted", || told(&daemon, "sent") >= 3);
    assert_eq!(daemon.metric("orderd_notification_receivers_total"), Some(3.0));
}

#[test]
fn an_event_that_is_ignored_is_not_told() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    world.add(&[("action", "gift-wrapped"), ("orderId", "a"), ("userId", "u")]);
    created(&world, "a", "u");
    let daemon = world.daemon("w", &[ON, ("ledger.unknown_action", "ignore")]);
    assert_eq!(ear.message().1["type"], "order.created");
    world.wait_until_drained();
    wait_until("it is counted", || told(&daemon, "sent") >= 1);
    assert_eq!((told(&daemon, "sent"), told(&daemon, "dropped"), told(&daemon, "failed")), (1, 0, 0));
}

#[test]
fn nothing_is_told_before_it_is_acknowledged() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    daemon.wait_until_ready();
    world.permit("-xack");
    created(&world, "a", "u");
    wait_until("it is in the ledger and its acknowledgement was refused again and again", || {
        number(&world.ledger(), "SELECT count(*) FROM order_events") == 1 && world.refused("xack") >= 3
    });
    assert_eq!((told(&daemon, "sent"), told(&daemon, "dropped")), (0, 0));
    redis::cmd("PUBLISH").arg("notifications:user:x").arg("{\"so\":\"far\"}").exec(&mut world.redis()).unwrap();
    assert_eq!(ear.message().1, json!({ "so": "far" }), "nothing was told until now");
    world.permit("+xack");
    assert_eq!(ear.message().1["orderId"], "a");
    assert_eq!(world.pending(), 0);
}

#[test]
fn an_event_that_was_applied_in_an_earlier_life_is_not_told_again() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    world.permit("-multi");
    let mut doomed = world.doomed_daemon("w", &[ON], "after-ack");
    created(&world, "a", "u");
    doomed.wait();
    // It died with the acknowledgement done and nobody told; what follows is told, and shows the gap by its version.
    world.permit("+multi");
    world.add(&[("action", "paid"), ("orderId", "a"), ("amount", "49.99")]);
    let mut doomed = world.doomed_daemon("w", &[ON], "before-ack");
    doomed.wait();
    let _daemon = world.daemon("w", &[ON]);
    world.wait_until_drained();
    world.add(&[("action", "shipped"), ("orderId", "a")]);
    let (_, message) = ear.message();
    assert_eq!((&message["type"], &message["version"]), (&json!("order.shipped"), &json!(3)));
}

#[test]
fn a_few_are_told_in_one_go_with_their_acknowledgement_and_whoever_hears_of_one_finds_it_settled() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    daemon.wait_until_ready();
    for n in 0..20 {
        let entry = created(&world, &format!("a{n}"), "u");
        assert_eq!(ear.message().1["entryId"], entry.as_str());
        assert_eq!(world.pending(), 0, "{entry}");
    }
    wait_until("they are counted", || told(&daemon, "sent") == 20);
    assert!(publisher(&world).is_none(), "a connection for them alone was not needed");
    assert_eq!(daemon.metric("orderd_notification_receivers_total"), Some(20.0));
}

#[test]
fn without_the_right_to_transactions_it_is_told_over_a_connection_of_its_own() {
    let world = World::new();
    world.permit("-multi");
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    for order in ["a", "b", "c"] {
        created(&world, order, "u");
        assert_eq!(ear.message().1["orderId"], order);
    }
    wait_until("they are counted", || told(&daemon, "sent") == 3);
    assert!(publisher(&world).is_some());
    assert_eq!(world.refused("multi"), 1, "asked once for a connection");
}

#[test]
fn an_acknowledgement_does_not_fail_with_the_message_that_was_to_go_along() {
    let world = World::new();
    world.permit("-publish");
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    created(&world, "a", "u");
    world.wait_until_drained();
    wait_until("it is counted", || told(&daemon, "failed") == 1);
    assert_eq!(
        daemon.metric("orderd_redis_reconnects_total{connection=\"acks\"}"),
        Some(0.0),
        "it took no new connection"
    );
    world.permit("+publish");
    created(&world, "b", "u");
    assert_eq!(ear.message().1["orderId"], "b");
    assert_eq!(told(&daemon, "failed"), 1);
}

#[test]
fn events_of_one_order_are_told_in_their_order_whether_many_or_few_go_out_together() {
    const ORDERS: usize = 20;
    let world = World::new();
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON, ("handler.kind", "none")]);
    daemon.wait_until_ready();
    let mut last = vec![EntryId::MIN; ORDERS];
    for _ in 0..10 {
        world.add_many(400, ORDERS);
        for n in 0..ORDERS {
            created(&world, &format!("order-{n}"), "u");
        }
        for _ in 0..400 + ORDERS {
            let (_, message) = ear.message();
            let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
            let number: usize = text("orderId").trim_start_matches("order-").parse().unwrap();
            let entry: EntryId = text("entryId").parse().unwrap();
            assert!(entry > last[number], "{message} after {}", last[number]);
            last[number] = entry;
        }
    }
    wait_until("all of them are counted", || told(&daemon, "sent") == 10 * (400 + ORDERS as u64));
}

#[test]
fn the_work_goes_on_when_nobody_can_be_told_and_what_was_not_told_is_counted() {
    const EVENTS: u64 = 40_000;
    let world = World::new();
    world.permit("-publish");
    let daemon = world.daemon("w", &[ON, ("handler.kind", "none")]);
    daemon.wait_until_ready();
    world.add_many(usize::try_from(EVENTS).unwrap(), 1_000);
    world.wait_until_drained();
    assert!(told(&daemon, "dropped") > 0 && told(&daemon, "failed") > 0, "{}", daemon.get("/metrics").1);
    assert_eq!(told(&daemon, "sent"), 0);
    assert_eq!(daemon.log_lines("notifications cannot be sent").len(), 1, "told once");
    world.permit("+publish");
    wait_until("each of them is accounted for", || {
        told(&daemon, "sent") + told(&daemon, "dropped") + told(&daemon, "failed") >= EVENTS
    });
    let all = told(&daemon, "sent") + told(&daemon, "dropped") + told(&daemon, "failed");
    assert_eq!((all, told(&daemon, "sent") > 0), (EVENTS, true));
    assert_eq!(daemon.log_lines("notifications are sent again").len(), 1);
}

#[test]
fn a_subscriber_that_reads_nothing_is_cut_off_by_the_server_and_holds_up_nobody() {
    const EVENTS: u64 = 20_000;
    let world = World::new();
    let limit = ("SET", "client-output-buffer-limit", "pubsub 1mb 0 0");
    redis::cmd("CONFIG").arg(limit).query::<()>(&mut world.redis()).unwrap();
    let mut deaf = world.redis();
    let id: u64 = redis::cmd("CLIENT").arg("ID").query(&mut deaf).unwrap();
    redis::cmd("PSUBSCRIBE").arg("notifications:user:*").query::<redis::Value>(&mut deaf).unwrap();
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON, ("handler.kind", "none")]);
    daemon.wait_until_ready();
    world.add_many(usize::try_from(EVENTS).unwrap(), 500);
    world.wait_until_drained();
    wait_until("everything is told", || told(&daemon, "sent") + told(&daemon, "dropped") >= EVENTS);
    assert_eq!(told(&daemon, "failed"), 0);
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut world.redis()).unwrap();
    assert!(!clients.lines().any(|line| line.starts_with(&format!("id={id} "))), "{clients}");
    assert_eq!(ear.message().0, "notifications:user:user-0");
    drop(deaf);
}

#[test]
fn a_connection_that_is_cut_is_made_again_before_anything_is_sent_over_it() {
    let world = World::new();
    world.permit("-multi");
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    for (round, order) in (0..3).zip(["a", "b", "c"]) {
        created(&world, order, "u");
        assert_eq!(ear.message().1["orderId"], order);
        wait_until("it is counted", || told(&daemon, "sent") == round + 1);
        kill(&world, &publisher(&world).expect("a publisher"));
    }
    created(&world, "d", "u");
    assert_eq!(ear.message().1["orderId"], "d");
    wait_until("it is counted", || told(&daemon, "sent") == 4);
    assert_eq!((told(&daemon, "failed"), told(&daemon, "dropped")), (0, 0));
    assert_eq!(daemon.metric("orderd_redis_reconnects_total{connection=\"publisher\"}"), Some(3.0));
}

#[test]
fn an_acknowledgement_over_a_connection_that_was_cut_takes_its_message_along_over_the_next_one() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    for (round, order) in (0..3).zip(["a", "b", "c"]) {
        created(&world, order, "u");
        assert_eq!(ear.message().1["orderId"], order);
        wait_until("it is counted", || told(&daemon, "sent") == round + 1);
        kill(&world, &client(&world, "acks").expect("a connection for acknowledging"));
    }
    created(&world, "d", "u");
    assert_eq!(ear.message().1["orderId"], "d");
    wait_until("it is counted", || told(&daemon, "sent") == 4);
    assert_eq!((told(&daemon, "failed"), told(&daemon, "dropped")), (0, 0));
}

#[test]
fn a_publisher_whose_connection_was_cut_knows_it_without_publishing() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let address = Address::parse(&world.server.url(), None).unwrap();
        let connector = Connector::new(address, "test", Telemetry::new().unwrap()).unwrap();
        let mut publisher = Publisher::open(&connector).await.unwrap();
        assert_eq!(publisher.publish(&hello()).await, Ok(0));
        assert!(!publisher.is_gone());
        kill(&world, &client(&world, "publisher").expect("a publisher"));
        wait_until("it knows", || publisher.is_gone());
        assert!(publisher.publish(&hello()).await.is_err());
    });
}

#[test]
fn a_primary_that_was_demoted_takes_messages_in_silence_and_is_not_believed() {
    let primary = World::with(Options { tcp: true, ..Options::default() });
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = Address::parse(&world.server.url(), None).unwrap();
        let connector = Connector::new(address, "test", Telemetry::new().unwrap()).unwrap();
        let mut publisher = Publisher::open(&connector).await.unwrap();
        publisher.make_sure_of_primary().await.unwrap();
        let demote = ("127.0.0.1", primary.server.port().unwrap());
        redis::cmd("REPLICAOF").arg(demote).query::<()>(&mut world.redis()).unwrap();
        assert_eq!(publisher.publish(&hello()).await, Ok(0), "no error");
        let error = publisher.make_sure_of_primary().await.unwrap_err();
        assert!(matches!(error.trouble, Trouble::NotPrimary(_)), "{error}");
    });
}

#[test]
fn what_waits_while_the_server_becomes_a_replica_is_counted_as_failed() {
    let primary = World::with(Options { tcp: true, ..Options::default() });
    let world = World::new();
    world.permit("-publish");
    let daemon = world.daemon("w", &[ON, ("handler.kind", "none")]);
    daemon.wait_until_ready();
    world.add_many(2_500, 500);
    world.wait_until_drained();
    wait_until("the first could not be sent", || told(&daemon, "failed") > 0);
    let demote = ("127.0.0.1", primary.server.port().unwrap());
    redis::cmd("REPLICAOF").arg(demote).query::<()>(&mut world.redis()).unwrap();
    world.permit("+publish");
    wait_until("each is accounted for", || told(&daemon, "failed") + told(&daemon, "dropped") >= 2_500);
    assert_eq!(told(&daemon, "sent"), 0, "a replica would have taken them without a word");
}

#[test]
fn after_a_restart_of_redis_it_is_told_again() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"].map(Into::into).to_vec();
    let mut world = World::with(Options { args, ..Options::default() });
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[ON]);
    created(&world, "a", "u");
    assert_eq!(ear.message().1["orderId"], "a");
    world.server.kill9().unwrap();
    world.server.restart().unwrap();
    while !matches!(ear.hear(), Heard::Missed(_)) {}
    created(&world, "b", "u");
    assert_eq!(ear.message().1["orderId"], "b");
    wait_until("the connection was made anew", || {
        daemon.metric("orderd_redis_reconnects_total{connection=\"acks\"}").unwrap_or_default() >= 1.0
    });
}

#[test]
fn a_stop_does_not_try_everything_that_waits_on_a_server_that_takes_none_of_it() {
    const EVENTS: u64 = 16_000;
    let world = World::new();
    world.permit("-publish");
    let mut daemon = world.daemon("w", &[ON, ("handler.kind", "none")]);
    daemon.wait_until_ready();
    world.add_many(usize::try_from(EVENTS).unwrap(), 1_000);
    world.wait_until_drained();
    wait_until("it is known that nothing can be sent", || told(&daemon, "failed") > 0);
    let (status, _) = daemon.stop();
    assert!(status.success(), "{status}");
    let tried = world.refused("publish");
    assert!(tried < EVENTS / 2, "{tried} were tried");
}

#[test]
fn what_is_in_hand_at_a_stop_is_told_before_the_end() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    let mut daemon = world.daemon("w", &[ON]);
    daemon.wait_until_ready();
    world.add_many(400, 100);
    wait_until("it is at work", || daemon.metric("orderd_events_settled_total").unwrap_or_default() > 0.0);
    let (status, took) = daemon.stop();
    assert!(status.success() && took < Duration::from_secs(20), "{status} {took:?}");
    let done = number(&world.ledger(), "SELECT count(*) FROM order_events");
    for _ in 0..done {
        ear.message();
    }
}

#[test]
fn without_the_key_nothing_is_told() {
    let world = World::new();
    let mut ear = Ear::open(&world);
    let daemon = world.daemon("w", &[]);
    created(&world, "a", "u");
    world.wait_until_drained();
    assert_eq!(told(&daemon, "sent"), 0);
    redis::cmd("PUBLISH").arg("notifications:user:x").arg("{\"end\":true}").query::<()>(&mut world.redis()).unwrap();
    assert_eq!(ear.message().1, json!({ "end": true }));
}
