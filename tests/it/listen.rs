//! `orderd listen` and `orderd publish`, and the listener behind them, against a real server.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use orderd::broker::address::Address;
use orderd::broker::connect::Connector;
use orderd::broker::pubsub::Topics;
use orderd::cli::sandbox::Options;
use orderd::task::listener::{Heard, Listener, Missed};
use orderd::telemetry::Telemetry;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::harness::postgres::Database;
use super::harness::{DEADLINE, World, servers, wait_until};

/// A running `orderd listen`. Dropped, it is killed.
struct Listening {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Listening {
    /// Starts it and waits until it is subscribed.
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut child = spawn(world, arguments);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let listening = Self { child, lines };
        assert_eq!(listening.next(), json!({ "listening": true }));
        listening
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE).expect("a further line");
        serde_json::from_str(&line).unwrap()
    }

    /// Reads on until a message comes; what else was said on the way.
    fn until_message(&self) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let line = self.next();
            if line.get("message").is_some() {
                return (before, line);
            }
            before.push(line);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(world: &World, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.args(["--redis", &world.server.url(), "listen"]).args(arguments).env_remove("ORDERD_CONFIG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn publish(world: &World, channel: &str, message: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.args(["--redis", &world.server.url(), "publish", channel, message]).env_remove("ORDERD_CONFIG");
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Publishes until somebody is there to hear it.
fn publish_until_heard(world: &World, channel: &str, message: &str) {
    let mut redis = world.redis();
    wait_until("a subscriber is there", || {
        redis::cmd("PUBLISH").arg(channel).arg(message).query::<u64>(&mut redis).unwrap() > 0
    });
}

fn cut_off_subscribers(world: &World) {
    let killed: u64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query(&mut world.redis()).unwrap();
    assert!(killed > 0);
}

#[test]
fn channels_and_patterns_are_heard_on_every_server() {
    for (name, options) in servers::all() {
        let world = World::with(options);
        let listening = Listening::start(&world, &["news", "--pattern", "notifications:user:*", "--json"]);
        assert_eq!(said(&publish(&world, "news", "hello")), "1 subscriber was given it\n", "{name}");
        assert_eq!(listening.next(), json!({ "channel": "news", "pattern": null, "message": "hello" }), "{name}");
        publish(&world, "notifications:user:7", "{}");
        let heard = listening.next();
        assert_eq!(
            (&heard["channel"], &heard["pattern"]),
            (&"notifications:user:7".into(), &"notifications:user:*".into())
        );
        assert_eq!(said(&publish(&world, "other", "hello")), "nobody was listening\n", "{name}");
    }
}

#[test]
fn a_subscriber_that_is_cut_off_comes_back_and_says_that_messages_may_have_been_missed() {
    let world = World::new();
    let listening = Listening::start(&world, &["news", "--json"]);
    cut_off_subscribers(&world);
    publish_until_heard(&world, "news", "again");
    let (before, message) = listening.until_message();
    assert_eq!(message["message"], "again");
    assert!(before.iter().any(|line| line["missed"]["away_seconds"].is_number()), "{before:?}");
    assert!(before.iter().any(|line| line["away"].is_string()), "{before:?}");
}

#[test]
fn a_server_that_dies_and_comes_back_is_listened_to_again() {
    let mut world = World::new();
    let listening = Listening::start(&world, &["--pattern", "news:*", "--json"]);
    world.server.kill9().unwrap();
    assert!(listening.next()["away"].is_string());
    world.server.restart().unwrap();
    publish_until_heard(&world, "news:1", "again");
    let (before, message) = listening.until_message();
    assert_eq!(message["message"], "again");
    assert!(before.iter().any(|line| line["missed"]["away_seconds"].is_number()), "{before:?}");
}

#[test]
fn a_skipped_version_of_an_order_is_named() {
    let world = World::new();
    let listening = Listening::start(&world, &["news", "--json"]);
    for version in [1, 2, 5] {
        publish(&world, "news", &format!(r#"{{"orderId":"a","version":{version}}}"#));
    }
    let (before, _) = listening.until_message();
    assert_eq!(before, Vec::<Value>::new());
    assert_eq!(listening.until_message().0, Vec::<Value>::new());
    let (before, message) = listening.until_message();
    assert_eq!(before, [json!({ "missed": { "order": "a", "from_version": 3, "to_version": 4 } })]);
    assert_eq!(message["message"], r#"{"orderId":"a","version":5}"#);
}

#[test]
fn what_was_skipped_is_read_from_the_ledger_where_there_is_one() {
    let world = World::new();
    hears_what_was_skipped(&world, &format!("sqlite:{}", world.ledger().display()));
}

#[test]
fn what_was_skipped_is_read_from_a_ledger_on_postgres_too() {
    let Some(database) = Database::new() else { return };
    hears_what_was_skipped(&World::new(), &database.url());
}

fn hears_what_was_skipped(world: &World, ledger: &str) {
    for action in ["created", "paid", "shipped"] {
        world.add(&[("action", action), ("orderId", "a"), ("amount", "5"), ("userId", "u")]);
    }
    let _daemon = world.daemon("w", &[("ledger.url", ledger)]);
    world.wait_until_drained();
    let ledger = format!("ledger.url={ledger}");
    let listening = Listening::start(world, &["news", "--json", "--set", &ledger]);
    for version in [1, 3, 9] {
        publish(world, "news", &format!(r#"{{"orderId":"a","version":{version}}}"#));
    }
    assert_eq!(listening.until_message().1["message"], r#"{"orderId":"a","version":1}"#);
    let (before, late) = listening.until_message();
    assert_eq!((before, &late["late"], &late["channel"]), (vec![], &json!(true), &json!("notifications:user:u")));
    let late: Value = serde_json::from_str(late["message"].as_str().unwrap()).unwrap();
    assert_eq!((&late["type"], &late["version"]), (&json!("order.paid"), &json!(2)));
    assert_eq!(listening.until_message().1["message"], r#"{"orderId":"a","version":3}"#);
    let (before, _) = listening.until_message();
    assert_eq!(
        before[0]["missed"],
        json!({ "order": "a", "from_version": 4, "to_version": 8 }),
        "not all of it is there"
    );
}

#[test]
fn ctrl_c_ends_it_with_0() {
    let world = World::new();
    let mut listening = Listening::start(&world, &["news", "--json"]);
    kill_process(Pid::from_child(&listening.child), Signal::INT).unwrap();
    assert_eq!(listening.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::new();
    let mut child = spawn(&world, &["news"]);
    let stdout: ChildStdout = child.stdout.take().unwrap();
    publish_until_heard(&world, "news", "first\u{1b}[2J");
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "[news] first\u{fffd}[2J\n", "nothing that the terminal would act on");
    drop(stdout);
    wait_until("it has noticed", || {
        publish(&world, "news", "further");
        child.try_wait().unwrap().is_some()
    });
    let mut asides = String::new();
    child.stderr.take().unwrap().read_to_string(&mut asides).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{asides}");
}

#[test]
fn a_wrong_password_ends_it_at_once_and_a_right_one_is_taken() {
    let args = ["--requirepass", "right"].map(Into::into).to_vec();
    let world = World::with(Options { args, ..Options::default() });
    let with = |password: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
        let url = format!("{}?pass={password}", world.server.url());
        command.args(["listen", "news"]).env("ORDERD__REDIS__URL", url).env_remove("ORDERD_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let output = with("wrong").wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", String::from_utf8_lossy(&output.stderr));

    let mut child = with("right");
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "orderd: listening; Ctrl-C ends it\n");
}

#[test]
fn a_replica_is_not_published_to() {
    let primary = World::with(Options { tcp: true, ..Options::default() });
    let replica = World::new();
    let port = primary.server.port().unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).query::<()>(&mut replica.redis()).unwrap();
    let output = publish(&replica, "news", "hello");
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("its role is slave"));
}

#[test]
fn a_listener_that_does_not_listen_loses_messages_and_neither_the_connection_nor_the_count() {
    const QUEUE: usize = 8;
    const SENT: u64 = 5_000;
    let world = World::new();
    let address = Address::parse(&world.server.url(), None).unwrap();
    let connector = Arc::new(Connector::new(address, "test", Telemetry::new().unwrap()).unwrap());
    let topics = Topics { channels: vec!["news".to_owned()], patterns: Vec::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut listener = Listener::new(connector, topics, QUEUE);
    assert_eq!(runtime.block_on(listener.next()), Heard::Listening);

    let mut redis = world.redis();
    let payload = "x".repeat(10_000);
    for _ in 0..SENT {
        redis::cmd("PUBLISH").arg("news").arg(&payload).query::<()>(&mut redis).unwrap();
    }
    wait_until("the server has got rid of everything", || {
        let clients: String = redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("pubsub").query(&mut redis).unwrap();
        clients.contains(" omem=0 ") && clients.contains(":subscriber")
    });
    let (mut messages, mut dropped) = (0, 0);
    runtime.block_on(async {
        while messages + dropped < SENT {
            match tokio::time::timeout(Duration::from_secs(10), listener.next()).await.expect("all are accounted for") {
                Heard::Message(_) => messages += 1,
                Heard::Missed(Missed::TooSlow(count)) => dropped += count,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(messages + dropped, SENT);
    assert!(messages >= QUEUE as u64 && dropped > 0, "{messages} messages, {dropped} dropped");
}
