//! The ledger through the life of a shop: what the whole program makes of a stream that begins again, a ledger that was lost, a disk
//! that fails.
//!
//! Owns: the ledger behind a running daemon. What the ledger promises by itself is in `ledger.rs`.
//! Never: a fault that only a mock could have.

use std::path::{Path, PathBuf};

use super::harness::faults::Faults;
use super::harness::{Daemon, GROUP, STREAM, World, column, number, servers, wait_until};

const WATERMARK: &str = "{orders:events}:watermark:order-processors";
const MARK: &str = "{orders:events}:ledger:order-processors";

/// Adds an event under an id of the test's choice.
fn add_as(world: &World, id: &str, order: &str, action: &str) {
    let mut add = redis::cmd("XADD");
    add.arg(STREAM).arg(id).arg("action").arg(action).arg("orderId").arg(order);
    add.arg("amount").arg("10.50").arg("userId").arg("u").exec(&mut world.redis()).expect("XADD");
}

#[test]
fn a_stream_that_was_deleted_and_gives_out_its_ids_again_loses_nothing() {
    let world = World::new();
    add_as(&world, "5-1", "a", "created");
    add_as(&world, "5-2", "a", "paid");
    let mut daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    assert!(daemon.stop().0.success());

    redis::cmd("DEL").arg(STREAM).exec(&mut world.redis()).expect("DEL");
    add_as(&world, "5-1", "b", "created");
    add_as(&world, "5-2", "a", "paid");
    add_as(&world, "5-3", "b", "paid");
    let daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    wait_until("all is applied", || number(&world.ledger(), "SELECT count(*) FROM order_events") == 4);
    let orders: Vec<String> = column(&world.ledger(), "SELECT order_id || ' ' || state || ' ' || version FROM orders");
    assert_eq!(orders, ["a paid 2", "b paid 2"], "5-2 is the same entry as before; the others are not");
    assert_eq!(daemon.metric("orderd_generations_total"), Some(1.0));
    let lines = daemon.log_lines("an id came again with another entry");
    assert!(lines.len() == 1 && lines[0].contains("5-1") && lines[0].contains("5-2"), "{lines:?}");
}

#[test]
fn a_stream_that_is_put_in_the_place_of_another_is_read_from_its_beginning_though_its_ids_reach_further() {
    for (server, options) in servers::all() {
        let world = World::with(options);
        (1..=20).for_each(|n| add_as(&world, &format!("{n}-0"), &format!("a-{n}"), "created"));
        let daemon = world.daemon("w", &[("trimmer.interval", "50ms"), ("consumers.block", "500ms")]);
        world.wait_until_drained();
        let watermark = || redis::cmd("GET").arg(WATERMARK).query::<Option<String>>(&mut world.redis()).expect("GET");
        wait_until("the watermark is written", || watermark().is_some_and(|mark| mark.starts_with("20-0")));

        let mut replace = redis::pipe();
        replace.atomic().cmd("DEL").arg(STREAM);
        for n in 1..=30 {
            let add = replace.cmd("XADD").arg(STREAM).arg(format!("{n}-0")).arg("action").arg("created");
            add.arg("orderId").arg(format!("b-{n}")).arg("amount").arg("1").arg("userId").arg("u");
        }
        replace.exec(&mut world.redis()).expect("another stream in its place");
        wait_until("all of it is applied", || number(&world.ledger(), "SELECT count(*) FROM order_events") == 50);
        assert_eq!(daemon.metric("orderd_generations_total"), Some(1.0), "{server}");
    }
}

/// What the bookkeeper does at once when the daemon starts; else it looks once a minute.
fn restarted_until(world: &World, what: &str, settings: &[(&str, &str)], mut condition: impl FnMut() -> bool) {
    let mut daemon = world.daemon("w", settings);
    daemon.wait_until_ready();
    wait_until(what, &mut condition);
    assert!(daemon.stop().0.success());
}

#[test]
fn the_inbox_forgets_what_can_be_delivered_no_more_and_remembers_dead_letters_and_other_groups() {
    let world = World::new();
    for n in 1..=40 {
        add_as(&world, &format!("{n}-0"), &format!("o-{n}"), if n == 20 { "lost-in-thought" } else { "created" });
    }
    redis::cmd("XGROUP").arg(&["CREATE", STREAM, "others", "10-0"]).exec(&mut world.redis()).expect("XGROUP");
    let settings = [("trimmer.max_len", "5"), ("trimmer.interval", "50ms"), ("ledger.keep_inbox", "1m")];
    let length = || redis::cmd("XLEN").arg(STREAM).query::<u64>(&mut world.redis()).expect("XLEN");
    restarted_until(&world, "all is handled, and trimmed up to the other group", &settings, || {
        world.is_drained() && length() == 30 && number(&world.ledger(), "SELECT count(*) FROM inbox") == 39
    });
    // A bound counts once it has held for ledger.keep_inbox. A minute passes.
    let a_minute_passes = || {
        let ledger = rusqlite::Connection::open(world.ledger()).expect("the ledger");
        ledger.execute("UPDATE bounds SET noted_at = noted_at - 60000", []).expect("UPDATE");
    };
    let keep = [("ledger.keep_inbox", "1m")];
    restarted_until(&world, "a bound is noted", &keep, || number(&world.ledger(), "SELECT count(*) FROM bounds") > 0);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), 39);
    a_minute_passes();
    let first = || column::<i64>(&world.ledger(), "SELECT min(ms) FROM inbox")[0];
    restarted_until(&world, "what the other group has behind it is forgotten", &keep, || first() == 10);

    // Without the other group, the dead letter still holds what lies above it.
    redis::cmd("XGROUP").arg(&["DESTROY", STREAM, "others"]).exec(&mut world.redis()).expect("XGROUP");
    restarted_until(&world, "the stream is trimmed", &settings, || length() == 5);
    a_minute_passes();
    restarted_until(&world, "the bound rises to the dead letter", &keep, || {
        number(&world.ledger(), "SELECT max(ms) FROM bounds") == 20
    });
    assert_eq!(first(), 10);
    a_minute_passes();
    restarted_until(&world, "what lies below the dead letter is forgotten", &keep, || first() == 21);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), 20, "21 to 40");
}

/// Adds the first two events of `count` orders whose names begin with `prefix`.
fn add_orders(world: &World, prefix: &str, count: usize) {
    for n in 0..count {
        let order = format!("{prefix}-{n}");
        for action in ["created", "paid"] {
            world.add(&[("action", action), ("orderId", &order), ("amount", "10.50"), ("userId", "u")]);
        }
    }
}

/// Every event was applied, and none of them twice.
fn assert_applied_once(world: &World, events: i64) {
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM order_events"), events);
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM inbox"), events);
    assert_eq!(number(&world.ledger(), "SELECT sum(version) FROM orders"), events);
}

fn files(ledger: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| format!("{}{end}", ledger.display()).into())
}

/// The end of a daemon that refuses to go on: its exit code.
fn exit_code(daemon: &mut Daemon) -> Option<i32> {
    daemon.wait().0.code()
}

fn work_off(world: &World, arguments: &[&str]) {
    let mut daemon = world.daemon_with("w", arguments, &[], &[]);
    daemon.wait_until_ready();
    world.wait_until_drained();
    assert!(daemon.stop().0.success());
}

#[test]
fn a_ledger_that_was_put_back_to_an_older_copy_is_refused_and_the_way_out_applies_what_it_lacks() {
    let world = World::new();
    add_orders(&world, "before", 5);
    work_off(&world, &[]);
    let copy = world.path("copy.db");
    std::fs::copy(world.ledger(), &copy).expect("a copy of a ledger that nobody has open");
    add_orders(&world, "after", 5);
    work_off(&world, &[]);
    work_off(&world, &[]);
    assert_applied_once(&world, 20);

    std::fs::copy(&copy, world.ledger()).expect("the copy is put back");
    let mut refusing = world.daemon("w", &[]);
    assert_eq!(exit_code(&mut refusing), Some(65), "{}", refusing.log());
    let message = refusing.log_lines("orderd: the ledger lacks").pop().expect("a message");
    assert!(message.contains("ends with event 10 ") && message.contains("had come to event 20 "), "{message}");
    assert!(message.contains("there are still 10 entries") && message.contains("--accept-gap"), "{message}");
    assert_applied_once(&world, 10);

    // As the message says.
    let (_, rest) = message.split_once("run `").expect("a command");
    let command: Vec<&str> = rest.split_once('`').expect("a command").0.split(' ').collect();
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut world.redis()).expect("the command works");
    work_off(&world, &["--accept-gap"]);
    assert_applied_once(&world, 20);
    work_off(&world, &[]);
}

#[test]
fn another_ledger_in_the_place_of_the_one_that_was_lost_is_refused() {
    let world = World::new();
    add_orders(&world, "lost", 3);
    work_off(&world, &[]);
    files(&world.ledger()).iter().for_each(|file| drop(std::fs::remove_file(file)));
    let mut refusing = world.daemon("w", &[]);
    assert_eq!(exit_code(&mut refusing), Some(65), "{}", refusing.log());
    let message = refusing.log_lines("orderd: the ledger lacks").pop().expect("a message");
    assert!(message.contains("were applied to another one") && message.contains(GROUP), "{message}");

    let mut accepting = world.daemon_with("w", &["--accept-gap"], &[], &[]);
    accepting.wait_until_ready();
    assert_eq!(accepting.log_lines("going on, as told to").len(), 1);
    assert!(accepting.stop().0.success());
    add_orders(&world, "new", 1);
    work_off(&world, &[]);
    assert_applied_once(&world, 2);
}

#[test]
fn a_redis_that_was_emptied_lets_the_ledger_go_on() {
    let world = World::new();
    add_orders(&world, "a", 2);
    work_off(&world, &[]);
    assert!(redis::cmd("EXISTS").arg(MARK).query::<bool>(&mut world.redis()).expect("EXISTS"));
    redis::cmd("FLUSHALL").exec(&mut world.redis()).expect("FLUSHALL");
    add_orders(&world, "b", 2);
    work_off(&world, &[]);
    assert_applied_once(&world, 8);
}

#[test]
fn an_fsync_that_fails_ends_the_process_and_nothing_is_lost_or_applied_twice() {
    let world = World::new();
    let faults = Faults::new(&world);
    let mut daemon = faults.daemon(&world, &[]);
    add_orders(&world, "a", 50);
    world.wait_until_drained();
    faults.begin("fsync");
    add_orders(&world, "b", 50);
    assert_eq!(exit_code(&mut daemon), Some(74), "{}", daemon.log());
    assert!(world.pending() > 0, "nothing of it was acknowledged");
    faults.end("fsync");
    work_off(&world, &[]);
    assert_applied_once(&world, 200);
}

#[test]
fn an_fsync_that_fails_while_the_log_is_copied_back_ends_the_process_too() {
    let world = World::new();
    let faults = Faults::new(&world);
    let mut daemon = faults.daemon(&world, &[]);
    daemon.wait_until_ready();
    // The database is synced only when the log is copied back, and that is when it has 256 MiB: somebody else makes it as long as that.
    let other = rusqlite::Connection::open(world.ledger()).expect("the ledger");
    let fill = "PRAGMA wal_autocheckpoint = 0; CREATE TABLE filler (page BLOB);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70000)
        INSERT INTO filler SELECT zeroblob(4000) FROM n;";
    other.execute_batch(fill).expect("a long log");
    drop(other);
    faults.begin("fsync-db");
    world.add_many(2_000, 500);
    assert_eq!(exit_code(&mut daemon), Some(74), "{}", daemon.log());
    assert!(!world.is_drained());
    faults.end("fsync-db");
    work_off(&world, &[]);
    assert_applied_once(&world, 2_000);
}

#[test]
fn a_full_disk_pauses_the_work_until_there_is_room_again() {
    let world = World::new();
    let faults = Faults::new(&world);
    let mut daemon = faults.daemon(&world, &[]);
    add_orders(&world, "a", 50);
    world.wait_until_drained();
    faults.begin("full");
    add_orders(&world, "b", 50);
    wait_until("it says that there is no room", || daemon.get("/readyz").1.contains("there is no room left"));
    assert!(world.pending() > 0, "nothing of it was acknowledged");
    assert!(daemon.is_running());
    faults.end("full");
    world.wait_until_drained();
    daemon.wait_until_ready();
    assert!(daemon.stop().0.success());
    assert_applied_once(&world, 200);
    assert!(world.dead_letters().is_empty());
}

#[test]
fn a_ledger_that_is_locked_for_long_pauses_the_work_until_it_is_free() {
    let world = World::new();
    let mut daemon = world.daemon("w", &[]);
    add_orders(&world, "a", 50);
    world.wait_until_drained();
    let holder = rusqlite::Connection::open(world.ledger()).expect("the ledger");
    holder.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    add_orders(&world, "b", 50);
    wait_until("it says who is in the way", || daemon.get("/readyz").1.contains("has held its lock for too long"));
    assert!(world.pending() > 0, "nothing of it was acknowledged");
    holder.execute_batch("ROLLBACK").expect("the lock is free");
    world.wait_until_drained();
    daemon.wait_until_ready();
    assert!(daemon.stop().0.success());
    assert_applied_once(&world, 200);
    assert!(world.dead_letters().is_empty());
}

#[test]
fn a_ledger_on_a_file_system_that_may_only_be_read_is_refused_at_the_start() {
    let world = World::new();
    add_orders(&world, "a", 1);
    work_off(&world, &[]);
    let faults = Faults::new(&world);
    faults.begin("readonly");
    let mut daemon = faults.daemon(&world, &[]);
    assert_eq!(exit_code(&mut daemon), Some(69), "{}", daemon.log());
    assert!(daemon.log().contains("must be writable"), "{}", daemon.log());
}

#[test]
fn a_ledger_whose_file_is_deleted_ends_the_process_and_the_next_one_asks_before_it_goes_on() {
    let world = World::new();
    let mut daemon = world.daemon("w", &[]);
    add_orders(&world, "a", 50);
    world.wait_until_drained();
    files(&world.ledger()).iter().for_each(|file| std::fs::remove_file(file).expect("a file of the ledger"));
    add_orders(&world, "b", 50);
    assert_eq!(exit_code(&mut daemon), Some(74), "{}", daemon.log());
    assert!(daemon.log().contains("was deleted or replaced"), "{}", daemon.log());
    assert!(world.pending() > 0, "nothing of it was acknowledged");
    // Without its mark nobody could know: it is left every five seconds, and this daemon may have lived for less.
    let mark = format!("{:016x} 100 5-0", 7);
    redis::cmd("SET").arg(MARK).arg(mark).exec(&mut world.redis()).expect("SET");
    let mut next = world.daemon("w", &[]);
    assert_eq!(exit_code(&mut next), Some(65), "{}", next.log());
}

#[test]
fn a_ledger_whose_file_is_replaced_ends_the_process_and_neither_file_is_harmed() {
    let world = World::new();
    let mut daemon = world.daemon("w", &[]);
    add_orders(&world, "a", 50);
    world.wait_until_drained();
    // The log as well: it goes with the file that it belongs to.
    let [ledger, log, shared] = files(&world.ledger());
    let aside = files(&world.path("aside.db"));
    std::fs::write(world.path("other.db"), "").expect("a file");
    for (from, to) in [(&ledger, &aside[0]), (&log, &aside[1]), (&shared, &aside[2])] {
        std::fs::rename(from, to).expect("a file of the ledger");
    }
    std::fs::rename(world.path("other.db"), &ledger).expect("another file");
    add_orders(&world, "b", 50);
    assert_eq!(exit_code(&mut daemon), Some(74), "{}", daemon.log());
    assert_eq!(std::fs::read(&ledger).expect("the other file"), b"");
    std::fs::remove_file(&ledger).expect("the other file goes");
    for (from, to) in aside.iter().zip([&ledger, &log, &shared]) {
        std::fs::rename(from, to).expect("the ledger comes back");
    }
    work_off(&world, &[]);
    assert_applied_once(&world, 200);
}
