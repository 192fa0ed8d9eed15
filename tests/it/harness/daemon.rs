//! The real program, as a child of the test.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{World, wait_for, wait_until};

/// A running `orderd run`. Dropped, it is killed.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(super) fn start(
        world: &World,
        instance: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = world.path(&format!("{instance}-{:016x}.log", fastrand::u64(..)));
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
        command.arg("run").args(arguments).args(["--instance", instance]);
        // As settings, so that a test can give its own, which come later and win.
        command.args(["--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json"]);
        command.env("ORDERD__REDIS__URL", world.server.url());
        command.env("ORDERD__LEDGER__URL", format!("sqlite:{}", world.ledger().display()));
        for (key, value) in settings {
            match *key {
                // With a password in it, an address may not stand on the command line.
                "redis.url" => command.env("ORDERD__REDIS__URL", value),
                "ledger.url" => command.env("ORDERD__LEDGER__URL", value),
                key => command.arg("--set").arg(format!("{key}={value}")),
            };
        }
        command.env_remove("ORDERD_CONFIG").envs(environment.iter().copied());
        let output = File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        Self { child: command.spawn().expect("orderd starts"), log }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The lines of the log that hold `text`.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// How long ago it last wrote to its log.
    pub(crate) fn log_age(&self) -> Duration {
        let written = std::fs::metadata(&self.log).and_then(|file| file.modified()).expect("a log file");
        written.elapsed().unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("the daemon is there to be signalled");
    }

    /// Ends it as a power cut would. What it had written to its log.
    pub(crate) fn kill9(mut self) -> String {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        self.log()
    }

    /// Waits for its end; how it ended, and how long that took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = wait_for("the daemon to end", || self.child.try_wait().expect("wait"));
        (status, began.elapsed())
    }

    /// Asks for a stop in good order, and waits for it.
    pub(crate) fn stop(&mut self) -> (ExitStatus, Duration) {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// The address of the admin server, once it listens.
    pub(crate) fn admin(&self) -> SocketAddr {
        wait_for("the admin server to listen", || {
            let line = self.log_lines("the admin server listens").pop()?;
            let (_, rest) = line.split_once("\"address\":\"")?;
            rest.split_once('"')?.0.parse().ok()
        })
    }

    /// Status and body of a page.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.admin(), path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    /// The sum of a metric over all its labels; `None` where it is not there.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        sum(&self.get("/metrics").1, name)
    }

    pub(crate) fn wait_until_ready(&self) {
        wait_until("the daemon is ready", || self.get("/readyz").0 == 200);
    }

    /// Memory in use, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- log of {}\n{}", self.log.display(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum of a metric over all its labels on a page of metrics; `None` where it is not there.
pub(super) fn sum(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = if rest.starts_with('{') { rest.split_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        value.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

/// One HTTP request.
fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: orderd\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status, body))
}
