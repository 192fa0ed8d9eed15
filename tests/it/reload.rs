//! A reload: what can be changed while the daemon runs is, the rest is named, and a mistake changes nothing.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;

use super::harness::{Daemon, STREAM, World, wait_for, wait_until};

/// A daemon that reads its configuration from a file, which holds `text`.
fn configured(world: &World, text: &str, settings: &[(&str, &str)]) -> Daemon {
    write(world, text);
    let file = world.path("orderd.toml");
    let daemon = world.daemon_in("w", settings, &[("ORDERD_CONFIG", file.to_str().unwrap())]);
    daemon.wait_until_ready();
    daemon
}

fn write(world: &World, text: &str) {
    fs::write(world.path("orderd.toml"), text).unwrap();
}

/// Has the file read again, and waits until the daemon has said what came of it.
fn reload(world: &World, daemon: &Daemon, text: &str) -> String {
    write(world, text);
    let said = || daemon.log_lines("the configuration was ");
    let before = said().len();
    daemon.signal(Signal::HUP);
    wait_for("the daemon to say what came of it", || said().get(before).cloned())
}

fn length(world: &World) -> u64 {
    redis::cmd("XLEN").arg(STREAM).query(&mut world.redis()).expect("XLEN")
}

#[test]
fn a_larger_window_takes_in_what_did_not_fit_and_a_smaller_one_waits_until_there_is_room() {
    let world = World::new();
    let patient = [("retry.delay_min", "1h"), ("retry.delay_max", "1h")];
    let daemon = configured(&world, "[consumers]\nbatch = 2\nin_flight = 2\n", &patient);
    for n in 0..6 {
        world.add(&[("action", "paid"), ("orderId", &format!("early-{n}")), ("amount", "1"), ("userId", "u")]);
    }
    wait_until("the window is full", || daemon.metric("orderd_entries_parked") == Some(2.0));
    assert_eq!(world.pending(), 2);

    let said = reload(&world, &daemon, "[consumers]\nbatch = 2\nin_flight = 5\n");
    assert!(said.contains("\"keys\":\"consumers.in_flight\""), "{said}");
    wait_until("it takes in three more", || daemon.metric("orderd_entries_parked") == Some(5.0));
    assert_eq!((world.pending(), daemon.metric("orderd_window_size")), (5, Some(5.0)));

    reload(&world, &daemon, "[consumers]\nbatch = 1\nin_flight = 1\n");
    wait_until("the window is smaller", || daemon.metric("orderd_window_size") == Some(1.0));
    assert_eq!((world.pending(), daemon.metric("orderd_entries_parked")), (5, Some(5.0)), "what it holds it keeps");
    assert_eq!(world.add_and_count_pending(), 5, "and takes in nothing");
}

#[test]
fn the_next_reads_ask_for_the_new_batch() {
    let world = World::new();
    let daemon = configured(&world, "[consumers]\nbatch = 3\n", &[("consumers.block", "100ms")]);
    let mut monitor = Monitor::of(&world);
    assert!(monitor.next_read().contains("\"COUNT\" \"3\""));
    reload(&world, &daemon, "[consumers]\nbatch = 7\n");
    wait_until("a read asks for seven", || monitor.next_read().contains("\"COUNT\" \"7\""));
}

#[test]
fn the_next_failure_is_judged_by_the_new_limit() {
    let world = World::new();
    let text = |failures| format!("[retry]\nmax_failures = {failures}\ndelay_min = \"20ms\"\ndelay_max = \"20ms\"\n");
    let daemon = configured(&world, &text(1_000_000), &[]);
    world.add(&[("action", "paid"), ("orderId", "early"), ("amount", "1"), ("userId", "u")]);
    wait_until("it has failed some times", || daemon.metric("orderd_retries_total").is_some_and(|count| count > 3.0));
    assert_eq!(world.dead_letters().len(), 0);
    let said = reload(&world, &daemon, &text(2));
    assert!(said.contains("\"keys\":\"retry.max_failures\""), "{said}");
    wait_until("it is given up", || world.dead_letters().len() == 1);
}

#[test]
fn a_lower_bound_cuts_the_stream_without_waiting_for_the_next_look() {
    let world = World::new();
    let text = |bound| format!("[trimmer]\ninterval = \"1h\"\nmax_len = {bound}\n");
    let daemon = configured(&world, &text(1_000_000), &[("handler.kind", "none")]);
    world.add_many(3_000, 100);
    world.wait_until_drained();
    assert_eq!(length(&world), 3_000);
    let said = reload(&world, &daemon, &text(100));
    assert!(said.contains("\"keys\":\"trimmer.max_len\""), "{said}");
    wait_until("the stream is short", || length(&world) == 100);
}

#[test]
fn the_level_of_the_log_is_changed_and_nothing_is_said_below_it() {
    let world = World::new();
    let daemon = configured(&world, "log.level = \"info\"\n", &[("handler.kind", "log"), ("consumers.block", "100ms")]);
    let handled = |n: usize| {
        world.add(&[("action", "created"), ("orderId", &format!("order-{n}")), ("amount", "1"), ("userId", "u")]);
        world.wait_until_drained();
        !daemon.log_lines(&format!("order-{n}\"")).is_empty()
    };
    assert!(handled(1), "the handler writes a line at info");
    reload(&world, &daemon, "log.level = \"info\"\n");
    write(&world, "log.level = \"warn\"\n");
    daemon.signal(Signal::HUP);
    wait_until("the metrics show a second reload", || daemon.metric("orderd_config_reloads_total") == Some(2.0));
    assert!(!handled(2), "and none at warn");
    let said = reload(&world, &daemon, "log.level = \"info\"\n");
    assert!(said.contains("\"keys\":\"log.level\""), "{said}");
    assert!(handled(3));
}

#[test]
fn what_has_to_wait_for_the_next_start_is_named_each_time_until_then() {
    let world = World::new();
    let first = "[lanes]\ncount = 8\n[retry]\nmax_failures = 5\n";
    let daemon = configured(&world, first, &[]);
    let other = "[lanes]\ncount = 9\n[shutdown]\ngrace = \"1s\"\n[retry]\nmax_failures = 6\n";
    for round in 1..=2 {
        let said = reload(&world, &daemon, other);
        assert_eq!(said.contains("\"keys\":\"retry.max_failures\""), round == 1, "{said}");
        let waiting = wait_for("the warning", || daemon.log_lines("at the next start").get(round - 1).cloned());
        assert!(
            waiting.contains("\"WARN\"") && waiting.contains("\"keys\":\"lanes.count shutdown.grace\""),
            "{waiting}"
        );
    }
    let said = reload(&world, &daemon, first);
    assert!(said.contains("\"keys\":\"retry.max_failures\""), "{said}");
    assert_eq!(daemon.log_lines("at the next start").len(), 2, "now nothing waits");
}

#[test]
fn a_new_password_or_token_is_named_though_it_does_not_show() {
    let world = World::new();
    let file = world.path("password");
    let token = world.path("token");
    fs::write(&token, "a-canary-of-some-length").unwrap();
    fs::write(&file, "first-canary\n").unwrap();
    redis::cmd("CONFIG").arg(("SET", "requirepass", "first-canary")).exec(&mut world.redis()).unwrap();
    let files = [&file, &token].map(|file| file.display().to_string());
    let text =
        format!("[redis]\npassword_file = {:?}\n[admin]\ntoken_file = {:?}\nopen = \"machines\"\n", files[0], files[1]);
    let daemon = configured(&world, &text, &[]);
    fs::write(&file, "second-canary\n").unwrap();
    fs::write(&token, "another-canary-of-that-length").unwrap();
    reload(&world, &daemon, &text);
    let waiting = wait_for("the warning", || daemon.log_lines("at the next start").pop());
    assert!(waiting.contains("\"keys\":\"redis.password_file admin.token_file\""), "{waiting}");
    assert!(!daemon.log().contains("canary"), "{}", daemon.log());
}

#[test]
fn a_mistake_anywhere_leaves_everything_as_it_was_and_is_told() {
    let world = World::new();
    let mut daemon = configured(&world, "[consumers]\nbatch = 4\nin_flight = 16\n", &[]);
    let wrong = "[consumers]\nbatch = 4\nin_flight = 32\n[lanes]\ncuont = 3\n[retry]\nmax_failures = 0\n";
    let said = reload(&world, &daemon, wrong);
    assert!(said.contains("\"ERROR\"") && said.contains("all stays as it was"), "{said}");
    assert!(said.contains("did you mean lanes.count?") && said.contains("0 is out of range"), "{said}");
    let refused = daemon.get("/metrics").1;
    assert!(refused.contains("orderd_config_reloads_total{outcome=\"refused\"} 1"), "{refused}");

    fs::remove_file(world.path("orderd.toml")).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("a file that is gone is a mistake, too", || daemon.log_lines("cannot be read").len() == 1);
    let said = reload(&world, &daemon, "[consumers]\nbatch = 4\nin_flight = 16\n");
    assert!(said.contains("nothing is different"), "what was in force still is: {said}");
    wait_until("the window is the first one", || daemon.metric("orderd_window_size") == Some(16.0));

    let said = reload(&world, &daemon, "[consumers]\nbatch = 4\nin_flight = 8\n");
    assert!(said.contains("\"keys\":\"consumers.in_flight\""), "{said}");
    wait_until("the right one is taken over", || daemon.metric("orderd_window_size") == Some(8.0));
    assert!(daemon.stop().0.success());
}

impl World {
    /// Adds an event of a new order, gives the daemon a chance to see it, and counts what is pending.
    fn add_and_count_pending(&self) -> u64 {
        let id = self.add(&[("action", "created"), ("orderId", "late"), ("amount", "1"), ("userId", "u")]);
        // Another group sees it, so it could be read.
        let read = ("COUNT", 1, "BLOCK", 200, "STREAMS", STREAM, &id);
        let _: redis::Value = redis::cmd("XREAD").arg(read).query(&mut self.redis()).expect("XREAD");
        self.pending()
    }
}

/// What clients send to the server, as it comes.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn of(world: &World) -> Self {
        let mut stream = UnixStream::connect(world.server.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    fn next_read(&mut self) -> String {
        let mut line = String::new();
        while !line.to_uppercase().contains("\"XREADGROUP\"") {
            line.clear();
            self.0.read_line(&mut line).expect("a command");
        }
        line.to_uppercase()
    }
}
