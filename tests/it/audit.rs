//! `orderd audit`: each thing that should not be is planted once, and it finds that one and no other.

use orderd::cli::sandbox::Options;
use serde_json::{Value, json};

use crate::harness::command::Ended;
use crate::harness::postgres::Database;
use crate::harness::proxy::Proxy;
use crate::harness::{DEAD, GROUP, STREAM, World, field, servers};

/// A stream of 30 events, one entry that is none, and one event that is impossible: all of it settled, by a worker that has stopped.
fn settled(world: &World, settings: &[(&str, &str)]) {
    let mut daemon = world.daemon("w", settings);
    world.add_many(20, 10);
    world.add(&[("action", "paid")]);
    world.add(&[("action", "created"), ("orderId", "order-0"), ("amount", "1"), ("userId", "u")]);
    world.add_many_of("later", 10, 10);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
}

fn redis<T: redis::FromRedisValue>(world: &World, words: &str) -> T {
    let words: Vec<&str> = words.split(' ').collect();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut world.redis()).unwrap()
}

/// The ids of the stream.
fn ids(world: &World) -> Vec<String> {
    let entries: Vec<(String, redis::Value)> = redis(world, &format!("XRANGE {STREAM} - +"));
    entries.into_iter().map(|(id, _)| id).collect()
}

fn sql(world: &World, sql: &str) {
    rusqlite::Connection::open(world.ledger()).unwrap().execute_batch(sql).unwrap();
}

/// Forgets an entry, as a ledger would that lost it.
fn forget(world: &World, id: &str) {
    let (ms, sub) = id.split_once('-').unwrap();
    for table in ["inbox", "history"] {
        sql(world, &format!("DELETE FROM {table} WHERE ms = {ms} AND sub = {sub}"));
    }
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// What is found: each check with its group, its count and the entries that it names.
fn found(world: &World, args: &[&str]) -> Vec<(String, String, u64, Vec<String>)> {
    let ended = world.orderd(&[&["audit", "--json"], args].concat());
    let report = report(&ended);
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(ended.code, i32::from(!findings.is_empty()), "{ended:?}");
    assert_eq!(report["ok"], findings.is_empty());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let finding = |finding: &Value| {
        let entries = finding["entries"].as_array().unwrap().iter().map(text).collect();
        (text(&finding["check"]), text(&finding["group"]), finding["count"].as_u64().unwrap(), entries)
    };
    findings.iter().map(finding).collect()
}

fn one(check: &str, group: &str, entries: &[&str]) -> Vec<(String, String, u64, Vec<String>)> {
    let entries: Vec<String> = entries.iter().map(|&id| id.to_owned()).collect();
    vec![(check.to_owned(), group.to_owned(), entries.len() as u64, entries)]
}

#[test]
fn where_everything_is_as_it_should_be_nothing_is_found_and_nothing_is_changed() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        settled(&world, &[]);
        // What is not settled yet is no finding, in hand or not.
        redis::cmd("XGROUP").arg(("CREATE", STREAM, "slow", "0")).exec(&mut world.redis()).unwrap();
        world.add_many_of("more", 5, 5);
        let _: redis::Value = redis(&world, &format!("XREADGROUP GROUP {GROUP} ghost COUNT 3 STREAMS {STREAM} >"));
        let changes = || -> String {
            let info: String = redis(&world, "INFO persistence");
            info.lines().find(|line| line.starts_with("rdb_changes_since_last_save")).unwrap().to_owned()
        };
        let before = changes();
        let ended = world.orderd(&["audit", "--json"]);
        let report = report(&ended);
        assert_eq!((ended.code, &report["ok"]), (0, &json!(true)), "{server}: {ended:?}");
        assert_eq!((&report["acknowledged"], &report["pending"]), (&json!(32), &json!(3)), "{server}");
        assert_eq!((&report["entries"], &report["dead_letters"]), (&json!(35), &json!(2)), "{server}");
        assert_eq!(changes(), before);
        let text = world.orderd(&["audit"]);
        assert!(text.code == 0 && text.out.contains("acknowledged and not in the ledger"), "{text:?}");
        assert_eq!(text.err, "");
    }
}

#[test]
fn an_event_that_was_acknowledged_and_never_applied_is_found() {
    let world = World::new();
    settled(&world, &[]);
    let ids = ids(&world);
    forget(&world, &ids[7]);
    assert_eq!(found(&world, &[]), one("acknowledged_not_in_ledger", GROUP, &[&ids[7]]));
    let text = world.orderd(&["audit"]);
    assert!(text.code == 1 && text.out.contains(&ids[7]) && text.out.contains("acknowledged, and neither"), "{text:?}");

    assert_eq!(found(&world, &["--from", &ids[8]]), []);
}

#[test]
fn the_same_id_with_another_content_is_not_the_same_event() {
    let world = World::new();
    settled(&world, &[]);
    let id = &ids(&world)[7];
    let (ms, sub) = id.split_once('-').unwrap();
    sql(&world, &format!("UPDATE inbox SET digest = digest + 1 WHERE ms = {ms} AND sub = {sub}"));
    assert_eq!(found(&world, &[]), one("acknowledged_not_in_ledger", GROUP, &[id]));
}

#[test]
fn an_older_copy_of_the_ledger_is_found() {
    let world = World::new();
    settled(&world, &[]);
    let ids = ids(&world);
    ids[28..32].iter().for_each(|id| forget(&world, id));
    let expected: Vec<&str> = ids[28..32].iter().map(String::as_str).collect();
    assert_eq!(found(&world, &[]), one("ledger_behind_group", GROUP, &expected));
}

#[test]
fn an_entry_that_was_deleted_while_it_was_needed_is_found() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        settled(&world, &[]);
        redis::cmd("XGROUP").arg(("CREATE", STREAM, "slow", "0")).exec(&mut world.redis()).unwrap();
        let _: redis::Value = redis(&world, &format!("XREADGROUP GROUP slow s-0 COUNT 3 STREAMS {STREAM} >"));
        let id = &ids(&world)[1];
        let _: u64 = redis(&world, &format!("XDEL {STREAM} {id}"));
        assert_eq!(found(&world, &[]), one("entries_lost", "slow", &[id]), "{server}");
    }
}

#[test]
fn a_cut_through_what_a_group_needed_is_found() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        settled(&world, &[]);
        redis::cmd("XGROUP").arg(("CREATE", STREAM, "slow", "0")).exec(&mut world.redis()).unwrap();
        let _: redis::Value = redis(&world, &format!("XREADGROUP GROUP slow s-0 COUNT 3 STREAMS {STREAM} >"));
        let ids = ids(&world);
        let _: u64 = redis(&world, &format!("XTRIM {STREAM} MAXLEN 10"));
        let needed = ("unsafe_trims".to_owned(), "slow".to_owned(), 3, ids[..3].to_vec());
        // What it was not given yet is counted where the server counts, and has no name any more.
        let ahead = ("unsafe_trims".to_owned(), "slow".to_owned(), 19, Vec::new());
        if server == "redis-6.2" {
            assert_eq!(found(&world, &[]), [needed], "{server}");
            assert!(world.orderd(&["audit"]).out.contains("the server does not count"));
        } else {
            assert_eq!(found(&world, &[]), [ahead, needed], "{server}");
        }
    }
}

#[test]
fn what_is_acknowledged_and_cut_between_two_looks_is_no_finding() {
    for (server, options) in servers::all() {
        let world = World::with(Options { tcp: true, ..options });
        settled(&world, &[]);
        redis::cmd("XGROUP").arg(("CREATE", STREAM, "slow", "0")).exec(&mut world.redis()).unwrap();
        let _: redis::Value = redis(&world, &format!("XREADGROUP GROUP slow s-0 COUNT 3 STREAMS {STREAM} >"));
        let ids = ids(&world);
        // It has seen what is pending, and looks whether that is still there.
        let proxy = Proxy::new(world.server.port().unwrap(), "XRANGE\r\n$13\r\norders:events\r\n");
        let mut connection = world.redis();
        let (settled, kept) = (ids[..3].to_vec(), ids[3].clone());
        proxy.first(move || {
            let mut settle = redis::pipe();
            settle.cmd("XACK").arg(STREAM).arg("slow").arg(settled);
            settle.cmd("XTRIM").arg(STREAM).arg("MINID").arg(kept).exec(&mut connection).unwrap();
        });
        let through = format!("redis://127.0.0.1:{}", proxy.port());
        assert_eq!(found(&world, &["--redis", &through]), [], "{server}");
        assert!(proxy.has_acted(), "{server}");
    }
}

#[test]
fn what_is_no_letter_among_the_dead_letters_is_found() {
    let world = World::new();
    settled(&world, &[]);
    let id: String = redis(&world, &format!("XADD {DEAD} * action paid"));
    assert_eq!(found(&world, &[]), one("dead_letters_without_record", GROUP, &[&id]));
}

#[test]
fn a_letter_that_was_discarded_is_found_where_it_carried_an_event_and_noted_where_it_did_not() {
    let world = World::new();
    settled(&world, &[]);
    let letters = world.dead_letters();
    let entry = |reason: &str| {
        let letter = letters.iter().find(|letter| field(letter, "_reason") == reason).unwrap();
        field(letter, "_id").to_owned()
    };
    let of_an_event = entry("permanent");
    let discarded = world.orderd(&["dead", "discard", "--all", "--yes"]);
    assert_eq!(discarded.code, 0, "{discarded:?}");
    assert_eq!(found(&world, &[]), one("acknowledged_not_in_ledger", GROUP, &[&of_an_event]));
    assert!(world.orderd(&["audit"]).out.contains("no events, and not among the dead letters: 1"));
}

#[test]
fn a_letter_that_was_put_back_is_not_missed_whether_it_was_applied_since_or_not() {
    let world = World::new();
    // The event comes too early, and is given up; once its order is there, it can be replayed.
    let settings = [("retry.max_failures", "1")];
    let mut daemon = world.daemon("w", &settings);
    world.add(&[("action", "paid"), ("orderId", "late"), ("amount", "1")]);
    world.add(&[("action", "created"), ("orderId", "late"), ("amount", "1"), ("userId", "u")]);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
    assert_eq!(found(&world, &[]), []);
    assert_eq!(world.orderd(&["dead", "replay", "--all", "--yes"]).code, 0);
    assert_eq!(found(&world, &[]), [], "not given to anybody yet");
    let _: redis::Value = redis(&world, &format!("XREADGROUP GROUP {GROUP} w-0 COUNT 3 STREAMS {STREAM} >"));
    assert_eq!(found(&world, &[]), [], "in hand");
    let mut daemon = world.daemon("w", &settings);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
    assert_eq!((world.applied(), world.dead_letters().len()), (2, 0));
    assert_eq!(found(&world, &[]), []);
}

#[test]
fn what_a_group_was_never_given_and_what_leaves_no_trace_is_not_missed() {
    let world = World::new();
    world.add_many_of("before", 10, 10);
    let settings = [("stream.start", "new"), ("ledger.unknown_action", "ignore")];
    let mut daemon = world.daemon("w", &settings);
    daemon.wait_until_ready();
    world.add(&[("action", "waved"), ("orderId", "order-0")]);
    world.add_many(10, 10);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
    assert_eq!(found(&world, &["--set", "stream.start=new", "--set", "ledger.unknown_action=ignore"]), []);
    // Without that, both are.
    assert_eq!(found(&world, &[])[0].2, 11);
}

#[test]
fn an_audit_looks_at_no_more_than_it_is_allowed_to_and_says_so() {
    let world = World::new();
    world.add_many(700, 700);
    let mut daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
    forget(&world, &ids(&world)[3]);
    assert_eq!(found(&world, &[]).len(), 1);
    let report = report(&world.orderd(&["audit", "--json", "--limit", "200"]));
    assert_eq!((&report["ok"], &report["entries"]), (&json!(true), &json!(200)));
    assert!(report["notes"][0].as_str().unwrap().contains("were not looked at (--limit)"), "{report}");
}

#[test]
fn while_workers_are_busy_nothing_is_found_that_is_not_there() {
    let world = World::new();
    let mut daemon = world.daemon("w", &[("reaper.claim_after", "1s"), ("trimmer.max_len", "100")]);
    daemon.wait_until_ready();
    for round in 0..10 {
        world.add_many_of(&format!("round-{round}"), 400, 40);
        world.add(&[("action", "paid")]);
        assert_eq!(found(&world, &[]), [], "{round}");
    }
    world.wait_until_drained();
    assert_eq!(found(&world, &[]), []);
    assert!(daemon.stop().0.success());
}

#[test]
fn the_same_is_found_on_postgres() {
    let Some(database) = Database::new() else { return };
    let world = World::new();
    let url = database.url();
    let ledger = ["--set", &format!("ledger.url={url}")];
    settled(&world, &[("ledger.url", &url)]);
    assert_eq!(found(&world, &ledger), []);
    let ids = ids(&world);
    let forget = |id: &str| {
        let (ms, sub) = id.split_once('-').unwrap();
        database.execute(&format!("DELETE FROM orderd.inbox WHERE ms = {ms} AND sub = {sub}"));
    };
    forget(&ids[7]);
    assert_eq!(found(&world, &ledger), one("acknowledged_not_in_ledger", GROUP, &[&ids[7]]));
    let (ms, sub) = ids[8].split_once('-').unwrap();
    database.execute(&format!("UPDATE orderd.inbox SET digest = digest + 1 WHERE ms = {ms} AND sub = {sub}"));
    let both = one("acknowledged_not_in_ledger", GROUP, &[&ids[7], &ids[8]]);
    assert_eq!(found(&world, &ledger), both, "the same id with another content");
    forget(&ids[31]);
    let behind = one("ledger_behind_group", GROUP, &[&ids[31]]);
    assert_eq!(found(&world, &[&ledger[..], &["--from", &ids[9]]].concat()), behind);
}

#[test]
fn an_audit_without_a_ledger_or_a_server_is_no_finding() {
    let world = World::new();
    let missing = world.orderd(&["audit"]);
    assert!(missing.code == 69 && missing.err.contains("there is no ledger"), "{missing:?}");
    settled(&world, &[]);
    let nobody = world.orderd(&["audit", "--redis", "redis://127.0.0.1:1"]);
    assert_eq!(nobody.code, 69, "{nobody:?}");
    let other = world.orderd(&["audit", "--set", "handler.kind=log"]);
    assert!(other.code == 0 && other.out.contains("nothing was held against a ledger"), "{other:?}");
}
