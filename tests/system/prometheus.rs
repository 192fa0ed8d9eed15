//! A real Prometheus: it takes the rules, understands the metrics, and its alerts come and go.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orderd::cli::sandbox::{Options, PrivateServer};
use tempfile::TempDir;

use super::harness::{repository, run};

/// How long something may take to come true: scrapes and rules have their pace.
const DEADLINE: Duration = Duration::from_secs(90);

/// A Redis, a worker on it, and a folder.
struct Shop {
    worker: Child,
    admin: SocketAddr,
    server: PrivateServer,
    _folder: TempDir,
}

impl Shop {
    fn open() -> Self {
        let server = PrivateServer::start(Options::default()).expect("a redis-server starts");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let worker = Command::new(env!("CARGO_BIN_EXE_orderd"))
            .current_dir(folder.path())
            .args(["run", "--set", &format!("redis.url={}", server.url()), "--set", &format!("admin.listen={admin}")])
            .stderr(Stdio::null())
            .spawn()
            .expect("orderd starts");
        let shop = Self { worker, admin, server, _folder: folder };
        wait_until("the worker is ready", || get(admin, "/readyz").is_some_and(|(status, _)| status == 200));
        shop
    }

    fn redis(&self) -> redis::Connection {
        redis::Client::open(self.server.url()).expect("an address").get_connection().expect("a connection")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// A Prometheus that scrapes one worker each second, with the rules that are delivered.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{}]\n\
             scrape_configs:\n  - job_name: orders\n    static_configs: [{{ targets: [\"{target}\"] }}]\n",
            repository("deploy/prometheus/orderd.rules.yml").display()
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a file");
        run(Command::new("promtool").args(["check", "config"]).arg(&file));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts (package prometheus)");
        let prometheus = Self { child, address, _folder: folder };
        wait_until("Prometheus is ready", || get(address, "/-/ready").is_some_and(|(status, _)| status == 200));
        prometheus
    }

    /// The names of the alerts that fire.
    fn firing(&self) -> Vec<String> {
        let Some((200, body)) = get(self.address, "/api/v1/alerts") else { return Vec::new() };
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let alerts = answer["data"]["alerts"].as_array().expect("a list");
        let fires = alerts.iter().filter(|alert| alert["state"] == "firing");
        fires.map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned()).collect()
    }

    /// The value of an expression that has one.
    fn value(&self, expression: &str) -> Option<String> {
        let (_, body) = get(self.address, &format!("/api/v1/query?query={expression}"))?;
        let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
        Some(answer["data"]["result"].get(0)?["value"].get(1)?.as_str()?.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_rules_are_right_and_each_fires_when_it_should() {
    let folder = repository("deploy/prometheus");
    let promtool = |arguments: &[&str]| run(Command::new("promtool").current_dir(&folder).args(arguments));
    promtool(&["check", "rules", "orderd.rules.yml"]);
    promtool(&["test", "rules", "orderd.rules.test.yml"]);
}

#[test]
fn the_metrics_of_a_worker_are_what_prometheus_wants_them_to_be() {
    let shop = Shop::open();
    let (_, page) = get(shop.admin, "/metrics").expect("a page");
    assert!(page.contains("orderd_events_settled_total"), "{page}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs (package prometheus)");
    promtool.stdin.take().expect("its input").write_all(page.as_bytes()).expect("the page is taken");
    let output = promtool.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_alert_fires_at_a_dead_letter_and_is_over_when_somebody_has_seen_to_it() {
    let shop = Shop::open();
    let prometheus = Prometheus::start(shop.admin);
    wait_until("it has seen the worker", || prometheus.value("orderd_dead_letters_waiting").as_deref() == Some("0"));
    assert_eq!(prometheus.firing(), [""; 0]);

    redis::cmd("XADD").arg(("orders:events", "*", "no", "event")).exec(&mut shop.redis()).expect("XADD");
    wait_until("the alert fires", || prometheus.firing() == ["OrderdDeadLetters"]);

    let discard = ["dead", "discard", "--all", "--yes", "--redis", &shop.server.url()];
    run(Command::new(env!("CARGO_BIN_EXE_orderd")).current_dir(Path::new("/")).args(discard));
    wait_until("the alert is over", || prometheus.firing().is_empty());
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// Status and body of a page; `None` where nobody answers.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: orderd\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
