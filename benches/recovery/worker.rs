//! `orderd run`, by its real program.
//!
//! Owns: the process, and its end.
//! Never: a setting besides where Redis and the ledger are, a free port for the admin server, and what the measurement says.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::wait::Deadline;

/// How long it may take to be ready, and to end: a little more than the grace of the default configuration.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much of its log is shown when something goes wrong.
const LOG_LINES: usize = 12;

/// A running daemon. Dropped, it is killed.
pub(crate) struct Worker {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Worker {
    pub(crate) fn start(
        folder: &Path,
        redis: &str,
        ledger: &Path,
        instance: &str,
        set: &[&str],
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{instance}-{:08x}.log", fastrand::u32(..)));
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
        command.arg("run").args(["--instance", instance, "--redis", redis]);
        command.args(["--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json", "--set"]);
        command.arg(format!("ledger.url=sqlite:{}", ledger.display()));
        set.iter().for_each(|assignment| {
            command.args(["--set", assignment]);
        });
        command.env_remove("ORDERD_CONFIG").current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        Ok(Self { child: command.spawn().context("orderd")?, log })
    }

    /// Waits until it says that it is ready.
    pub(crate) fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Deadline::new("the start of orderd", PATIENCE);
        let waited = deadline.wait_for("orderd is ready", || {
            if let Some(status) = self.child.try_wait()? {
                bail!("orderd ended with {status}");
            }
            Ok(self.is_ready().then_some(()))
        });
        waited.with_context(|| self.last_lines())
    }

    /// Whether `/readyz` says so.
    pub(crate) fn is_ready(&self) -> bool {
        self.admin().is_some_and(|address| status_of_readyz(address).is_ok_and(|status| status == "200"))
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks for a stop in good order, and waits for it. Returns the exit code.
    pub(crate) fn stop(&mut self) -> anyhow::Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Deadline::new("the end of orderd", PATIENCE);
        let status = deadline.wait_for("orderd ends", || Ok(self.child.try_wait()?));
        let code = status.with_context(|| self.last_lines())?.code().context("orderd died of a signal")?;
        Ok(u64::try_from(code)?)
    }

    /// How many entries it says it has handed back.
    pub(crate) fn handed_back(&self) -> anyhow::Result<u64> {
        let log = fs::read_to_string(&self.log)?;
        let lines = log.lines().filter(|line| line.contains("handed back unfinished entries"));
        let counts = lines.map(|line| {
            let (_, rest) = line.split_once("\"count\":").with_context(|| line.to_owned())?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().with_context(|| line.to_owned())
        });
        counts.sum()
    }

    /// The end of its log, for an error.
    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the last lines of orderd:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }

    /// The address of its admin server, once it listens.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        let log = fs::read_to_string(&self.log).ok()?;
        let line = log.lines().find(|line| line.contains("the admin server listens"))?;
        let (_, rest) = line.split_once("\"address\":\"")?;
        rest.split_once('"')?.0.parse().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Of a process that has ended there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status_of_readyz(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: orderd\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}
