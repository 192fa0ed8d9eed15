//! Tests: a real server on a free port, asked over a plain socket.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::guard::Open;
use super::live::Live;
use super::{AdminError, AdminServer, AdminState, Options, start};
use crate::domain::id::EntryId;
use crate::domain::notice::Form;
use crate::domain::told::Told;
use crate::supervisor::heartbeat::Heartbeats;
use crate::supervisor::phase::Readiness;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{Backlog, BatchHandled, Levels, PhaseChanged, TaskStarted};
use crate::telemetry::metrics::METRICS;

const DEADLINE: Duration = Duration::from_secs(20);

/// A running server, and the ends that the daemon would hold.
struct Scene {
    server: AdminServer,
    telemetry: Telemetry,
    readiness: watch::Sender<Readiness>,
    heartbeats: Arc<Heartbeats>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn listen(listen: SocketAddr) -> Options {
    Options { listen, token: None, open: Open::Nothing }
}

fn any_port() -> Options {
    listen(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn scene() -> Scene {
    let telemetry = Telemetry::new().unwrap();
    let heartbeats = Arc::new(Heartbeats::new());
    let (readiness, seen) = watch::channel(Readiness::default());
    let state =
        AdminState { telemetry: telemetry.clone(), readiness: seen, heartbeats: Arc::clone(&heartbeats), live: None };
    Scene { server: start(any_port(), state).unwrap(), telemetry, readiness, heartbeats }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = connect(address);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: orderd\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl Scene {
    fn get(&self, path: &str) -> Answer {
        ask(self.server.local_addr(), "GET", path)
    }
}

#[test]
fn ready_is_what_the_daemon_says_and_the_reasons_stand_in_the_answer() {
    let scene = scene();
    let answer = scene.get("/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "not ready\n"));

    let reasons = vec!["Redis is away: LOADING".to_owned(), "the database is locked".to_owned()];
    scene.readiness.send_replace(Readiness { ready: false, reasons });
    let answer = scene.get("/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "Redis is away: LOADING\nthe database is locked\n"));

    scene.readiness.send_replace(Readiness { ready: true, reasons: Vec::new() });
    let answer = scene.get("/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ready\n"));
}

#[test]
fn alive_is_that_every_task_makes_progress() {
    let scene = scene();
    let consumer = scene.heartbeats.register("consumer-0", Duration::from_hours(1));
    let answer = scene.get("/livez");
    assert_eq!((answer.status, answer.body.as_str()), (200, "alive\n"));

    let lane = scene.heartbeats.register("lanes", Duration::ZERO);
    let begun = Instant::now();
    let answer = loop {
        let answer = scene.get("/livez");
        if answer.status == 503 || begun.elapsed() > DEADLINE {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.body.as_str()), (503, "lanes: no progress for 0 s\n"));
    drop(lane);
    assert_eq!(scene.get("/livez").status, 200, "a task that has ended is not stalled");
    drop(consumer);
}

#[test]
fn metrics_hold_the_whole_table_and_nothing_else() {
    let scene = scene();
    scene.telemetry.emit(TaskStarted { task: "reaper" });
    scene.telemetry.emit(BatchHandled { handler: "none", events: 3, took: Duration::from_millis(2) });
    let answer = scene.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let named = |prefix: &str| -> BTreeSet<String> {
        let names = answer.body.lines().filter_map(|line| line.strip_prefix(prefix)?.split(' ').next());
        names.map(str::to_owned).collect()
    };
    let known: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!((named("# HELP "), named("# TYPE ")), (known.clone(), known));
    assert!(answer.body.contains("orderd_handler_duration_seconds_bucket{le=\"0.0025\"} 1\n"), "{}", answer.body);
}

#[test]
fn status_says_what_the_daemon_last_said_of_itself() {
    let scene = scene();
    let status = || -> serde_json::Value { serde_json::from_str(&scene.get("/status").body).unwrap() };
    assert_eq!(status()["backlog"], serde_json::Value::Null, "unknown is unknown");

    scene.telemetry.emit(PhaseChanged { phase: "running" });
    scene.telemetry.emit(Levels { in_hand: 12, parked: 2, window: 4096 });
    scene.telemetry.emit(Backlog {
        pending: 14,
        lag: None,
        length: 20,
        oldest_pending: Some(Duration::from_millis(2500)),
        oldest_undelivered: None,
        consumers: 4,
        dead: 1,
    });
    let status = status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["phase"], &status["ready"]), (&"running".into(), &false.into()));
    assert_eq!(status["entries"], serde_json::json!({ "in_hand": 12, "parked": 2, "window": 4096 }));
    assert_eq!((&status["backlog"]["pending"], &status["backlog"]["lag"]), (&14.into(), &serde_json::Value::Null));
    assert_eq!(status["backlog"]["oldest_pending_age_seconds"], 2.5);
}

#[test]
fn there_are_no_other_pages_and_none_that_changes_anything() {
    let scene = scene();
    let index = scene.get("/");
    assert_eq!(index.status, 200);
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert!(index.body.contains(path), "{path}");
        assert_eq!(ask(scene.server.local_addr(), "POST", path).status, 405, "{path}");
        let head = ask(scene.server.local_addr(), "HEAD", path);
        assert_eq!((head.status, head.body.as_str()), (scene.get(path).status, ""), "{path}");
    }
    for path in ["/metric", "/metrics/", "/../etc/passwd", "/status?x=1/.."] {
        let expected = if path.contains('?') { 200 } else { 404 };
        assert_eq!(scene.get(path).status, expected, "{path}");
    }
}

#[test]
fn it_answers_while_the_thread_that_started_it_is_busy() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scene = scene();
        let address = scene.server.local_addr();
        let client = thread::spawn(move || ask(address, "GET", "/livez").status);
        let begun = Instant::now();
        while !client.is_finished() && begun.elapsed() < DEADLINE {
            std::hint::spin_loop();
        }
        assert!(client.is_finished(), "no answer in {DEADLINE:?}");
        assert_eq!(client.join().unwrap(), 200);
    });
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let scene = scene();
    let taken = scene.server.local_addr();
    let (_, seen) = watch::channel(Readiness::default());
    let state = AdminState {
        telemetry: scene.telemetry.clone(),
        readiness: seen,
        heartbeats: Arc::clone(&scene.heartbeats),
        live: None,
    };
    let error = start(listen(taken), state).err().unwrap();
    assert!(matches!(error, AdminError::Listen { .. }));
    let text = error.to_string();
    assert!(text.contains("admin.listen") && text.contains(&taken.to_string()), "{text}");
}

#[test]
fn a_stop_ends_the_server_even_while_a_client_dawdles() {
    let scene = scene();
    let address = scene.server.local_addr();
    let mut dawdler = connect(address);
    dawdler.write_all(b"GET /livez HT").unwrap();
    assert_eq!(scene.get("/livez").status, 200);

    let begun = Instant::now();
    scene.server.stop();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(dawdler.read_to_end(&mut Vec::new()).unwrap_or(0), 0, "the dawdler is hung up on");
}

#[test]
fn a_slow_client_is_cut_off_and_many_of_them_do_not_shut_out_a_probe() {
    let scene = scene();
    let address = scene.server.local_addr();
    let mut slow: Vec<TcpStream> = (0..64).map(|_| connect(address)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").unwrap();
    }
    let begun = Instant::now();
    assert_eq!(scene.get("/livez").status, 200, "as soon as one of them is cut off");
    assert!(begun.elapsed() < DEADLINE);
    // A reset is as good an end as a close.
    for mut stream in slow {
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
}

/// A server whose browsers are told what is sent here.
fn live_scene(clients: usize, heartbeat: Duration) -> (AdminServer, mpsc::Sender<Told>, Telemetry) {
    let telemetry = Telemetry::new().unwrap();
    let (_, readiness) = watch::channel(Readiness::default());
    let (watchers, told) = mpsc::channel(1);
    let template = |text: &str| text.parse().unwrap();
    let form = Form { channel: template("u:{userId}"), kind: template("{action}") };
    let live = Live { told, form, ledger: None, clients, heartbeat };
    let state = AdminState { telemetry: telemetry.clone(), readiness, heartbeats: Arc::default(), live: Some(live) };
    (start(any_port(), state).unwrap(), watchers, telemetry)
}

fn watching(server: &AdminServer, user: &str) -> impl Iterator<Item = String> {
    let mut stream = connect(server.local_addr());
    write!(stream, "GET /users/{user}/orders/events HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    BufReader::new(stream).lines().map_while(Result::ok)
}

#[test]
fn a_browser_that_watches_outlives_the_deadline_of_a_request() {
    let (server, _watchers, _) = live_scene(1, Duration::from_millis(250));
    let mut lines = watching(&server, "u");
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.0 200 OK"));
    let another = watching(&server, "u").next();
    assert_eq!(another.as_deref(), Some("HTTP/1.0 503 Service Unavailable"), "one may watch");
    let alive = lines.filter(|line| line == ": alive").take(24).count();
    assert_eq!(alive, 24, "signs of life for longer than the five seconds of a request");
}

#[test]
fn a_browser_that_takes_nothing_is_cut_off_and_its_neighbour_is_not() {
    let (server, watchers, telemetry) = live_scene(2, Duration::from_hours(1));
    let mut deaf = watching(&server, "deaf");
    let mut neighbour = watching(&server, "neighbour");
    for lines in [&mut deaf, &mut neighbour] {
        assert!(lines.any(|line| line == "retry: 2000"), "it watches");
    }
    let notice = |user: &str, seq, text: String| Told::Notice { user: user.into(), entry: EntryId::new(1, seq), text };
    let cut = || telemetry.render().contains("orderd_live_clients_cut_total 1\n");
    let deadline = Instant::now() + DEADLINE;
    let mut sent = 0;
    while !cut() {
        assert!(Instant::now() < deadline, "not cut off after {sent} notices that were not taken");
        sent += 1;
        watchers.blocking_send(notice("deaf", sent, "x".repeat(64 * 1024))).unwrap();
    }
    watchers.blocking_send(notice("neighbour", 1, "{}".to_owned())).unwrap();
    assert!(neighbour.any(|line| line == "data: {}"));
    // It gets what waited for it, and then the end.
    let heard = deaf.filter(|line| line.starts_with("data: ")).count() as u64;
    assert!(heard < sent, "{heard} of {sent}");
}
