//! `orderd status`: what people see of the stream, its groups and their consumers.

use serde_json::Value;

use crate::harness::command::Ended;
use crate::harness::{DEAD, GROUP, STREAM, World, servers, wait_until};

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

fn redis(world: &World, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut world.redis()).unwrap();
}

#[test]
fn without_a_stream_there_is_nothing_and_that_is_no_error() {
    let world = World::new();
    let status = json(&world.orderd(&["status", "--json"]));
    assert_eq!((&status["length"], &status["groups"]), (&0.into(), &Value::Array(Vec::new())));
    let text = world.orderd(&["status"]);
    assert!(text.code == 0 && text.out.contains("there is no group 'order-processors'"), "{text:?}");
}

#[test]
fn groups_consumers_and_dead_letters_are_shown_as_they_stand() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        world.add_many(20, 5);
        world.add(&[("action", "paid")]);
        world.add(&[("action", "paid"), ("orderId", "a"), ("amount", "x")]);
        let _daemon = world.daemon("w", &[]);
        world.wait_until_drained();
        assert!(world.orderd(&["status"]).out.contains("all of it is settled by every group"), "{server}");
        redis(&world, &format!("XGROUP CREATE {STREAM} audit 0"));
        redis(&world, &format!("XREADGROUP GROUP audit ghost-0 COUNT 3 STREAMS {STREAM} >"));

        let status = json(&world.orderd(&["status", "--json", "--set", "trimmer.max_len=10"]));
        assert_eq!((&status["length"], &status["dead_letters"]), (&22.into(), &2.into()), "{server}: {status}");
        assert_eq!(status["dead_letters_newest_by_reason"]["bad-amount"], 1);
        assert_eq!(status["trim_floor_held_by"], "audit");
        let group = |name: &str| {
            status["groups"].as_array().unwrap().iter().find(|group| group["group"] == name).unwrap().clone()
        };
        let (ours, audit) = (group(GROUP), group("audit"));
        assert_eq!((&ours["pending"], &ours["lag"]), (&0.into(), &0.into()), "{server}");
        assert_eq!(ours["oldest_pending"], Value::Null);
        assert!(ours["consumers"].as_array().unwrap().iter().all(|consumer| consumer["alive"] == true), "{ours}");
        assert_eq!((&audit["pending"], &audit["lag"]), (&3.into(), &19.into()), "{server}");
        assert_eq!(audit["oldest_pending"], status["trim_floor"]);
        assert!(audit["oldest_undelivered_age_seconds"].as_f64().unwrap() >= 0.0);
        let ghost = &audit["consumers"][0];
        assert_eq!((&ghost["name"], &ghost["alive"], &ghost["pending"]), (&"ghost-0".into(), &false.into(), &3.into()));

        let text = world.orderd(&["status", "--set", "trimmer.max_len=10"]).out;
        for part in
            ["22 entries, 12 over", "group 'audit' is furthest behind", "missing-field 1", "ghost-0", "alive", "gone"]
        {
            assert!(text.contains(part), "{server}: {part} in\n{text}");
        }
    }
}

#[test]
fn a_worker_that_was_killed_is_shown_as_gone_with_what_it_held() {
    let world = World::new();
    let daemon = world.daemon("w", &[("handler.kind", "none"), ("consumers.count", "1")]);
    daemon.wait_until_ready();
    let consumer = || {
        let status = json(&world.orderd(&["status", "--json"]));
        let consumer = &status["groups"][0]["consumers"][0];
        assert_eq!(consumer["name"], "w-0", "{status}");
        (consumer["alive"].clone(), consumer["pending"].clone())
    };
    redis(&world, &format!("XGROUP CREATECONSUMER {STREAM} {GROUP} w-0"));
    assert_eq!(consumer(), (true.into(), 0.into()));
    daemon.kill9();
    world.add_many(1, 1);
    redis(&world, &format!("XREADGROUP GROUP {GROUP} w-0 STREAMS {STREAM} >"));
    wait_until("its lock has run out", || consumer() == (false.into(), 1.into()));
}

#[test]
fn what_the_server_does_not_know_is_called_unknown() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        redis(&world, &format!("XGROUP CREATE {STREAM} {GROUP} 0 MKSTREAM"));
        world.add_many(1_500, 10);
        let middle: Vec<(String, redis::Value)> =
            redis::cmd("XRANGE").arg(STREAM).arg("-").arg("+").arg("COUNT").arg(700).query(&mut world.redis()).unwrap();
        redis(&world, &format!("XDEL {STREAM} {}", middle[699].0));
        let status = json(&world.orderd(&["status", "--json"]));
        assert_eq!(status["groups"][0]["lag"], Value::Null, "{server}");
        assert!(world.orderd(&["status"]).out.contains("unknown"), "{server}");
    }
}

#[test]
fn looking_changes_nothing() {
    let world = World::new();
    world.add_many(10, 5);
    redis(&world, &format!("XGROUP CREATE {STREAM} {GROUP} 0"));
    redis(&world, &format!("XREADGROUP GROUP {GROUP} w-0 COUNT 3 STREAMS {STREAM} >"));
    let dirty = || -> String {
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut world.redis()).unwrap();
        info.lines().find(|line| line.starts_with("rdb_changes_since_last_save")).unwrap().to_owned()
    };
    let before = dirty();
    for args in [&["status"][..], &["status", "--json"], &["dead", "list"], &["trim", "--dry-run", "--max-len", "1"]] {
        assert_eq!(world.orderd(args).code, 0, "{args:?}");
    }
    assert_eq!(dirty(), before);
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut world.redis()).unwrap();
    assert_eq!(keys, [STREAM], "not even {DEAD}");
}
