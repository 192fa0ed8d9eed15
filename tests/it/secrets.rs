//! What must not be seen: a password anywhere, whatever goes wrong, and the content of an event in the log of an ordinary day.

use std::fs;

use orderd::cli::sandbox::Options;

use super::harness::{Daemon, World, wait_until};

const SECRET: &str = "canary-of-redis";

fn locked() -> World {
    let args = ["--requirepass", SECRET].map(Into::into).to_vec();
    World::with(Options { args, ..Options::default() })
}

/// A daemon that has done some work, and everything that it and the commands beside it say.
fn everything_said(world: &World, daemon: &mut Daemon, environment: &[(&str, &str)]) -> String {
    daemon.wait_until_ready();
    let mut said: String =
        ["/", "/livez", "/readyz", "/metrics", "/status"].iter().map(|page| daemon.get(page).1).collect();
    for words in [&["check"][..], &["check", "--print"], &["check", "--json"], &["status"], &["add", "--count", "5"]] {
        let output = world.command(words).env_remove("ORDERD__REDIS__URL").envs(environment.iter().copied()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        said.extend([output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
    }
    wait_until("it has worked", || daemon.metric("orderd_events_settled_total") == Some(5.0));
    assert!(daemon.stop().0.success());
    let arguments = format!("{:?}", environment.iter().map(|(name, _)| name).collect::<Vec<_>>());
    said + &daemon.log() + &arguments
}

#[test]
fn a_password_shows_nowhere_whichever_way_it_was_given() {
    let world = locked();
    let file = world.path("redis-password");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let plain = world.server.url();
    let with_password = format!("{plain}?pass={SECRET}");
    let folder = file.parent().unwrap().to_str().unwrap();
    let ways: [&[(&str, &str)]; 3] = [
        &[("ORDERD__REDIS__URL", &with_password)],
        &[("ORDERD__REDIS__URL", &plain), ("ORDERD__REDIS__PASSWORD_FILE", file.to_str().unwrap())],
        &[("ORDERD__REDIS__URL", &plain), ("CREDENTIALS_DIRECTORY", folder)],
    ];
    for environment in ways {
        let mut daemon = world.daemon_in("w", &[("log.level", "trace")], environment);
        let said = everything_said(&world, &mut daemon, environment);
        assert!(said.contains("[redacted]"), "it is known that there is one: {said}");
        assert!(!said.contains(SECRET), "{environment:?}");
        let _: () = redis::cmd("FLUSHALL").query(&mut connection(&with_password)).unwrap();
        fs::remove_file(world.ledger()).unwrap();
    }
}

#[test]
fn a_wrong_password_shows_nowhere_either() {
    let world = locked();
    let url = format!("{}?pass=canary-that-is-wrong", world.server.url());
    let mut daemon = world.daemon_in("w", &[("log.level", "trace")], &[("ORDERD__REDIS__URL", &url)]);
    assert_eq!(daemon.wait().0.code(), Some(77));
    let commands = [&["check"][..], &["status"], &["add", "--count", "1"], &["listen", "news"], &["dead", "list"]];
    let said: String =
        commands.iter().map(|words| world.orderd_at(&url, words)).map(|end| end.out + &end.err).collect();
    assert!(!(daemon.log() + &said).contains("canary"), "{}{said}", daemon.log());
}

#[test]
fn at_info_the_log_shows_nothing_of_what_an_event_says() {
    let world = World::new();
    let daemon = world.daemon("w", &[("retry.max_failures", "2"), ("retry.delay_min", "10ms")]);
    let events: [&[(&str, &str)]; 6] = [
        // Good, with a field that is nobody's business; too early; an action that nobody knows; and three that cannot be decoded.
        &[
            ("action", "created"),
            ("orderId", "canary-1"),
            ("amount", "1"),
            ("userId", "canary-u"),
            ("note", "canary-n"),
        ],
        &[("action", "paid"), ("orderId", "canary-2"), ("amount", "1"), ("userId", "canary-u"), ("note", "canary-n")],
        &[("action", "canary-a"), ("orderId", "canary-3"), ("amount", "1"), ("userId", "canary-u")],
        &[("action", "paid"), ("orderId", "canary-4"), ("amount", "canary-5"), ("userId", "canary-u")],
        &[("orderId", "canary-6"), ("amount", "1"), ("userId", "canary-u"), ("canary-field", "1")],
        &[("action", "paid"), ("orderId", "canary-7"), ("amount", "1"), ("amount", "2"), ("userId", "canary-u")],
    ];
    for event in events {
        world.add(event);
    }
    world.wait_until_drained();
    wait_until("five of them are dead letters", || world.dead_letters().len() == 5);
    let shown: Vec<String> = daemon.log_lines("canary");
    assert!(shown.is_empty(), "{shown:#?}");
    assert!(!daemon.get("/metrics").1.contains("canary") && !daemon.get("/status").1.contains("canary"));
}

fn connection(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}
