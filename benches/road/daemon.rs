//! `orderd run`, by its real program and with its default configuration.
//!
//! Owns: the process, its folder, and the end of both.
//! Never: a setting besides where Redis and the ledger are, a free port for the admin server, and what the command line asks for.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::backlog::Desk;
use super::wait::Deadline;

/// How long it may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// So much of its log is shown when something goes wrong.
const LOG_LINES: usize = 12;

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    /// Nothing.
    None,
    /// It is applied to its order in the ledger.
    Ledger,
}

/// A running daemon. Dropped, it is killed.
pub(crate) struct Daemon {
    child: Child,
    handler: Handler,
    log: PathBuf,
    ledger: PathBuf,
    // Last: fields are dropped in this order.
    _folder: TempDir,
}

impl Daemon {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(desk: &Desk<'_>, program: &Path, handler: Handler, set: &[String]) -> anyhow::Result<Self> {
        // Beside what is built, and not where temporary files go: that may be memory, and the ledger is to be on a disk.
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let (log, ledger) = (folder.path().join("orderd.log"), folder.path().join("orderd.db"));
        let mut command = Command::new(program);
        command.arg("run").args(["--instance", "bench", "--redis", &desk.server.url()]);
        command.args(["--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json", "--set"]);
        command.arg(match handler {
            Handler::None => "handler.kind=none".to_owned(),
            Handler::Ledger => format!("ledger.url=sqlite:{}", ledger.display()),
        });
        set.iter().for_each(|assignment| {
            command.args(["--set", assignment]);
        });
        command.env_remove("ORDERD_CONFIG").current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let mut daemon = Self { child, handler, log, ledger, _folder: folder };
        daemon.wait_until_ready().with_context(|| daemon.log())?;
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the last lines of orderd:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }

    /// Whether it did what it was there for.
    pub(crate) fn check(&self, events: u64) -> anyhow::Result<()> {
        if self.handler == Handler::Ledger {
            let ledger = rusqlite::Connection::open(&self.ledger)?;
            let applied: i64 = ledger.query_row("SELECT count(*) FROM order_events", [], |row| row.get(0))?;
            ensure!(u64::try_from(applied)? == events, "the ledger holds {applied} of {events} events");
        }
        Ok(())
    }

    /// Asks for a stop in good order, and waits for it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Deadline::new("the end of orderd", PATIENCE);
        let status = deadline.wait_for("orderd ends", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "orderd ended with {status}; {}", self.log());
        Ok(())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Deadline::new("the start of orderd", PATIENCE);
        deadline.wait_for("orderd is ready", || {
            if let Some(status) = self.child.try_wait()? {
                bail!("orderd ended with {status}");
            }
            Ok(self.admin().filter(|&address| is_ready(address).unwrap_or(false)).map(drop))
        })
    }

    /// The address of its admin server, once it listens.
    fn admin(&self) -> Option<SocketAddr> {
        let log = fs::read_to_string(&self.log).ok()?;
        let line = log.lines().find(|line| line.contains("the admin server listens"))?;
        let (_, rest) = line.split_once("\"address\":\"")?;
        rest.split_once('"')?.0.parse().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Of a process that has ended there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: orderd\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1) == Some("200"))
}
