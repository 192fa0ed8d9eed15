//! The stage of a run: a server, workers, a producer, and those who look on.
//!
//! Owns: everything that a run starts, and its end; noting what is done to whom.
//! Never: what is done (`faults`); whether it was borne (`checker`).

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fastrand::Rng;
use orderd::cli::sandbox::{Options, PrivateServer};

use self::journal::{Journal, now};
use self::proxy::Proxy;
use self::stream::{GROUP, Redis};
use self::worker::{Place, Worker};
use crate::checker::record::{Id, Stream, What};

pub(crate) mod journal;
pub(crate) mod producer;
pub(crate) mod proxy;
pub(crate) mod sampler;
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
    pub server: PrivateServer,
    pub redis: Redis,
    pub journal: Journal,
    pub rng: Rng,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    /// Entries that a consumer of the harness has in its hand.
    pub held: Vec<Id>,
    /// How often the weather has changed.
    pub weathers: usize,
}

/// What a stage is made of.
pub(crate) struct Props {
    pub journal: Journal,
    pub server: Options,
    pub seed: u64,
    pub proxied: bool,
    pub settings: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Stage {
    pub(crate) fn set(props: Props) -> Self {
        let mut server = props.server;
        server.tcp = true;
        // Killed, it loses nothing that it has answered.
        server.args.extend(["--appendonly", "yes", "--appendfsync", "always"].map(Into::into));
        let server = PrivateServer::start(server).expect("a redis-server starts");
        Self {
            workers: BTreeMap::new(),
            names: BTreeMap::new(),
            proxy: props.proxied.then(|| Proxy::start(server.port().expect("a port"))),
            redis: Redis::new(server.socket()),
            server,
            journal: props.journal,
            rng: Rng::with_seed(props.seed),
            settings: props.settings,
            environment: props.environment,
            held: Vec::new(),
            weathers: 0,
        }
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.journal.path("orders.db")
    }

    /// Starts a worker; `instance` is the name that it is to take in the group.
    pub(crate) fn start(&mut self, worker: &str, instance: &str) {
        self.names.insert(worker.to_owned(), instance.to_owned());
        let redis = match &self.proxy {
            Some(proxy) => format!("redis://127.0.0.1:{}", proxy.port()),
            None => self.server.url(),
        };
        let (ledger, log) = (self.ledger(), self.journal.path(&format!("{worker}.log")));
        let place = Place { redis: &redis, ledger: &ledger, log: &log };
        let started = Worker::start(instance, &place, &self.settings, &self.environment);
        self.workers.insert(worker.to_owned(), started);
        self.journal.note(What::Started { worker: worker.to_owned() });
    }

    /// Starts a worker again that is down.
    pub(crate) fn start_again(&mut self, worker: &str) {
        let instance = self.names.get(worker).cloned().unwrap_or_else(|| worker.to_owned());
        self.start(worker, &instance);
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
            return self.journal.note(What::Crashed { worker: worker.to_owned() });
        }
        let ended_by_the_signal = |status: ExitStatus| is_new && status.signal() == Some(15);
        let ok = status.is_some_and(|status| status.success() || ended_by_the_signal(status));
        let mark = stream::mark(&stream::open_ledger(&self.ledger()));
        let left = self.look().map(|stream| self.in_hand(&stream, worker)).unwrap_or_default();
        self.journal.note(What::Stopped { worker: worker.to_owned(), ok, mark, left });
    }

    /// Kills Redis and starts it again, after a while.
    pub(crate) fn kill_server(&mut self, pause: Duration) {
        let at = now();
        self.server.kill9().expect("the server can be killed");
        self.pause(pause);
        self.server.restart().expect("the server starts again");
        let Some(stream) = self.look() else { return };
        self.journal.note_at(at, What::ServerRestarted { last_generated: stream.last_generated });
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
                What::Crashed { worker: name }
            } else {
                What::Died { worker: name, status: status.to_string() }
            });
            self.workers.remove(&worker);
            self.start_again(&worker);
        }
    }

    /// A crash point kills from within, and a scenario that sets one expects it.
    fn is_crash(&self, status: ExitStatus) -> bool {
        status.signal() == Some(9) && self.environment.iter().any(|(name, _)| name == "ORDERD_CRASH_AT")
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
