//! Server-sent events for browsers: the whole way from an event on the stream.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use orderd::cli::sandbox::Options;
use serde_json::{Value, json};

use super::harness::postgres::Database;
use super::harness::{DEADLINE, Daemon, World, wait_until};

const ON: [(&str, &str); 2] = [("notify.enabled", "true"), ("notify.sse", "true")];

/// Somebody who watches, with the rest of the answer before them.
struct Browser {
    status: u16,
    body: BufReader<TcpStream>,
}

/// A server-sent event.
#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Browser {
    fn open(daemon: &Daemon, target: &str, head: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(daemon.admin()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // HTTP/1.0: the body comes as it is, without the lengths of its chunks.
        write!(stream, "GET {target} HTTP/1.0\r\n").unwrap();
        let host = [("Host", "localhost")];
        let given = head.iter().any(|(name, _)| *name == "Host");
        for (name, value) in host.iter().filter(|_| !given).chain(head) {
            write!(stream, "{name}: {value}\r\n").unwrap();
        }
        write!(stream, "\r\n").unwrap();
        let mut body = BufReader::new(stream);
        let mut status = String::new();
        body.read_line(&mut status).unwrap();
        let mut browser = Self { status: status.split(' ').nth(1).unwrap().parse().unwrap(), body };
        while !browser.line().is_empty() {}
        browser
    }

    /// Watches `user`, from when this returns on.
    fn watch(daemon: &Daemon, user: &str, head: &[(&str, &str)]) -> Self {
        let mut browser = Self::open(daemon, &format!("/users/{user}/orders/events"), head);
        assert_eq!(browser.status, 200);
        assert_eq!(browser.line(), "retry: 2000");
        browser
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.body.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next event.
    fn event(&mut self) -> Event {
        let mut event = Event { id: String::new(), name: String::new(), data: Value::Null };
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "no event");
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && !event.name.is_empty() => return event,
                _ => {}
            }
        }
    }

    /// The order and the version in the next event.
    fn step(&mut self) -> (String, Value) {
        let event = self.event();
        (event.data["orderId"].as_str().unwrap_or(&event.name).to_owned(), event.data["version"].clone())
    }
}

fn add(world: &World, action: &str, order: &str, user: &str) -> String {
    world.add(&[("action", action), ("orderId", order), ("amount", "9.50"), ("userId", user)])
}

/// Waits until the daemon listens to what is published.
fn wait_until_it_listens(world: &World, daemon: &Daemon) {
    daemon.wait_until_ready();
    wait_until("the daemon listens", || {
        redis::cmd("PUBSUB").arg("NUMPAT").query::<u64>(&mut world.redis()).unwrap() > 0
    });
}

#[test]
fn a_browser_sees_the_orders_of_its_user_as_they_change_and_no_others() {
    let world = World::new();
    let daemon = world.daemon("w", &ON);
    wait_until_it_listens(&world, &daemon);
    let mut browser = Browser::watch(&daemon, "u%3A7", &[]);
    add(&world, "created", "other", "v");
    let created = add(&world, "created", "mine", "u:7");
    add(&world, "paid", "mine", "");
    let event = browser.event();
    assert_eq!((event.id.as_str(), event.name.as_str()), (created.as_str(), "order"));
    assert_eq!((&event.data["type"], &event.data["state"]), (&json!("order.created"), &json!("created")));
    assert_eq!(browser.step(), ("mine".to_owned(), json!(2)));
}

#[test]
fn what_was_missed_while_redis_was_away_is_read_from_the_ledger() {
    let world = World::new();
    let daemon = world.daemon("w", &ON);
    wait_until_it_listens(&world, &daemon);
    let mut browser = Browser::watch(&daemon, "u", &[]);
    add(&world, "created", "a", "u");
    assert_eq!(browser.step(), ("a".to_owned(), json!(1)));
    world.permit("-psubscribe");
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query::<u64>(&mut world.redis()).unwrap();
    add(&world, "paid", "a", "u");
    world.wait_until_drained();
    world.permit("+psubscribe");
    let mut seen = Vec::new();
    while seen.last() != Some(&("a".to_owned(), json!(2))) {
        seen.push(browser.step());
    }
    assert!(seen.iter().all(|(what, _)| what == "a"), "{seen:?}");
    assert_eq!(daemon.metric("orderd_live_gaps_total{reason=\"away\"}"), Some(1.0));
}

#[test]
fn a_server_that_dies_is_a_gap_and_the_ledger_fills_it() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"].map(Into::into).to_vec();
    let mut world = World::with(Options { args, ..Options::default() });
    let daemon = world.daemon("w", &ON);
    wait_until_it_listens(&world, &daemon);
    let mut browser = Browser::watch(&daemon, "u", &[]);
    add(&world, "created", "a", "u");
    assert_eq!(browser.step(), ("a".to_owned(), json!(1)));
    world.server.kill9().unwrap();
    world.server.restart().unwrap();
    // Heard or not heard, depending on who is back first.
    add(&world, "paid", "a", "u");
    while browser.step() != ("a".to_owned(), json!(2)) {}
    wait_until("the gap is told", || daemon.metric("orderd_live_gaps_total{reason=\"away\"}") == Some(1.0));
}

#[test]
fn a_browser_that_comes_back_says_what_it_heard_last_and_hears_the_rest() {
    let world = World::new();
    let daemon = world.daemon("w", &ON);
    wait_until_it_listens(&world, &daemon);
    let heard = add(&world, "created", "a", "u");
    add(&world, "paid", "a", "u");
    add(&world, "created", "b", "v");
    add(&world, "shipped", "a", "u");
    world.wait_until_drained();
    let mut browser = Browser::watch(&daemon, "u", &[("Last-Event-ID", &heard)]);
    assert_eq!(browser.step(), ("a".to_owned(), json!(2)));
    assert_eq!(browser.step(), ("a".to_owned(), json!(3)));
    add(&world, "delivered", "a", "u");
    assert_eq!(browser.step(), ("a".to_owned(), json!(4)));

    // What a page says at first counts until the browser itself says something.
    world.wait_until_drained();
    let (all, rest) = ("/users/u/orders/events?last=0-0", ("Last-Event-ID", heard.as_str()));
    for (head, first) in [(vec![], 1), (vec![rest], 2)] {
        let mut browser = Browser::open(&daemon, all, &head);
        assert_eq!((browser.status, browser.step()), (200, ("a".to_owned(), json!(first))));
    }
}

#[test]
fn what_was_missed_is_read_from_a_ledger_on_postgres_too() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    let daemon = world.daemon("w", &[ON[0], ON[1], ("ledger.url", &database.url())]);
    wait_until_it_listens(&world, &daemon);
    let heard = add(&world, "created", "a", "u");
    add(&world, "paid", "a", "u");
    add(&world, "created", "b", "v");
    world.wait_until_drained();
    let mut browser = Browser::watch(&daemon, "u", &[("Last-Event-ID", &heard)]);
    let event = browser.event();
    assert_eq!((&event.data["orderId"], &event.data["version"]), (&json!("a"), &json!(2)));
    assert_eq!((&event.data["state"], &event.data["amount"]), (&json!("paid"), &json!("9.50")));

    // The connection to the database is kept for a while; one that broke is made again.
    let others = "datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"));
    add(&world, "shipped", "a", "u");
    world.wait_until_drained();
    let mut browser = Browser::watch(&daemon, "u", &[("Last-Event-ID", &event.id)]);
    // What was applied shortly before may have been told after it, so that may come again.
    let mut seen = vec![browser.step()];
    while seen.last() != Some(&("a".to_owned(), json!(3))) {
        seen.push(browser.step());
    }
    assert!(seen.len() <= 2, "{seen:?}");
    // Ids that no entry has are no reason to fall over: nothing is new after the end of time.
    let mut browser = Browser::watch(&daemon, "u", &[("Last-Event-ID", "18446744073709551615-0")]);
    add(&world, "delivered", "a", "u");
    assert_eq!(browser.event().data["type"], "order.delivered");
}

#[test]
fn without_a_ledger_a_gap_is_told_as_a_gap() {
    let world = World::new();
    let daemon = world.daemon("w", &[ON[0], ON[1], ("handler.kind", "none")]);
    wait_until_it_listens(&world, &daemon);
    let mut browser = Browser::watch(&daemon, "u", &[]);
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query::<u64>(&mut world.redis()).unwrap();
    assert_eq!(browser.event().name, "missed");
}

#[test]
fn where_there_is_a_token_nobody_is_let_in_without_it() {
    const TOKEN: &str = "a-token-of-some-length";
    let world = World::new();
    let file = world.path("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let token_file = ("admin.token_file", file.to_str().unwrap());
    let own = [ON[0], ON[1], token_file, ("admin.open", "probes"), ("log.level", "trace")];
    let daemon = world.daemon("w", &own);
    let status = |target: &str, head: &[(&str, &str)]| Browser::open(&daemon, target, head).status;
    let bearer = format!("Bearer {TOKEN}");
    let events = "/users/u/orders/events";
    for target in [events, "/metrics", "/status"] {
        assert_eq!(status(target, &[]), 401, "{target}");
        assert_eq!(status(&format!("{target}?token=another-token-of-that"), &[("Authorization", "Bearer x")]), 401);
        assert_eq!(status(target, &[("Authorization", &bearer)]), 200, "{target}");
    }
    assert_eq!(status(&format!("{events}?x=y&token={TOKEN}"), &[]), 200);
    assert_eq!(status(&format!("/metrics?token={TOKEN}"), &[]), 401, "what is no browser can send a header");
    assert_eq!((status("/livez", &[]), status("/", &[])), (200, 200));
    let log = daemon.log();
    assert!(log.contains("DEBUG") && !log.contains(TOKEN), "{log}");
}

#[test]
fn a_page_from_elsewhere_is_not_let_in_by_a_name_that_points_here() {
    let world = World::new();
    let daemon = world.daemon("w", &ON);
    assert_eq!(Browser::open(&daemon, "/users/u/orders/events", &[("Host", "evil.example")]).status, 401);
}

#[test]
fn off_by_default_and_then_the_index_is_a_list() {
    let world = World::new();
    let daemon = world.daemon("w", &[]);
    assert_eq!(Browser::open(&daemon, "/users/u/orders/events", &[]).status, 404);
    assert!(daemon.get("/").1.starts_with("orderd\n/livez"));
    let daemon = world.daemon("x", &ON);
    let (status, page) = daemon.get("/");
    assert!(status == 200 && page.starts_with("<!doctype html>") && page.contains("EventSource"), "{page}");
}

#[test]
fn many_browsers_do_not_shut_out_a_probe_and_a_stop_does_not_wait_for_them() {
    let world = World::new();
    let mut daemon = world.daemon("w", &ON);
    wait_until_it_listens(&world, &daemon);
    let mut browsers: Vec<Browser> = (0..200).map(|_| Browser::watch(&daemon, "u", &[])).collect();
    assert_eq!(daemon.get("/livez").0, 200);
    assert_eq!(daemon.metric("orderd_live_clients"), Some(200.0));
    add(&world, "created", "a", "u");
    for browser in &mut browsers {
        assert_eq!(browser.step(), ("a".to_owned(), json!(1)));
    }
    let (status, took) = daemon.stop();
    // A stop of the whole has 25 s. What this looks for would be the deadline of a connection, or none.
    assert!(status.success() && took.as_secs() < 15, "{status} {took:?}");
    for mut browser in browsers {
        browser.body.read_to_end(&mut Vec::new()).unwrap();
    }
}
