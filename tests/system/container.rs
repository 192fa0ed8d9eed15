//! The image: built from the Dockerfile as it is, and run with nothing that it does not need.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

use orderd::cli::sandbox::{Options, PrivateServer};

use super::engine::Engine;
use super::harness::{image, repository, run, wait_until};

const IMAGE: &str = "orderd:system-test";
/// The most that the image may weigh, in bytes.
const WEIGHT: u64 = 25_000_000;
const SECRET: &str = "canary-of-redis";

/// A container and the Redis that it works with.
struct Worker {
    engine: Engine,
    redis: PrivateServer,
    name: &'static str,
    added: usize,
}

/// Builds the image; where the base cannot be pulled from, a base of our own stands in for it.
fn build(engine: &Engine) {
    let dockerfile = fs::read_to_string(repository("Dockerfile")).unwrap();
    let version = dockerfile.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).unwrap();
    let base = format!("rust:{version}-bookworm");
    let offline = "ENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true";
    engine.run(&["import", "--change", offline, image("rust.tar").to_str().unwrap(), &base]);
    let context = repository("");
    engine.run(&["build", "--quiet", "--network", "none", "--tag", IMAGE, context.to_str().unwrap()]);
}

impl Worker {
    fn start() -> Self {
        let engine = Engine::start();
        build(&engine);
        let args = ["--requirepass", SECRET, "--appendonly", "yes"].map(Into::into).to_vec();
        let redis = PrivateServer::start(Options { tcp: true, args, ..Options::default() }).unwrap();
        let worker = Self { engine, redis, name: "orderd-system-test", added: 0 };
        worker.remove();
        worker
    }

    /// What an earlier run that was cut off may have left in the folder of the build.
    fn remove(&self) {
        let _ = self.engine.command(&["rm", "--force", "--volumes", self.name]).output();
        let _ = self.engine.command(&["volume", "rm", "--force", "orders"]).output();
    }

    /// Read-only, without a capability, without a way to get one, and by a name that has to be looked up.
    fn run(&self) {
        let url = format!("ORDERD__REDIS__URL=redis://:{SECRET}@shop-redis:{}", self.redis.port().unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let admin = format!("ORDERD__ADMIN__LISTEN={free}");
        let how = ["run", "--detach", "--name", self.name, "--read-only", "--cap-drop", "ALL", "--memory", "256m"];
        let network = ["--network", "host", "--add-host", "shop-redis:127.0.0.1"];
        let rest = ["--security-opt", "no-new-privileges", "--volume", "orders:/var/lib/orderd"];
        self.engine.run(&[&how[..], &network, &rest, &["--env", &url, "--env", &admin, IMAGE]].concat());
    }

    fn inspect(&self, what: &str) -> String {
        self.engine.run(&["inspect", "--format", what, self.name])
    }

    fn wait_until_healthy(&self) {
        wait_until("the container is healthy", || {
            assert_eq!(self.inspect("{{.State.Running}}"), "true", "{}", self.log());
            self.inspect("{{.State.Health.Status}}") == "healthy"
        });
    }

    fn log(&self) -> String {
        let output = self.engine.command(&["logs", self.name]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn add(&mut self, count: usize) {
        let url = format!("{}?pass={SECRET}", self.redis.socket().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
        command.args(["add", "--count", &count.to_string(), "--seed", &self.added.to_string()]);
        run(command.env("ORDERD__REDIS__URL", format!("unix:{url}")).env_remove("ORDERD_CONFIG"));
        self.added += count;
    }

    fn wait_until_all_is_settled(&self) {
        let client = redis::Client::open(format!("unix:{}?pass={SECRET}", self.redis.socket().display())).unwrap();
        let mut connection = client.get_connection().unwrap();
        let ledger = self.engine.volume("orders").join("orderd.db");
        wait_until("everything that was added is settled", || {
            let dead: usize = redis::cmd("XLEN").arg("{orders:events}:dead").query(&mut connection).unwrap();
            let pending = redis::cmd("XPENDING").arg(("orders:events", "order-processors")).query(&mut connection);
            let pending: Vec<redis::Value> = pending.unwrap_or_default();
            let nothing = pending.first() == Some(&redis::Value::Int(0));
            nothing && count(&ledger, "SELECT count(*) FROM order_events") + dead == self.added
        });
        let [all, different] = ["*", "DISTINCT entry_id"].map(|what| format!("SELECT count({what}) FROM order_events"));
        assert_eq!(count(&ledger, &all), count(&ledger, &different), "each once");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the container\n{}", self.log());
        }
        self.remove();
    }
}

fn count(ledger: &std::path::Path, query: &str) -> usize {
    let Ok(connection) = rusqlite::Connection::open(ledger) else { return 0 };
    connection.query_row(query, [], |row| row.get::<_, i64>(0)).map_or(0, |count| usize::try_from(count).unwrap())
}

#[test]
fn the_image_is_small_closed_becomes_healthy_works_and_stops_under_load_without_a_loss() {
    let mut worker = Worker::start();
    small_and_closed(&worker.engine);
    worker.run();
    worker.wait_until_healthy();
    worker.add(500);
    worker.wait_until_all_is_settled();

    worker.add(30_000);
    worker.engine.run(&["stop", "--time", "40", worker.name]);
    assert_eq!(worker.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}"), "0 false", "{}", worker.log());
    assert!(worker.log().contains("\"message\":\"stopped\""), "in good order: {}", worker.log());

    // The same container again: its name, and with it what it had in hand, is its own.
    worker.engine.run(&["start", worker.name]);
    worker.wait_until_all_is_settled();
    assert!(!worker.log().contains(SECRET));
    worker.engine.run(&["stop", "--time", "40", worker.name]);
    assert_eq!(worker.inspect("{{.State.ExitCode}}"), "0", "{}", worker.log());
}

fn small_and_closed(engine: &Engine) {
    let inspect = |what: &str| engine.run(&["image", "inspect", "--format", what, IMAGE]);
    let weight: u64 = inspect("{{.Size}}").parse().unwrap();
    eprintln!("the image weighs {weight} bytes");
    assert!(weight <= WEIGHT, "{weight} bytes");
    assert_eq!(inspect("{{.Config.User}} {{.Config.StopSignal}}"), "65532:65532 SIGTERM");
    assert_eq!(inspect("{{json .Config.Healthcheck.Test}}"), "[\"CMD\",\"/orderd\",\"health\"]");
    let labels: BTreeMap<String, String> = serde_json::from_str(&inspect("{{json .Config.Labels}}")).unwrap();
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert!(labels.contains_key("org.opencontainers.image.licenses"), "{labels:?}");

    let offline = ["run", "--rm", "--read-only", "--network", "none", IMAGE, "check", "--offline"];
    assert!(engine.run(&offline).contains("orders:events"));
    for shell in ["/bin/sh", "/bin/bash", "/bin/busybox"] {
        let words = ["run", "--rm", "--network", "none", "--entrypoint", shell, IMAGE, "-c", "true"];
        assert!(!engine.command(&words).output().unwrap().status.success(), "there is a shell in it: {shell}");
    }
}
