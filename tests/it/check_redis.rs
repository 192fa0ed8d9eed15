//! `orderd check` with a connection: what it finds, and that it changes nothing.

use std::fs;

use orderd::broker::keys::Keys;
use orderd::broker::rights;
use orderd::cli::sandbox::Options;

use super::harness::command::Ended;
use super::harness::{GROUP, STREAM, World, servers};

fn server(arguments: &[&str]) -> World {
    World::with(Options { args: arguments.iter().map(Into::into).collect(), ..Options::default() })
}

/// The lines of a report that begin with this level and are about this subject.
fn lines(output: &Ended, level: &str, subject: &str) -> Vec<String> {
    let begin = format!("{level:<8} {subject:<14} ");
    output.out.lines().filter_map(|line| line.strip_prefix(&begin).map(str::to_owned)).collect()
}

/// Everything that a server holds, and what it was told to do.
fn contents(world: &World) -> (u64, Vec<String>) {
    let mut connection = world.redis();
    let size = redis::cmd("DBSIZE").query(&mut connection).expect("DBSIZE");
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).expect("KEYS");
    keys.sort();
    (size, keys)
}

fn set_user(world: &World, name: &str, rules: &[String]) {
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg(name)
        .arg("on")
        .arg(">secret")
        .arg(rules)
        .exec(&mut world.redis())
        .expect("ACL");
}

fn check_as(world: &World, user: &str, password: &str) -> Ended {
    check_as_with(world, user, password, &[])
}

fn check_as_with(world: &World, user: &str, password: &str, more: &[&str]) -> Ended {
    let url = format!("{}?user={user}&pass={password}", world.server.url());
    world.orderd_at(&url, &[&["check"], more].concat())
}

#[test]
fn a_fresh_server_is_fine_and_stays_as_it_is() {
    for (name, options) in servers::all() {
        let world = World::with(Options { args: ["--appendonly", "yes"].map(Into::into).to_vec(), ..options });
        let output = world.orderd(&["check"]);
        assert_eq!(output.code, 0, "{name}: {}{}", output.out, output.err);
        assert!(lines(&output, "ok", "redis")[0].contains(" answers at unix:"), "{name}");
        assert!(lines(&output, "ok", "stream")[0].starts_with("there is nothing at orders:events yet"), "{name}");
        assert_eq!(lines(&output, "ok", "ledger").len(), 1, "{name}");
        assert_eq!(lines(&output, "ok", "keeping"), ["appendonly is on, and nothing is evicted"], "{name}");
        let rights = lines(&output, "ok", "rights").len() + lines(&output, "warning", "rights").len();
        assert_eq!(rights, 1, "{name}: {}", output.out);
        assert_eq!(contents(&world), (0, Vec::new()), "{name}");
        assert!(!world.ledger().exists(), "{name}");
    }
}

#[test]
fn a_stream_and_its_group_are_described() {
    let world = World::new();
    world.add(&[("action", "paid"), ("orderId", "a")]);
    let before = world.orderd(&["check"]);
    assert_eq!(lines(&before, "ok", "stream"), ["orders:events holds 1 entries; dead letters: 0"]);
    assert_eq!(lines(&before, "ok", "group"), ["there is no group order-processors yet; the first worker makes it"]);

    redis::cmd("XGROUP").arg("CREATE").arg(STREAM).arg(GROUP).arg("0").exec(&mut world.redis()).expect("XGROUP");
    let after = world.orderd(&["check"]);
    let group = &lines(&after, "ok", "group")[0];
    assert_eq!(group, "order-processors has 0 consumers, pending: 0, not delivered: 1");
}

#[test]
fn settings_that_lose_data_are_worth_a_warning_and_no_error() {
    let world = server(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let output = world.orderd(&["check"]);
    assert_eq!(output.code, 0);
    let warnings = lines(&output, "warning", "keeping");
    assert!(warnings[0].contains("allkeys-lru") && warnings[1].contains("appendonly is off"), "{warnings:?}");
}

#[test]
fn a_server_that_is_away_and_a_ledger_that_is_none_are_found_in_one_run() {
    let mut world = World::new();
    world.server.stop().expect("a stop");
    fs::write(world.ledger(), "Dear sir or madam, ".repeat(100)).expect("a file");
    let output = world.orderd(&["check"]);
    assert_eq!(output.code, 69, "{}", output.out);
    assert!(lines(&output, "error", "redis")[0].contains("cannot be reached"));
    assert!(lines(&output, "error", "ledger")[0].contains("is not a ledger of orderd"));
    assert!(fs::read_to_string(world.ledger()).expect("the file").starts_with("Dear sir"), "it is left alone");
    // A handler without a ledger does not ask for one.
    let log = world.orderd(&["check", "--set", "handler.kind=log"]);
    assert_eq!(lines(&log, "error", "ledger"), [""; 0]);
}

#[test]
fn a_wrong_password_or_none_is_a_matter_of_rights() {
    let world = server(&["--requirepass", "secret"]);
    for url in [world.server.url(), format!("{}?pass=wrong", world.server.url())] {
        let output = world.orderd_at(&url, &["check"]);
        assert_eq!(output.code, 77, "{}", output.out);
        assert!(lines(&output, "error", "redis")[0].contains("refuses the login"), "{}", output.out);
    }
    let right = world.orderd_at(&format!("{}?pass=secret", world.server.url()), &["check"]);
    assert_eq!(right.code, 0, "{}", right.out);
    assert!(!right.out.contains("secret"), "{}", right.out);
}

#[test]
fn missing_rights_are_named_all_at_once_with_their_keys_and_what_they_are_for() {
    let world = World::new();
    let keys = Keys::new(STREAM.into(), GROUP.into());
    let mut rules = rights::worker_rules(&keys, false);
    rules.retain(|rule| !["+xack", "+client|unblock", "+client|setinfo"].contains(&rule.as_str()));
    rules.retain(|rule| *rule != "~{orders:events}:*");
    rules.extend(["+acl|whoami", "+acl|dryrun", "~{orders:events}:dead"].map(str::to_owned));
    set_user(&world, "worker", &rules);

    let output = check_as(&world, "worker", "secret");
    assert_eq!(output.code, 77, "{}", output.out);
    let errors = lines(&output, "error", "rights");
    for missing in [
        "the user worker may not use xack on orders:events: acknowledging",
        "the user worker may not use hset on {orders:events}:retry:order-processors: writing retry records",
        "the user worker may not use evalsha on {orders:events}:instance:order-processors:name \
         {orders:events}:handed-back:order-processors: the scripts",
    ] {
        assert!(errors.iter().any(|error| error == missing), "{missing} in {errors:#?}");
    }
    assert!(!errors.iter().any(|error| error.contains("xadd") || error.contains("xreadgroup")), "{errors:#?}");
    let warnings = lines(&output, "warning", "rights");
    assert!(warnings.iter().any(|warning| warning.contains("client|unblock")), "{warnings:?}");
}

#[test]
fn the_rights_to_notify_are_asked_for_where_there_are_notifications_and_are_no_errors() {
    let world = World::new();
    let keys = Keys::new(STREAM.into(), GROUP.into());
    let mut rules = rights::worker_rules(&keys, false);
    rules.retain(|rule| rule != "+client|setinfo");
    rules.extend(["+acl|whoami", "+acl|dryrun", "+publish", "+role", "&elsewhere:*"].map(str::to_owned));
    set_user(&world, "worker", &rules);
    let notify = ["--set", "notify.enabled=true"];
    let warnings = |more: &[&str]| {
        let output = check_as_with(&world, "worker", "secret", more);
        assert_eq!(output.code, 0, "{}", output.out);
        let warnings = lines(&output, "warning", "rights");
        warnings.into_iter().filter(|warning| warning.contains("publish")).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&notify), ["the user worker may not use publish on notifications:user:x: live notifications"]);
    assert_eq!(warnings(&[]), [""; 0]);
    rules.extend(rights::notifier_rules("notifications:user:*"));
    set_user(&world, "worker", &rules);
    assert_eq!(warnings(&notify), [""; 0]);
}

#[test]
fn rights_that_cannot_be_asked_for_are_said_to_be_unchecked() {
    let world = World::new();
    let mut rules = rights::worker_rules(&Keys::new(STREAM.into(), GROUP.into()), true);
    rules.retain(|rule| rule != "+client|setinfo");
    set_user(&world, "worker", &rules);
    let output = check_as(&world, "worker", "secret");
    assert_eq!(output.code, 0, "{}", output.out);
    assert_eq!(lines(&output, "warning", "rights"), ["were not checked: the login may not use ACL WHOAMI"]);
    assert_eq!(lines(&output, "warning", "keeping").len(), 1);
}

#[test]
fn a_key_that_is_no_stream_is_a_mistake_of_the_configuration() {
    let world = World::new();
    redis::cmd("SET").arg(STREAM).arg("x").exec(&mut world.redis()).expect("SET");
    let output = world.orderd(&["check"]);
    assert_eq!(output.code, 78);
    assert_eq!(lines(&output, "error", "stream"), ["the key orders:events holds something else than a stream"]);
}

#[test]
fn a_replica_is_no_place_for_a_worker() {
    let world = server(&["--replicaof", "127.0.0.1", "1"]);
    let output = world.orderd(&["check"]);
    assert_eq!(output.code, 69, "{}", output.out);
    assert!(lines(&output, "error", "redis")[0].contains("is a replica"), "{}", output.out);
}

#[test]
fn the_same_findings_are_to_be_had_as_json() {
    let world = World::new();
    let output = world.orderd(&["check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(report["exit_code"], 0);
    let subjects: Vec<&str> =
        report["findings"].as_array().expect("a list").iter().map(|f| f["subject"].as_str().expect("text")).collect();
    assert_eq!(subjects, ["configuration", "redis", "stream", "rights", "keeping", "ledger"]);

    let wrong = world.orderd(&["check", "--json", "--set", "lanes.count=0", "--set", "nothing=1"]);
    assert_eq!(wrong.code, 78);
    let report: serde_json::Value = serde_json::from_str(&wrong.out).expect("JSON");
    assert_eq!((&report["exit_code"], report["findings"].as_array().expect("a list").len()), (&78.into(), 2));
}
