//! Trimming by hand, and what the daemon says of a group that stands in the way.

use crate::harness::command::Ended;
use crate::harness::{Daemon, GROUP, STREAM, World, servers, wait_until};

const BLOCKED: &str = "a group keeps the stream above trimmer.max_len";

const WATERMARK: &str = "{orders:events}:watermark:order-processors";

fn length(world: &World) -> u64 {
    redis::cmd("XLEN").arg(STREAM).query(&mut world.redis()).unwrap()
}

/// A group that has read `read` entries from the beginning and acknowledged `acked` of them.
fn group(world: &World, name: &str, read: usize, acked: usize) {
    let mut connection = world.redis();
    let create = redis::cmd("XGROUP").arg("CREATE").arg(STREAM).arg(name).arg("0").to_owned();
    let _: redis::RedisResult<()> = create.exec(&mut connection);
    step(world, name, read, acked);
}

type Reply = Vec<(String, Vec<(String, redis::Value)>)>;

fn step(world: &World, name: &str, read: usize, acked: usize) {
    let mut connection = world.redis();
    if read == 0 {
        return;
    }
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg(name).arg("c-0").arg("COUNT").arg(read).arg("STREAMS").arg(STREAM).arg(">");
    let reply: Option<Reply> = command.query(&mut connection).unwrap();
    let ids = reply.into_iter().flatten().flat_map(|(_, entries)| entries).map(|(id, _)| id);
    let ids: Vec<String> = ids.take(acked).collect();
    if !ids.is_empty() {
        redis::cmd("XACK").arg(STREAM).arg(name).arg(ids).exec(&mut connection).unwrap();
    }
}

fn said(ended: &Ended, texts: &[&str]) {
    assert!(ended.code == 0 && texts.iter().all(|text| ended.out.contains(text)), "{texts:?}: {ended:?}");
}

#[test]
fn a_dry_run_says_what_the_real_one_then_does() {
    for (server, options) in servers::all() {
        // Everything settled; the oldest pending; nothing read at all; few needed.
        for (read, acked, goes) in [(1_500, 1_500, 1_400), (1_500, 700, 700), (0, 0, 0), (1_500, 1_450, 1_400)] {
            let world = World::with(options.clone());
            world.add_many(1_500, 50);
            group(&world, "audit", 1_500, 1_500);
            group(&world, GROUP, read, acked);
            let args = ["trim", "--max-len", "100"];
            let (left, over) = (1_500 - goes, 1_400 - goes);
            let mut texts = vec![format!("{goes} entries; {left} stay, and 100 are the bound")];
            if over > 0 {
                texts.push(format!("the group '{GROUP}' still needs {over} of them"));
            }
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let dry = world.orderd(&[&args[..], &["--dry-run"]].concat());
            said(&dry, &[&["would delete"], &texts[..]].concat());
            assert_eq!(length(&world), 1_500, "{server}");
            let real = world.orderd(&args);
            said(&real, &[&["deleted"], &texts[..]].concat());
            assert_eq!(length(&world), left, "{server}");
            assert_eq!(dry.out.replace("would delete", "deleted"), real.out);
        }
    }
}

#[test]
fn nothing_is_trimmed_where_the_group_is_missing_or_another_one_needs_it() {
    let world = World::new();
    world.add_many(200, 50);
    group(&world, "audit", 200, 200);
    for args in [&["trim", "--max-len", "10"][..], &["trim", "--max-len", "10", "--dry-run"]] {
        said(&world.orderd(args), &["nothing to trim: orders:events has no group 'order-processors'"]);
    }
    group(&world, GROUP, 200, 200);
    group(&world, "slow", 50, 50);
    // Not even where the daemon was told to cut what is needed.
    let by_hand = world.orderd(&["trim", "--max-len", "10", "--set", "trimmer.on_blocked=trim"]);
    said(&by_hand, &["deleted 50 entries; 150 stay", "the group 'slow' still needs 140 of them"]);
    assert_eq!(length(&world), 150);
}

fn blocked(daemon: &Daemon) -> bool {
    daemon.metric("orderd_trim_blocked") == Some(1.0)
}

#[test]
fn a_group_that_stands_still_is_named_once_and_so_is_its_end() {
    let world = World::new();
    world.add_many(400, 50);
    // Ours is done already, so it is in nobody's way, however slow this machine is.
    group(&world, GROUP, 400, 400);
    group(&world, "audit", 50, 50);
    let settings = [("trimmer.max_len", "100"), ("trimmer.interval", "100ms"), ("handler.kind", "none")];
    let daemon = world.daemon("w", &settings);
    wait_until("the group that stands still is told of", || blocked(&daemon));
    // Several looks later it is still one line. Each look writes down how far our group has come.
    for n in 0..5 {
        let id = world.add(&[("action", "shipped"), ("orderId", "order-1"), ("n", &n.to_string())]);
        wait_until("the trimmer has looked again", || {
            let mark: Option<String> = redis::cmd("GET").arg(WATERMARK).query(&mut world.redis()).unwrap();
            mark.is_some_and(|mark| mark.split(' ').next() == Some(&*id))
        });
    }
    let lines = daemon.log_lines(BLOCKED);
    assert!(lines.len() == 1 && lines[0].contains("\"group\":\"audit\""), "{lines:?}");
    redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg("audit").exec(&mut world.redis()).unwrap();
    wait_until("the end is told of", || !blocked(&daemon) && length(&world) == 100);
    assert_eq!(daemon.log_lines("no group keeps the stream above").len(), 1);
}

#[test]
fn what_a_group_needs_is_cut_only_where_that_was_asked_for_and_then_it_is_counted() {
    let world = World::new();
    world.add_many(400, 50);
    group(&world, GROUP, 400, 400);
    group(&world, "audit", 60, 50);
    let settings = [("trimmer.max_len", "100"), ("trimmer.interval", "100ms"), ("trimmer.on_blocked", "trim")];
    let daemon = world.daemon("w", &settings);
    wait_until("the stream is within its bound", || length(&world) == 100);
    wait_until("what was lost is counted", || daemon.metric("orderd_trimmed_unacknowledged_total") == Some(250.0));
    assert_eq!(daemon.metric("orderd_trimmed_entries_total"), Some(300.0));
    assert!(!blocked(&daemon) && !daemon.log_lines("that a group still needed").is_empty());
}

#[test]
fn a_group_that_works_off_a_backlog_is_not_in_the_way() {
    let world = World::new();
    world.add_many(3_000, 50);
    group(&world, GROUP, 3_000, 3_000);
    group(&world, "audit", 1, 1);
    let daemon =
        world.daemon("w", &[("trimmer.max_len", "10"), ("trimmer.interval", "500ms"), ("handler.kind", "none")]);
    let mut seen = Vec::new();
    wait_until("the trimmer has looked at it a few times", || {
        step(&world, "audit", 1, 1);
        let now = length(&world);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        seen.len() > 4
    });
    assert!(length(&world) > 10, "it was over its bound all the time");
    assert_eq!(daemon.log_lines(BLOCKED), Vec::<String>::new());
}
