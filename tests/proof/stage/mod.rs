//! The stage of a run: a server, workers, a producer, and those who look on.
//!
//! Owns: everything that a run starts, and its end; noting what is done to whom.
//! Never: what is done (`faults`); whether it was borne (`checker`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use orderd::cli::sandbox::Options;

use self::book::Place as Ledger;
use self::clock::Clock;
use self::disk::Disk;
use self::journal::{Journal, now};
use self::proxy::Proxy;
use self::server::{Kind, Servers};
use self::stream::{GROUP, Redis};
use self::worker::{Allowance, Place, Worker};
use crate::checker::record::{Id, Stream, What};
use crate::postgres::{Database, Postgres};

pub(crate) mod book;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod journal;
pub(crate) mod producer;
pub(crate) mod proxy;
pub(crate) mod sampler;
pub(crate) mod server;
pub(crate) mod starvation;
pub(crate) mod stream;
pub(crate) mod worker;

/// How long a worker may take to stop in good order. Its grace is 5 s, and the machine may be busy.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The stage.
pub(crate) struct Stage {
    // First: the workers end before the server does.
    workers: BTreeMap<String, Worker>,
    /// Under which name each worker was started, where that is not its own.
    names: BTreeMap<String, String>,
    pub proxy: Option<Proxy>,
    pub servers: Servers,
    pub redis: Redis,
    pub ledger: Ledger,
    /// What the ledger lies on, where that is a file system of its own.
    pub disk: Option<Disk>,
    /// The clock of the workers, where it can be set.
    pub clock: Option<Clock>,
    pub journal: Journal,
    pub rng: Rng,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    crash_points: &'static [&'static str],
    /// So many crashes at each of the points are enough; 0 for as many as there are.
    enough: usize,
    /// Entries that a consumer of the harness has in its hand.
    pub held: Vec<Id>,
    /// How often the weather has changed.
    pub weathers: usize,
    /// How often the ledger was locked.
    pub locks: usize,
    /// How often something was done that takes turns.
    pub turns: usize,
}

/// What a stage is made of.
#[expect(clippy::struct_excessive_bools, reason = "each is a part of its own")]
pub(crate) struct Props {
    pub journal: Journal,
    pub server: Options,
    pub seed: u64,
    pub kind: Kind,
    pub proxied: bool,
    pub on_postgres: bool,
    pub on_a_small_disk: bool,
    /// Whether the clock of the workers can be set.
    pub with_a_clock: bool,
    pub settings: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Where the workers kill themselves, and how often: `PLACE:0.1`.
    pub crash_points: &'static [&'static str],
    pub enough: usize,
}

impl Stage {
    /// Sets it. `None` where something that it needs is not here.
    pub(crate) fn set(props: Props) -> Option<Self> {
        let servers = Servers::start(props.kind, props.server)?;
        let clock = if props.with_a_clock { Some(Clock::new(props.journal.path("clock"))?) } else { None };
        let disk = props.on_a_small_disk.then(|| Disk::mount(props.journal.path("disk")));
        let ledger = if props.on_postgres {
            Ledger::Postgres(Arc::new(Database::on(Arc::new(Postgres::start()?))))
        } else {
            let path = disk.as_ref().map(|disk| disk.path("orders.db"));
            Ledger::File(path.unwrap_or_else(|| props.journal.path("orders.db")))
        };
        Some(Self {
            workers: BTreeMap::new(),
            names: BTreeMap::new(),
            proxy: props.proxied.then(|| Proxy::start(servers.port())),
            redis: Redis::new(servers.socket()),
            servers,
            ledger,
            disk,
            clock,
            journal: props.journal,
            rng: Rng::with_seed(props.seed),
            settings: props.settings,
            environment: props.environment,
            crash_points: props.crash_points,
            enough: props.enough,
            held: Vec::new(),
            weathers: 0,
            locks: 0,
            turns: 0,
        })
    }

    /// The file of the ledger, where it is one.
    pub(crate) fn ledger_file(&self) -> Option<PathBuf> {
        match &self.ledger {
            Ledger::File(path) => Some(path.clone()),
            Ledger::Postgres(_) => None,
        }
    }

    /// Starts a worker; `instance` is the name that it is to take in the group.
    pub(crate) fn start(&mut self, worker: &str, instance: &str) {
        self.names.insert(worker.to_owned(), instance.to_owned());
        let redis = match &self.proxy {
            Some(proxy) => format!("redis://127.0.0.1:{}", proxy.port()),
            None => self.servers.server.url(),
        };
        let (ledger, log) = (self.ledger.url(), self.journal.path(&format!("{worker}.log")));
        let place = Place { redis: &redis, ledger: &ledger, log: &log };
        let environment = self.environment_of(worker);
        let started = Worker::start(instance, &place, &self.settings, &environment);
        self.workers.insert(worker.to_owned(), started);
        self.journal.note(What::Started { worker: worker.to_owned() });
    }

    /// Starts a worker again that is down.
    pub(crate) fn start_again(&mut self, worker: &str) {
        let instance = self.names.get(worker).cloned().unwrap_or_else(|| worker.to_owned());
        self.start(worker, &instance);
    }

    fn environment_of(&self, worker: &str) -> Vec<(String, String)> {
        let file = |ending: &str| self.journal.path(&format!("{worker}.{ending}")).display().to_string();
        let mut environment = self.environment.clone();
        environment.extend(self.clock.iter().flat_map(Clock::environment));
        environment.push(("ORDERD_WITNESS".to_owned(), file("witness")));
        environment.push(("ORDERD_CRASH_LOG".to_owned(), file("crashes")));
        let points = self.open_crash_points();
        if !points.is_empty() {
            environment.push(("ORDERD_CRASH_AT".to_owned(), points.join(",")));
        }
        environment
    }

    /// The crash points at which there were not enough crashes yet.
    pub(crate) fn open_crash_points(&self) -> Vec<&'static str> {
        let counts = self.crashes();
        let is_open = |point: &&str| {
            let place = point.split(':').next().unwrap_or_default();
            self.enough == 0 || counts.get(place).is_none_or(|count| *count < self.enough)
        };
        self.crash_points.iter().copied().filter(is_open).collect()
    }

    /// How often workers have crashed at each point.
    fn crashes(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for path in self.journal.files("crashes") {
            for place in fs::read_to_string(path).unwrap_or_default().lines() {
                *counts.entry(place.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// Where a worker has crashed last.
    fn last_crash_of(&self, worker: &str) -> String {
        let path = self.journal.path(&format!("{worker}.crashes"));
        fs::read_to_string(path).ok().and_then(|text| Some(text.lines().last()?.to_owned())).unwrap_or_default()
    }

    /// Allows a worker no more than `most` of something; `None` gives it back what it had.
    pub(crate) fn allow(&self, worker: &str, what: Allowance, most: Option<u64>) {
        if let Some(worker) = self.workers.get(worker) {
            worker.allow(what, most);
        }
    }

    /// The workers that are up and not frozen.
    pub(crate) fn up(&self) -> Vec<String> {
        let up = self.workers.iter().filter(|(_, worker)| !worker.is_frozen());
        up.map(|(name, _)| name.clone()).collect()
    }

    /// One of them.
    pub(crate) fn any_up(&mut self) -> Option<String> {
        let up = self.up();
        self.rng.choice(up)
    }

    /// Kills a worker, if it can be with something in its hand.
    pub(crate) fn kill(&mut self, worker: &str) {
        let in_flight = self.wait_for_work(worker);
        if let Some(child) = self.workers.remove(worker) {
            child.kill9();
            self.journal.note(What::Killed { worker: worker.to_owned(), in_flight });
        }
    }

    pub(crate) fn freeze(&mut self, worker: &str) {
        let in_flight = self.wait_for_work(worker);
        if let Some(child) = self.workers.get_mut(worker) {
            child.freeze();
            self.journal.note(What::Frozen { worker: worker.to_owned(), in_flight });
        }
    }

    pub(crate) fn thaw(&mut self, worker: &str) {
        if let Some(child) = self.workers.get_mut(worker).filter(|worker| worker.is_frozen()) {
            child.thaw();
            self.journal.note(What::Thawed { worker: worker.to_owned() });
        }
    }

    /// Stops a worker in good order, and notes what it left.
    pub(crate) fn stop(&mut self, worker: &str) {
        let Some(child) = self.workers.remove(worker) else { return };
        let is_new = child.is_new();
        let status = child.stop(STOP_PATIENCE);
        if status.is_some_and(|status| self.is_crash(status)) {
            let place = self.last_crash_of(worker);
            return self.journal.note(What::Crashed { worker: worker.to_owned(), place });
        }
        let ended_by_the_signal = |status: ExitStatus| is_new && status.signal() == Some(15);
        let ok = status.is_some_and(|status| status.success() || ended_by_the_signal(status));
        let book = self.ledger.open();
        let mark = crate::wait_for("the ledger to answer", || book.mark());
        let left = self.look().map(|stream| self.in_hand(&stream, worker)).unwrap_or_default();
        self.journal.note(What::Stopped { worker: worker.to_owned(), ok, mark, left });
    }

    /// Kills Redis and starts it again, after a while. Of its log, the last `lost` bytes are gone.
    pub(crate) fn kill_server(&mut self, pause: Duration, lost: u64) {
        self.servers.server.kill9().expect("the server can be killed");
        let at = now();
        if lost > 0 {
            let lost = self.servers.lose_the_end_of_its_log(lost);
            self.journal.note(What::Counted { kind: "bytes of the log lost".to_owned(), count: lost });
        }
        self.restart_server(at, pause);
    }

    /// Ends Redis in good order and starts it again, after a while.
    pub(crate) fn stop_server(&mut self, pause: Duration) {
        self.servers.server.stop().expect("the server can be stopped");
        let at = now();
        self.restart_server(at, pause);
    }

    fn restart_server(&mut self, at: u64, pause: Duration) {
        self.pause(pause);
        self.servers.server.restart().expect("the server starts again");
        self.note_restart(at);
    }

    /// What was on the stream before `at` is all that the server in force has of it.
    pub(crate) fn note_restart(&mut self, at: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let newest = loop {
            if let Some(newest) = self.redis.newest_at(at) {
                break newest;
            }
            assert!(Instant::now() < deadline, "the server that has started again answers");
            std::thread::park_timeout(LOOK_AGAIN);
        };
        self.journal.note_at(at, What::ServerRestarted { last_generated: newest });
    }

    /// The stream, however long it takes; `None` while it is not there.
    pub(crate) fn look(&mut self) -> Option<Stream> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(stream) = self.redis.look() {
                return Some(stream);
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        None
    }

    /// Waits, and starts again what ends meanwhile.
    pub(crate) fn pause(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            self.look_after_workers();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left.min(Duration::from_millis(20)));
        }
    }

    /// A random time between the two, in milliseconds.
    pub(crate) fn pause_between(&mut self, least: u64, most: u64) {
        let pause = self.rng.u64(least..=most);
        self.pause(Duration::from_millis(pause));
    }

    /// Brings everything back into order, except for what was destroyed.
    pub(crate) fn calm_down(&mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.set(proxy::Weather::Fine);
        }
        let names: Vec<String> = self.names.keys().cloned().collect();
        for worker in names {
            self.thaw(&worker);
            if !self.workers.contains_key(&worker) {
                self.start_again(&worker);
            }
        }
    }

    /// Waits until everything is delivered and settled but for what the harness holds. Whether that came to be.
    pub(crate) fn drain(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.look_after_workers();
            let held = &self.held;
            let done = self.redis.look().is_some_and(|stream| {
                let group = stream.groups.iter().find(|group| group.name == GROUP);
                group.is_some_and(|group| {
                    group.last_delivered == stream.last_generated
                        && group.pending.iter().all(|pending| held.contains(&pending.id))
                })
            });
            if done {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        false
    }

    fn look_after_workers(&mut self) {
        let ended: Vec<(String, ExitStatus)> =
            self.workers.iter_mut().filter_map(|(name, worker)| Some((name.clone(), worker.ended()?))).collect();
        for (worker, status) in ended {
            let name = worker.clone();
            self.journal.note(if self.is_crash(status) {
                What::Crashed { place: self.last_crash_of(&worker), worker: name }
            } else {
                What::Died { worker: name, status: status.to_string() }
            });
            self.workers.remove(&worker);
            self.start_again(&worker);
        }
    }

    /// A crash point kills from within, and a scenario that sets one expects it.
    fn is_crash(&self, status: ExitStatus) -> bool {
        status.signal() == Some(9) && !self.crash_points.is_empty()
    }

    /// Waits a moment for a worker to have something in its hand; how much it has.
    fn wait_for_work(&mut self, worker: &str) -> u64 {
        let deadline = Instant::now() + Duration::from_millis(500);
        loop {
            let stream = self.redis.look();
            let count = stream.map(|stream| self.in_hand(&stream, worker).len()).unwrap_or_default();
            if count > 0 || Instant::now() > deadline {
                return count as u64;
            }
        }
    }

    fn in_hand(&self, stream: &Stream, worker: &str) -> Vec<Id> {
        let instance = self.names.get(worker).map_or(worker, String::as_str);
        let group = stream.groups.iter().find(|group| group.name == GROUP);
        let pending = group.into_iter().flat_map(|group| &group.pending);
        let own = pending.filter(|held| held.owner.rsplit_once('-').is_some_and(|(name, _)| name == instance));
        own.map(|held| held.id).collect()
    }
}
