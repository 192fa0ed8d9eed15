//! What a server says that is there and does not do its work: each word of the table, to its end.
//!
//! Owns: the same life for each of them. The daemon stays, is not ready and says why once, and goes on when it is over.

use std::fs;

use orderd::cli::sandbox::{Options, PrivateServer};
use redis::Connection;

use super::harness::{Daemon, GROUP, STREAM, World, field, on_every_server, wait_until};

/// Settings that let a test see soon what a command on the shared connection does, too: chores and reads meet the refusal many times.
const BUSY: [(&str, &str); 4] = [
    ("consumers.block", "100ms"),
    ("trimmer.interval", "100ms"),
    ("reaper.interval", "100ms"),
    ("reaper.claim_after", "1s"),
];

/// How many events were added by [`add`].
const ORDERS: usize = 8;

/// A refusal: how it begins, what the server says, and how it ends.
struct Refusal<'t> {
    word: &'t str,
    begin: &'t dyn Fn(&mut Connection),
    end: &'t dyn Fn(&mut Connection),
    /// Where events can be added meanwhile; `None`: nowhere.
    meanwhile: Option<&'t dyn Fn() -> Connection>,
}

/// Adds the first event of some orders, on a connection that is there already: a new one may be refused.
fn add(connection: &mut Connection, prefix: &str) {
    for n in 0..ORDERS {
        let event = ("action", "created", "orderId", format!("{prefix}-{n}"), "amount", "1", "userId", "u");
        redis::cmd("XADD").arg((STREAM, "*")).arg(event).exec(connection).expect("XADD");
    }
}

fn send(connection: &mut Connection, command: &[&str]) {
    redis::cmd(command[0]).arg(&command[1..]).exec(connection).unwrap_or_else(|error| panic!("{command:?}: {error}"));
}

/// The whole life, with one worker.
fn live_through(world: &World, url: &str, refusal: &Refusal<'_>) {
    let Refusal { word, begin, end, meanwhile } = refusal;
    let mut connection = world.redis();
    let mut settings = BUSY.to_vec();
    settings.push(("redis.url", url));
    let mut daemon = world.daemon("w", &settings);
    daemon.wait_until_ready();
    add(&mut connection, "before");
    wait_until("what was added before is applied", || applied(world) == ORDERS);
    begin(&mut connection);
    wait_until(word, || {
        let (status, body) = daemon.get("/readyz");
        status == 503 && body.contains(word)
    });
    let mut expected = ORDERS;
    if let Some(other) = meanwhile {
        add(&mut other(), "meanwhile");
        expected += ORDERS;
    }
    // Long enough for what would be said again at each try.
    let tries = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    wait_until("some tries", || std::time::Instant::now() >= tries);
    assert!(daemon.is_running(), "{}", daemon.log());
    assert_eq!(daemon.get("/readyz").0, 503, "{word}: it flaps\n{}", daemon.log());
    said_once(&daemon, word);
    end(&mut connection);
    let over = std::time::Instant::now();
    daemon.wait_until_ready();
    let took = over.elapsed();
    eprintln!("{word}: ready {took:?} after it was over");
    // Two seconds are the promise; a slow machine may take longer, and a pause that has grown without bound more than this.
    assert!(took < std::time::Duration::from_secs(10), "{word}: {took:?}");
    add(&mut connection, "after");
    expected += ORDERS;
    wait_until("everything is applied", || applied(world) >= expected && world.is_drained());
    assert_eq!(applied(world), expected);
    assert_eq!(world.dead_letters().len(), 0);
    said_once(&daemon, word);
    assert_eq!(daemon.log_lines("an event failed"), Vec::<String>::new());
}

fn applied(world: &World) -> usize {
    usize::try_from(world.applied()).expect("a count")
}

/// One line says that it does not work, in the server's word, and there is no flood of other lines.
fn said_once(daemon: &Daemon, word: &str) {
    let mut warned = daemon.log_lines("Redis is away");
    warned.extend(daemon.log_lines("new entries cannot be read"));
    assert_eq!(warned.len(), 1, "{word}: said once:\n{}", daemon.log());
    assert!(warned[0].contains(word), "{word}:\n{}", daemon.log());
    assert!(daemon.log_lines("").len() < 25, "{word}: a flood:\n{}", daemon.log());
}

#[test]
fn a_primary_that_became_a_replica_is_waited_for_until_it_is_one_again() {
    on_every_server(|options| {
        let args: Vec<_> = ["--repl-diskless-sync-delay", "0"].map(Into::into).into();
        let options = Options { args, tcp: true, ..options };
        let other = PrivateServer::start(options.clone()).expect("another server");
        let world = World::with(options);
        let open = || redis::Client::open(other.url()).expect("an address").get_connection().expect("a connection");
        let port = |server: &PrivateServer| server.port().expect("a port").to_string();
        let is_in_step = |connection: &mut Connection| {
            let info: String = redis::cmd("INFO").arg("replication").query(connection).expect("INFO");
            info.contains("master_link_status:up")
        };
        let begin = |connection: &mut Connection| {
            let mut new_primary = open();
            send(&mut new_primary, &["REPLICAOF", "127.0.0.1", &port(&world.server)]);
            wait_until("the other is in step", || is_in_step(&mut new_primary));
            send(&mut new_primary, &["REPLICAOF", "NO", "ONE"]);
            send(connection, &["REPLICAOF", "127.0.0.1", &port(&other)]);
            wait_until("it follows the other", || is_in_step(connection));
        };
        let end = |connection: &mut Connection| {
            let length =
                |connection: &mut Connection| redis::cmd("XLEN").arg(STREAM).query::<u64>(connection).expect("XLEN");
            let whole = length(&mut open());
            wait_until("what was added there has arrived", || length(connection) == whole);
            send(connection, &["REPLICAOF", "NO", "ONE"]);
        };
        let refusal = Refusal { word: "READONLY", begin: &begin, end: &end, meanwhile: Some(&open) };
        live_through(&world, &world.server.url(), &refusal);
    });
}

#[test]
fn a_server_that_is_loading_its_data_is_waited_for() {
    on_every_server(|options| {
        // Two milliseconds a key; it answers every two megabytes.
        let args = ["--key-load-delay", "2000", "--rdbcompression", "no"].map(Into::into).into();
        let mut world = World::with(Options { args, ..options });
        let mut daemon = world.daemon("w", &BUSY);
        daemon.wait_until_ready();
        let mut fill = redis::pipe();
        let value = "x".repeat(20_000);
        for n in 0..1_000 {
            fill.cmd("SET").arg(format!("other-{n}")).arg(&value).ignore();
        }
        fill.query::<()>(&mut world.redis()).expect("SET");
        send(&mut world.redis(), &["SAVE"]);
        world.server.kill9().expect("kill");
        std::thread::scope(|scope| {
            // It waits until the server answers in earnest.
            let restarted = scope.spawn(|| world.server.restart().expect("a restart"));
            wait_until("the reason is told", || daemon.get("/readyz").1.contains("LOADING"));
            restarted.join().expect("a restart");
        });
        daemon.wait_until_ready();
        add(&mut world.redis(), "after");
        wait_until("everything is applied", || applied(&world) == ORDERS && world.is_drained());
        assert!(daemon.is_running());
    });
}

#[test]
fn a_replica_whose_primary_is_gone_is_waited_for() {
    on_every_server(|options| {
        let world = World::with(options);
        let mut daemon = world.daemon("w", &BUSY);
        daemon.wait_until_ready();
        let mut connection = world.redis();
        send(&mut connection, &["CONFIG", "SET", "replica-serve-stale-data", "no"]);
        // Nobody listens there.
        send(&mut connection, &["REPLICAOF", "127.0.0.1", "1"]);
        wait_until("the reason is told", || daemon.get("/readyz").1.contains("MASTERDOWN"));
        send(&mut connection, &["REPLICAOF", "NO", "ONE"]);
        daemon.wait_until_ready();
        add(&mut connection, "after");
        wait_until("everything is applied", || applied(&world) == ORDERS && world.is_drained());
        assert!(daemon.is_running());
    });
}

#[test]
fn a_primary_that_misses_its_replicas_is_waited_for() {
    on_every_server(|options| {
        let world = World::with(options);
        let set = |replicas: &'static str| {
            move |connection: &mut Connection| send(connection, &["CONFIG", "SET", "min-replicas-to-write", replicas])
        };
        let refusal = Refusal { word: "NOREPLICAS", begin: &set("1"), end: &set("0"), meanwhile: None };
        live_through(&world, &world.server.url(), &refusal);
    });
}

#[test]
fn a_server_that_cannot_save_is_waited_for() {
    on_every_server(|options| {
        let world = World::with(options);
        // A folder stands where the file should go: also root cannot write it.
        let in_the_way = world.server.folder().join("dump.rdb");
        let save = |connection: &mut Connection, status: &str| {
            wait_until("a try to save", || {
                let _: redis::RedisResult<()> = redis::cmd("BGSAVE").query(connection);
                let info: String = redis::cmd("INFO").arg("persistence").query(connection).expect("INFO");
                info.contains(&format!("rdb_last_bgsave_status:{status}"))
            });
        };
        let begin = |connection: &mut Connection| {
            fs::create_dir(&in_the_way).expect("a folder");
            send(connection, &["CONFIG", "SET", "save", "3600 1000000"]);
            save(connection, "err");
        };
        let end = |connection: &mut Connection| {
            fs::remove_dir(&in_the_way).expect("the folder");
            save(connection, "ok");
        };
        let refusal = Refusal { word: "MISCONF", begin: &begin, end: &end, meanwhile: None };
        live_through(&world, &world.server.url(), &refusal);
    });
}

#[test]
fn a_server_without_room_for_another_connection_is_waited_for() {
    on_every_server(|options| {
        let world = World::with(options);
        let begin = |connection: &mut Connection| {
            // In one step: a worker that is refused while it still has other connections finds Redis back at once, and then away again.
            let mut step = redis::pipe();
            step.atomic().cmd("CONFIG").arg(("SET", "maxclients", 1));
            step.cmd("CLIENT").arg(("KILL", "TYPE", "normal", "SKIPME", "yes"));
            step.exec(connection).expect("no room for others");
        };
        let end = |connection: &mut Connection| send(connection, &["CONFIG", "SET", "maxclients", "1000"]);
        let refusal = Refusal { word: "max number of clients", begin: &begin, end: &end, meanwhile: None };
        live_through(&world, &world.server.url(), &refusal);
    });
}

#[test]
fn an_entry_that_is_too_large_for_the_server_to_send_becomes_a_dead_letter_and_its_neighbours_are_applied() {
    on_every_server(|options| {
        let world = World::with(options);
        let mut daemon = world.daemon("w", &[]);
        daemon.wait_until_ready();
        let mut connection = world.redis();
        send(&mut connection, &["CONFIG", "SET", "client-output-buffer-limit", "normal 2mb 0 0"]);
        // In one step, so that one read brings them all, or fails.
        let note = "x".repeat(5 * 1024 * 1024);
        let mut together = redis::pipe();
        together.atomic();
        for (order, note) in [("first", ""), ("large", &*note), ("last", "")] {
            let event = ("action", "created", "orderId", order, "amount", "1", "userId", "u");
            together.cmd("XADD").arg((STREAM, "*")).arg(event).arg(("note", note));
        }
        let ids: Vec<String> = together.query(&mut connection).expect("XADD");
        wait_until("all is settled", || world.is_drained());
        assert_eq!(applied(&world), 2);
        let letters = world.dead_letters();
        assert_eq!(letters.len(), 1, "{}", daemon.log());
        assert_eq!(field(&letters[0], "_id"), ids[1]);
        assert_eq!(field(&letters[0], "_reason"), "too-large");
        assert!(daemon.log_lines("").len() < 25, "a flood:\n{}", daemon.log());
        assert_eq!(daemon.stop().0.code(), Some(0));
    });
}

#[test]
fn an_entry_that_is_too_large_to_be_sent_is_taken_over_from_a_dead_worker_and_buried_and_its_neighbours_are_applied() {
    on_every_server(|options| {
        let world = World::with(options);
        let mut connection = world.redis();
        send(&mut connection, &["CONFIG", "SET", "client-output-buffer-limit", "normal 2mb 0 0"]);
        send(&mut connection, &["XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"]);
        let note = "x".repeat(5 * 1024 * 1024);
        let mut ids: Vec<String> = Vec::new();
        for (order, note) in [("first", ""), ("large", &*note), ("last", "")] {
            let event = ("action", "created", "orderId", order, "amount", "1", "userId", "u", "note", note);
            ids.push(redis::cmd("XADD").arg((STREAM, "*")).arg(event).query(&mut connection).expect("XADD"));
        }
        // Handed out without being sent: the test's own connection has the same limit.
        let mut claim = redis::cmd("XCLAIM");
        claim.arg((STREAM, GROUP, "dead-0", 0)).arg(&ids).arg(("IDLE", 3_600_000, "RETRYCOUNT", 1, "FORCE", "JUSTID"));
        claim.exec(&mut connection).expect("XCLAIM");
        send(&mut connection, &["XGROUP", "SETID", STREAM, GROUP, &ids[2]]);
        // Nothing but the first sweep can bring them back: a second one would find them idle after ten minutes only.
        let mut daemon = world.daemon("w", &[("reaper.claim_after", "10m"), ("reaper.interval", "100ms")]);
        wait_until("all is settled", || world.pending() == 0 && applied(&world) == 2);
        let letters = world.dead_letters();
        assert_eq!(letters.len(), 1, "{}", daemon.log());
        assert_eq!((field(&letters[0], "_id"), field(&letters[0], "_reason")), (&*ids[1], "too-large"));
        assert!(daemon.log_lines("").len() < 25, "a flood:\n{}", daemon.log());
        assert_eq!(daemon.stop().0.code(), Some(0));
    });
}

/// A user of the test's own, whose rights and password can be changed without locking the test out.
fn worker(world: &World) -> String {
    send(&mut world.redis(), &["ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all"]);
    format!("{}?user=worker&pass=secret", world.server.url())
}

#[test]
fn a_right_that_is_taken_away_is_waited_for() {
    on_every_server(|options| {
        let world = World::with(options);
        let change = |rule: &'static str| {
            move |connection: &mut Connection| send(connection, &["ACL", "SETUSER", "worker", rule])
        };
        let open = || world.redis();
        let refusal = Refusal {
            word: "NOPERM",
            begin: &change("-xreadgroup"),
            end: &change("+xreadgroup"),
            meanwhile: Some(&open),
        };
        live_through(&world, &worker(&world), &refusal);
    });
}

#[test]
fn a_refused_login_is_tried_again_seldom() {
    let world = World::new();
    let mut settings = BUSY.to_vec();
    let url = worker(&world);
    settings.push(("redis.url", &url));
    let mut daemon = world.daemon("w", &settings);
    daemon.wait_until_ready();
    let mut connection = world.redis();
    send(&mut connection, &["ACL", "SETUSER", "worker", "resetpass", ">other"]);
    send(&mut connection, &["ACL", "LOG", "RESET"]);
    send(&mut connection, &["CLIENT", "KILL", "USER", "worker"]);
    wait_until("the reason is told", || daemon.get("/readyz").1.contains("WRONGPASS"));
    let enough = std::time::Instant::now() + std::time::Duration::from_secs(3);
    wait_until("some tries", || std::time::Instant::now() >= enough);
    let refused: Vec<std::collections::HashMap<String, redis::Value>> =
        redis::cmd("ACL").arg("LOG").query(&mut connection).expect("ACL LOG");
    let counts =
        refused.iter().map(|refused| redis::from_redis_value::<u64>(refused["count"].clone()).expect("a count"));
    let tries: u64 = counts.sum();
    // Five connections that were cut at the same moment, then after 1, 2 and 4 s, by whoever comes first.
    assert!((1..=12).contains(&tries), "{tries} tries");
    assert!(daemon.is_running());
}

#[test]
fn a_password_that_is_changed_and_changed_back_is_waited_for() {
    on_every_server(|options| {
        let world = World::with(options);
        let begin = |connection: &mut Connection| {
            send(connection, &["ACL", "SETUSER", "worker", "resetpass", ">other"]);
            send(connection, &["CLIENT", "KILL", "USER", "worker"]);
        };
        let end = |connection: &mut Connection| send(connection, &["ACL", "SETUSER", "worker", ">secret"]);
        let open = || world.redis();
        let refusal = Refusal { word: "WRONGPASS", begin: &begin, end: &end, meanwhile: Some(&open) };
        live_through(&world, &worker(&world), &refusal);
    });
}
