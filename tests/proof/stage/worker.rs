//! A worker of the run: the program that is judged, or the loop that it is held against.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// Where a worker finds everything.
pub(crate) struct Place<'a> {
    pub redis: &'a str,
    pub ledger: &'a str,
    pub log: &'a Path,
}

/// What the kernel allows a process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Allowance {
    /// Numbers for open files and connections.
    Files,
    /// The size of a file that it writes.
    FileSize,
}

/// A worker. Dropped, it is killed.
pub(crate) struct Worker {
    child: Child,
    started: Instant,
    frozen: bool,
}

/// The settings of every worker: the usual ones, made faster by a factor of about 60.
const SETTINGS: [&str; 16] = [
    "admin.listen=127.0.0.1:0",
    "log.format=json",
    "consumers.count=2",
    "consumers.batch=64",
    "consumers.block=500ms",
    "consumers.in_flight=512",
    "lanes.count=16",
    "reaper.interval=200ms",
    "reaper.claim_after=1s",
    "trimmer.interval=100ms",
    "trimmer.max_len=300",
    "retry.max_failures=4",
    // Being killed again and again is no fault of the event here.
    "retry.max_crashes=1000",
    "retry.delay_min=1s",
    "retry.delay_max=2s",
    "shutdown.grace=5s",
];

impl Worker {
    pub(crate) fn start(
        instance: &str,
        place: &Place<'_>,
        settings: &[String],
        environment: &[(String, String)],
    ) -> Self {
        let log = File::options().create(true).append(true).open(place.log).expect("a log file");
        // A file that may not grow is an error to be told, and not a signal that ends the process; that is inherited.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_orderd")]);
        command.arg("run").args(["--instance", instance, "--redis", place.redis]);
        for setting in SETTINGS.into_iter().chain(settings.iter().map(String::as_str)) {
            command.args(["--set", setting]);
        }
        command.arg("--set").arg(format!("ledger.url={}", place.ledger));
        command.envs(environment.iter().map(|(name, value)| (name, value))).env_remove("ORDERD_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().expect("a worker starts"), started: Instant::now(), frozen: false }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks for a stop in good order, and waits for it; `None` when it did not come.
    pub(crate) fn stop(mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        None
    }

    /// Whether it has just been started, so that a signal may find it before it has learnt what to do with one.
    pub(crate) fn is_new(&self) -> bool {
        self.started.elapsed() < Duration::from_secs(2)
    }

    pub(crate) fn freeze(&mut self) {
        self.signal(Signal::STOP);
        self.frozen = true;
    }

    pub(crate) fn thaw(&mut self) {
        self.signal(Signal::CONT);
        self.frozen = false;
    }

    /// Allows it no more than `most`; `None` gives it back what it had.
    pub(crate) fn allow(&self, what: Allowance, most: Option<u64>) {
        let resource = match what {
            Allowance::Files => Resource::Nofile,
            Allowance::FileSize => Resource::Fsize,
        };
        // It has inherited what this process may.
        let own = getrlimit(resource);
        let limit = Rlimit { current: most.or(own.current), maximum: own.maximum };
        // It may have ended in this moment.
        let _ = prlimit(Some(Pid::from_child(&self.child)), resource, limit);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    fn signal(&self, signal: Signal) {
        // It may have ended in this moment; whoever looks next sees that.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
