//! Dead letters: from the burial through `orderd dead` back onto the stream.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::command::Ended;
use crate::harness::{DEAD, Daemon, GROUP, STREAM, World, column, number, servers, wait_until};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn created(order: &str) -> Fields {
    fields(&[("action", "created"), ("orderId", order), ("amount", "1.50"), ("userId", "u")])
}

fn add(world: &World, fields: &Fields) -> String {
    redis::cmd("XADD").arg(STREAM).arg("*").arg(fields).query(&mut world.redis()).unwrap()
}

/// Writes a dead letter as a worker would.
fn bury(world: &World, id: &str, entry: &str, fields: &Fields, group: &str, reason: &str) -> String {
    let facts = [
        ("_id", entry),
        ("_group", group),
        ("_consumer", "w-0"),
        ("_deliveries", "1"),
        ("_failures", "1"),
        ("_crashes", "0"),
        ("_reason", reason),
        ("_error", "for a test"),
        ("_first_seen", "1700000000000"),
        ("_dead_at", "1700000000001"),
    ];
    redis::cmd("XADD").arg(DEAD).arg(id).arg(fields).arg(&facts).query(&mut world.redis()).unwrap()
}

/// The entries of the stream: ids and fields.
fn entries(world: &World) -> Vec<(String, Fields)> {
    let entries: Vec<(String, Vec<Vec<u8>>)> =
        redis::cmd("XRANGE").arg(STREAM).arg("-").arg("+").query(&mut world.redis()).unwrap();
    let pairs = |(id, flat): (String, Vec<Vec<u8>>)| {
        (id, flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    };
    entries.into_iter().map(pairs).collect()
}

/// What the entries of the stream are replays of, in the order of the stream.
fn replays(world: &World) -> Vec<String> {
    let replay_of = |(_, fields): (String, Fields)| {
        let (_, value) = fields.into_iter().find(|(name, _)| name == b"_replay_of")?;
        Some(String::from_utf8(value).unwrap())
    };
    entries(world).into_iter().filter_map(replay_of).collect()
}

fn letters(world: &World) -> u64 {
    redis::cmd("XLEN").arg(DEAD).query(&mut world.redis()).unwrap()
}

fn json(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn said(ended: &Ended, code: i32, text: &str) {
    assert!(ended.code == code && (ended.out.contains(text) || ended.err.contains(text)), "{text}: {ended:?}");
}

/// A daemon that gives an event up at its first failure.
fn strict(world: &World) -> Daemon {
    world.daemon("w", &[("retry.max_failures", "1")])
}

#[test]
fn an_event_is_replayed_once_its_cause_is_gone() {
    let world = World::new();
    let entry = add(&world, &fields(&[("action", "paid"), ("orderId", "a"), ("amount", "1.50")]));
    let _daemon = strict(&world);
    wait_until("the event that came too early is given up", || letters(&world) == 1);
    let listed = world.orderd(&["dead", "list"]);
    assert!([entry.as_str(), "max-failures", " a "].iter().all(|text| listed.out.contains(text)), "{listed:?}");
    let shown = json(&world.orderd(&["dead", "show", &entry, "--json"])).remove(0);
    assert_eq!(
        (&shown["entry_id"], &shown["order_id"], &shown["failures"]),
        (&entry.clone().into(), &"a".into(), &1.into())
    );
    assert_eq!((&shown["group"], &shown["consumer"]), (&GROUP.into(), &shown["consumer"]));

    add(&world, &created("a"));
    world.wait_until_drained();
    said(&world.orderd(&["dead", "replay", &entry, "--yes"]), 0, "replayed 1 dead letter\n");
    world.wait_until_drained();
    assert_eq!(letters(&world), 0);
    assert_eq!(column::<String>(&world.ledger(), "SELECT state FROM orders"), ["paid"]);
    let history = column::<String>(&world.ledger(), "SELECT entry_id FROM order_events ORDER BY seq");
    assert_eq!(history[1], entry, "the history names the entry that carried the event first");
}

#[test]
fn a_letter_without_fields_is_not_replayed_and_its_neighbours_are() {
    let world = World::new();
    add(&world, &created("a"));
    bury(&world, "1-0", "1-1", &Fields::new(), GROUP, "too-large");
    bury(&world, "2-0", "2-1", &created("b"), GROUP, "permanent");
    said(&world.orderd(&["dead", "replay", "1-0", "--yes"]), 1, "replayed 0 dead letters; 1 letter has no fields");
    assert_eq!((letters(&world), entries(&world).len()), (2, 1), "nothing was changed");
    said(&world.orderd(&["dead", "replay", "--all", "--yes"]), 1, "replayed 1 dead letter; 1 letter has no fields");
    assert_eq!((letters(&world), replays(&world)), (1, vec!["2-1".to_owned()]));
    said(&world.orderd(&["dead", "discard", "1-0", "--yes"]), 0, "discarded 1 dead letter");
}

#[test]
fn a_letter_and_its_replay_keep_every_byte_in_its_place() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        let mut odd = created("a");
        odd.extend(fields(&[("orderId", "a"), ("note", ""), ("_id", "mine"), ("_reason", "mine"), ("_id", "again")]));
        odd.push((vec![0xff, 0, b'\n'], (0..=255).collect()));
        let entry = add(&world, &odd);
        let daemon = strict(&world);
        wait_until("the entry is given up", || letters(&world) == 1);
        let shown = json(&world.orderd(&["dead", "show", &entry, "--json"])).remove(0);
        assert_eq!(shown["reason"], "duplicate-field", "{server}");
        assert_eq!(shown["fields"].as_array().unwrap().len(), odd.len());
        assert_eq!(shown["fields"][9]["name_hex"], "ff000a");
        let human = world.orderd(&["dead", "show", &entry]);
        assert!(human.out.contains("\\xff\\0\\n") && !human.out.contains('\0'), "{human:?}");

        // Replayed with the cause still there, it is given up again, and replayed again.
        said(&world.orderd(&["dead", "replay", &entry, "--yes"]), 0, "replayed 1 ");
        wait_until("the replay is given up", || letters(&world) == 1);
        drop(daemon);
        said(&world.orderd(&["dead", "replay", &entry, "--yes"]), 0, "replayed 1 ");
        odd.push((b"_replay_of".to_vec(), entry.clone().into_bytes()));
        let on_stream: Vec<Fields> = entries(&world).into_iter().skip(1).map(|(_, fields)| fields).collect();
        assert_eq!(on_stream, [odd.clone(), odd], "{server}");
    }
}

#[test]
fn an_entry_with_more_fields_than_a_script_takes_comes_back_whole() {
    let world = World::new();
    let large: Fields = (0..5_000_u32).map(|n| (format!("f{n}").into_bytes(), n.to_le_bytes().to_vec())).collect();
    let entry = add(&world, &large);
    let daemon = strict(&world);
    wait_until("the entry is given up", || letters(&world) == 1);
    drop(daemon);
    said(&world.orderd(&["dead", "replay", &entry, "--yes"]), 0, "replayed 1 ");
    assert_eq!(letters(&world), 0);
    let (_, replay) = entries(&world).pop().unwrap();
    assert_eq!(replay[..5_000], large);
    assert_eq!(replay[5_000..], fields(&[("_replay_of", &entry)]));
}

#[test]
fn replaying_what_was_applied_or_replaying_twice_is_one_effect() {
    let world = World::new();
    let applied = add(&world, &created("a"));
    let daemon = strict(&world);
    world.wait_until_drained();
    // The same entry in two letters, as a worker leaves them that dies between the letter and the ack; and an event that never was
    // applied, in two letters too.
    for entry in [&applied, "5-0"] {
        let fields = created(if entry == "5-0" { "b" } else { "a" });
        bury(&world, "*", entry, &fields, GROUP, "max-crashes");
        bury(&world, "*", entry, &fields, GROUP, "max-crashes");
    }
    said(&world.orderd(&["dead", "replay", "--all", "--yes"]), 0, "replayed 4 dead letters");
    world.wait_until_drained();
    let events = "SELECT entry_id FROM order_events ORDER BY seq";
    assert_eq!(column::<String>(&world.ledger(), events), [applied.as_str(), "5-0"]);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), 2);
    wait_until("the repetitions are counted", || {
        daemon.get("/metrics").1.contains("orderd_events_settled_total{outcome=\"duplicate\"} 3")
    });
    assert_eq!(letters(&world), 0, "a repetition is no failure");
}

#[test]
fn a_replay_that_names_no_earlier_entry_is_a_dead_letter_of_its_own() {
    let world = World::new();
    for odd in ["", "soon", "99999999999999-0"] {
        add(&world, &[created("a"), fields(&[("_replay_of", odd)])].concat());
    }
    let _daemon = strict(&world);
    world.wait_until_drained();
    let listed = json(&world.orderd(&["dead", "list", "--reason", "bad-replay", "--json"]));
    assert_eq!(listed.len(), 3);
}

#[test]
fn events_are_replayed_in_the_sequence_in_which_they_first_came() {
    let world = World::new();
    add(&world, &created("x"));
    for entry in ["30-0", "10-0", "20-0", "9-7"] {
        bury(&world, "*", entry, &created("a"), GROUP, "permanent");
    }
    let again = [created("a"), fields(&[("_replay_of", "15-0")])].concat();
    bury(&world, "*", "40-0", &again, GROUP, "permanent");
    said(&world.orderd(&["dead", "replay", "30-0", "10-0", "--yes"]), 0, "replayed 2 ");
    assert_eq!(replays(&world), ["10-0", "30-0"]);
    said(&world.orderd(&["dead", "replay", "--all", "--yes"]), 0, "replayed 3 ");
    assert_eq!(replays(&world)[2..], ["9-7", "15-0", "20-0"]);
}

#[test]
fn two_replays_at_the_same_time_are_one() {
    let world = World::new();
    add(&world, &created("x"));
    for n in 1..=300 {
        bury(&world, "*", &format!("{n}-0"), &created(&format!("o-{n}")), GROUP, "permanent");
    }
    let args = ["dead", "replay", "--all", "--yes"];
    let both = [world.command(&args).spawn().unwrap(), world.command(&args).spawn().unwrap()];
    let both = both.map(|child| Ended::from(child.wait_with_output().unwrap()));
    assert!(both.iter().all(|ended| ended.code == 0), "{both:?}");
    let mut replays = replays(&world);
    replays.sort_unstable();
    let mut expected: Vec<String> = (1..=300).map(|n| format!("{n}-0")).collect();
    expected.sort_unstable();
    assert_eq!((replays, letters(&world)), (expected, 0));
}

#[test]
fn a_replay_keeps_to_the_rate_that_was_asked_for() {
    let world = World::new();
    add(&world, &created("x"));
    for n in 1..=6 {
        bury(&world, "*", &format!("{n}-0"), &created("a"), GROUP, "permanent");
    }
    let began = Instant::now();
    said(&world.orderd(&["dead", "replay", "--all", "--yes", "--rate", "5/s"]), 0, "replayed 6 ");
    // The first at once, and five more at a fifth of a second each. A slow machine only makes it longer.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn nothing_is_changed_unless_somebody_agrees_and_nothing_where_an_id_is_wrong() {
    let world = World::new();
    add(&world, &created("x"));
    bury(&world, "*", "1-0", &created("a"), GROUP, "permanent");
    bury(&world, "*", "2-0", &created("b"), GROUP, "bad-amount");
    for verb in ["replay", "discard"] {
        said(&world.orderd(&["dead", verb, "1-0"]), 2, "say --yes");
        said(&world.orderd(&["dead", verb, "--all"]), 2, "2 dead letters");
        said(&world.orderd(&["dead", verb, "--all", "--dry-run"]), 0, &format!("would {verb} 2 dead letters"));
        said(
            &world.orderd(&["dead", verb, "1-0", "9-9", "--yes"]),
            1,
            "no dead letter of the group 'order-processors': 9-9",
        );
    }
    said(&world.orderd(&["dead", "show", "9-9"]), 1, "9-9");
    assert_eq!((letters(&world), entries(&world).len()), (2, 1));
}

#[test]
fn what_is_discarded_is_gone_and_the_filters_say_what() {
    let world = World::new();
    let (old, new) = ("1000-0", "4102444800000-0");
    bury(&world, old, "1-0", &created("a"), GROUP, "permanent");
    bury(&world, "2000-0", "2-0", &created("b"), GROUP, "bad-amount");
    bury(&world, "3000-0", "3-0", &created("b"), "audit", "permanent");
    bury(&world, new, "4-0", &created("c"), GROUP, "permanent");
    let listed = |args: &[&str]| {
        let letters = json(&world.orderd(&[&["dead", "list", "--json"], args].concat()));
        letters.iter().map(|letter| letter["entry_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), ["1-0", "2-0", "4-0"]);
    assert_eq!(listed(&["--all-groups", "--order", "b"]), ["2-0", "3-0"]);
    assert_eq!(listed(&["--reason", "permanent"]), ["1-0", "4-0"]);
    assert_eq!(listed(&["--since", "1970-01-01T00:00:02Z"]), ["2-0", "4-0"]);
    assert_eq!(listed(&["--since", "1h"]), ["4-0"]);
    assert_eq!(listed(&["--limit", "2"]), ["1-0", "2-0"]);
    said(&world.orderd(&["dead", "list", "--limit", "2"]), 0, "more with --limit");

    said(&world.orderd(&["dead", "discard", "3-0", "--yes"]), 1, "3-0");
    said(&world.orderd(&["dead", "discard", old, "--yes"]), 0, "discarded 1 dead letter\n");
    said(&world.orderd(&["dead", "discard", "--all", "--reason", "permanent", "--yes"]), 0, "discarded 1 ");
    assert_eq!(listed(&["--all-groups"]), ["2-0", "3-0"]);
    said(&world.orderd(&["dead", "discard", "--all", "--reason", "permanent", "--yes"]), 0, "no dead letters");
}

#[test]
fn an_id_that_names_two_letters_is_sent_back() {
    let world = World::new();
    bury(&world, "5-1", "7-0", &created("a"), GROUP, "permanent");
    bury(&world, "7-0", "6-0", &created("b"), GROUP, "permanent");
    said(&world.orderd(&["dead", "show", "7-0"]), 1, "write letter:7-0 or entry:7-0");
    assert_eq!(json(&world.orderd(&["dead", "show", "entry:7-0", "--json"]))[0]["letter_id"], "5-1");
    assert_eq!(json(&world.orderd(&["dead", "show", "letter:7-0", "--json"]))[0]["entry_id"], "6-0");
}

#[test]
fn a_letter_that_cannot_be_added_to_the_stream_stays() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        bury(&world, "*", "1-0", &created("a"), GROUP, "permanent");
        said(&world.orderd(&["dead", "replay", "1-0", "--yes"]), 1, "there is no stream orders:events");
        add(&world, &created("x"));
        let memory = |bytes: &str| {
            redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut world.redis()).unwrap();
        };
        memory("1");
        said(&world.orderd(&["dead", "replay", "1-0", "--yes"]), 69, "out of memory");
        assert_eq!((letters(&world), entries(&world).len()), (1, 1), "{server}");
        memory("0");
        said(&world.orderd(&["dead", "replay", "1-0", "--yes"]), 0, "replayed 1 ");
    }
}

#[test]
fn the_dead_letters_have_a_bound_and_say_so_when_it_cuts() {
    let world = World::new();
    for n in 0..450 {
        add(&world, &fields(&[("action", "created"), ("n", &n.to_string())]));
    }
    let daemon = world.daemon("w", &[("dead.max_len", "100")]);
    world.wait_until_drained();
    let left = letters(&world);
    assert!((100..=200).contains(&left), "{left} letters are left");
    let cut = daemon.metric("orderd_dead_letters_cut_total").unwrap();
    assert!((cut - f64::from(450 - u32::try_from(left).unwrap())).abs() < 0.5, "{cut} cut, {left} left");
    assert!(!daemon.log_lines("the oldest dead letters were cut").is_empty());
    let newest = json(&world.orderd(&["dead", "list", "--limit", "1000", "--json"])).pop().unwrap();
    assert_eq!(newest["fields"][1]["value"], "449", "the newest are kept");
}

#[test]
fn a_control_character_never_reaches_the_terminal() {
    let world = World::new();
    bury(&world, "*", "1-0", &created("o\u{1b}[2J"), GROUP, "x\u{1b}[2J");
    for args in [&["dead", "list"][..], &["dead", "show", "1-0"], &["dead", "replay", "--all", "--dry-run"]] {
        let ended = world.orderd(args);
        assert!(ended.code == 0 && ended.out.contains("\\u{1b}") && !ended.out.contains('\u{1b}'), "{ended:?}");
    }
}

#[test]
fn entries_that_nobody_wrote_as_letters_are_named_and_left_alone() {
    let world = World::new();
    bury(&world, "*", "1-0", &created("a"), GROUP, "permanent");
    redis::cmd("XADD").arg(DEAD).arg("*").arg("hello").arg("world").exec(&mut world.redis()).unwrap();
    said(&world.orderd(&["dead", "list"]), 0, "1 entry beside them");
    said(&world.orderd(&["dead", "discard", "--all", "--yes"]), 0, "discarded 1 ");
    assert_eq!(letters(&world), 1);
}
