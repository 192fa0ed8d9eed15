//! The least privilege: a worker and a producer with the rules of docs/redis-acl.md, through a whole life.

use std::path::Path;

use orderd::broker::keys::Keys;
use orderd::broker::rights;
use orderd::cli::sandbox::Options;

use super::harness::{GROUP, STREAM, World, number, servers, wait_until};

/// Makes a user with these rules, and returns the address that logs it in.
fn user(world: &World, name: &str, mut rules: Vec<String>) -> String {
    let set = |rules: &[String]| -> redis::RedisResult<()> {
        let mut set = redis::cmd("ACL");
        set.arg("SETUSER").arg(name).arg("reset").arg("on").arg(">secret").arg(rules).query(&mut world.redis())
    };
    if set(&rules).is_err() {
        // Redis 7.0 does not know it, and does not refuse it either.
        rules.retain(|rule| rule != "+client|setinfo");
        set(&rules).expect("ACL SETUSER");
    }
    format!("{}?user={name}&pass=secret", world.server.url())
}

/// What was refused, to whomever.
fn refused(world: &World) -> Vec<redis::Value> {
    redis::cmd("ACL").arg("LOG").query(&mut world.redis()).expect("ACL LOG")
}

/// Leaves an entry pending under a consumer whose process is gone.
fn leave_pending(world: &World) {
    let mut connection = world.redis();
    redis::cmd("XGROUP")
        .arg("CREATE")
        .arg(STREAM)
        .arg(GROUP)
        .arg("0")
        .arg("MKSTREAM")
        .exec(&mut connection)
        .expect("XGROUP");
    world.add(&[("action", "created"), ("orderId", "left"), ("amount", "1"), ("userId", "u")]);
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP")
        .arg(GROUP)
        .arg("gone-0")
        .arg("STREAMS")
        .arg(STREAM)
        .arg(">")
        .exec(&mut connection)
        .expect("XREADGROUP");
}

#[test]
fn a_worker_with_the_documented_rights_lives_a_whole_life_and_is_refused_nothing() {
    for (name, options) in servers::all() {
        let world = World::with(options);
        let keys = Keys::new(STREAM.into(), GROUP.into());
        let worker = user(
            &world,
            "worker",
            [rights::worker_rules(&keys, name != "redis-6.2"), rights::notifier_rules("notifications:user:*")].concat(),
        );
        let producer = user(&world, "producer", rights::producer_rules(&keys));
        leave_pending(&world);
        let added = world.orderd_at(&producer, &["add", "--count", "200", "--seed", "1"]);
        assert_eq!(added.code, 0, "{name}: {}", added.err);
        // Too early: it fails, and is tried again.
        world.add(&[("action", "paid"), ("orderId", "early"), ("amount", "1")]);
        world.add(&[("nonsense", "1")]);

        let settings = [
            ("redis.url", worker.as_str()),
            ("reaper.claim_after", "500ms"),
            ("reaper.interval", "100ms"),
            ("trimmer.interval", "100ms"),
            ("trimmer.max_len", "10"),
            ("retry.delay_min", "10ms"),
            ("retry.delay_max", "10ms"),
            ("retry.max_failures", "2"),
            ("notify.enabled", "true"),
        ];
        let mut daemon = world.daemon("w", &settings);
        world.wait_until_drained();
        wait_until("the stream is trimmed", || {
            redis::cmd("XLEN").arg(STREAM).query::<u64>(&mut world.redis()).expect("XLEN") <= 10
        });
        assert_eq!(number(&world.ledger(), "SELECT count(*) FROM order_events"), 201, "{name}");
        assert_eq!(world.dead_letters().len(), 2, "{name}");

        // The group is lost, and made again at the watermark.
        redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(GROUP).exec(&mut world.redis()).expect("XGROUP");
        world.add(&[("action", "created"), ("orderId", "late"), ("amount", "1"), ("userId", "u")]);
        wait_until("the event after the loss is applied", || {
            number(&world.ledger(), "SELECT count(*) FROM order_events") == 202
        });
        wait_until("every event is told", || {
            daemon.metric("orderd_notifications_total{outcome=\"sent\"}") == Some(202.0)
        });
        let (status, _) = daemon.stop();
        assert!(status.success(), "{name}: {status}");
        assert_eq!(refused(&world), [], "{name}");
    }
}

#[test]
fn neither_user_can_do_what_it_is_not_there_for() {
    let world = World::new();
    let keys = Keys::new(STREAM.into(), GROUP.into());
    let worker = user(&world, "worker", rights::worker_rules(&keys, true));
    let producer = user(&world, "producer", rights::producer_rules(&keys));
    for (url, command, arguments) in [
        (&worker, "XADD", &["orders:events", "*", "action", "paid"][..]),
        (&worker, "PUBLISH", &["notifications:user:u", "x"]),
        (&worker, "XDEL", &["orders:events", "1-1"]),
        (&worker, "GET", &["session:of-somebody"]),
        (&worker, "FLUSHALL", &[]),
        (&worker, "CONFIG", &["GET", "*"]),
        (&producer, "XRANGE", &["orders:events", "-", "+"]),
        (&producer, "XADD", &["{orders:events}:dead", "*", "a", "b"]),
    ] {
        let client = redis::Client::open(url.as_str()).expect("an address");
        let mut connection = client.get_connection().expect("a login");
        let refused = redis::cmd(command).arg(arguments).exec(&mut connection).expect_err(command);
        assert_eq!(refused.code(), Some("NOPERM"), "{command} {arguments:?}");
    }
}

/// A server that has loaded one of the files in `deploy/redis`, with passwords set as docs/operations.md says. Its default user is left
/// on, for the test itself.
fn with_file(options: Options, file: &str, folder: &Path) -> World {
    let delivered = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/redis").join(file);
    let text = std::fs::read_to_string(delivered).expect("the file");
    let secret = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let text = text.replace("user default off", "user default on nopass ~* &* +@all");
    let text = text.replace("user orderd-worker on", &format!("user orderd-worker on #{secret}"));
    let text = text.replace("user orders-producer on", &format!("user orders-producer on #{secret}"));
    let users = folder.join("users.acl");
    std::fs::write(&users, text).expect("a file");
    World::with(Options { args: vec!["--aclfile".into(), users.into_os_string()], ..options })
}

#[test]
fn the_delivered_files_are_loaded_by_the_servers_they_are_for_and_refuse_nothing_that_is_needed() {
    for (name, options) in servers::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = match name {
            "redis-6.2" => "users-6.2.acl",
            "redis in PATH" => "users-7.0.acl",
            _ => "users-7.2.acl",
        };
        let world = with_file(options, file, folder.path());
        let url = |user: &str| format!("{}?user={user}&pass=secret", world.server.url());
        let added = world.orderd_at(&url("orders-producer"), &["add", "--count", "50", "--seed", "1"]);
        assert_eq!(added.code, 0, "{name}: {}", added.err);
        world.add(&[("nonsense", "1")]);
        let mut daemon = world.daemon("w", &[("redis.url", &url("orderd-worker"))]);
        world.wait_until_drained();
        assert_eq!(world.dead_letters().len(), 1, "{name}");
        assert!(daemon.stop().0.success(), "{name}");
        // A Redis in PATH that is newer than the file asks for the one thing that 7.0 does not know.
        let refused: Vec<String> = refused(&world).iter().map(|entry| format!("{entry:?}")).collect();
        assert!(
            refused.iter().all(|entry| entry.contains("setinfo") && file == "users-7.0.acl"),
            "{name}: {refused:?}"
        );
    }
}
