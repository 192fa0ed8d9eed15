//! One worker of several.
//!
//! Owns: the process, its folder, and the end of both.
//! Never: a setting besides where Redis and the ledger are, a name, and a free port for the admin server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::wait::Deadline;
use super::{Work, slow};

/// What the worker with the slow handler says when it is ready.
pub(crate) const READY: &str = "the slow worker is ready";

/// A running worker. Dropped, it is killed.
pub(crate) struct Worker {
    child: std::cell::RefCell<Child>,
    log: PathBuf,
    work: Work,
    _folder: TempDir,
}

impl Worker {
    pub(crate) fn start(work: Work, redis: &str, database: &str, number: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("replica-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let log = folder.path().join("log");
        let instance = format!("bench-{number}");
        let mut command = match work {
            Work::Slow => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([slow::WORD, redis, &instance]);
                command
            }
            Work::Near | Work::Far => {
                let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_orderd")));
                command.args(["run", "--redis", redis, "--instance", &instance]);
                command.args(["--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json"]);
                command.args(["--set", &format!("ledger.url={database}")]);
                command
            }
        };
        command.env_remove("ORDERD_CONFIG").current_dir(folder.path());
        let file = File::create(&log)?;
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("a worker")?;
        Ok(Self { child: child.into(), log, work, _folder: folder })
    }

    pub(crate) fn wait_until_ready(&self, deadline: &Deadline) -> anyhow::Result<()> {
        let sign = match self.work {
            Work::Slow => READY,
            Work::Near | Work::Far => "\"phase\":\"running\"",
        };
        deadline.wait_for("a worker is ready", || {
            if let Some(status) = self.child.borrow_mut().try_wait()? {
                bail!("a worker ended with {status}: {}", self.said());
            }
            Ok(self.said().contains(sign).then_some(()))
        })
    }

    /// Asks for a stop in good order, and waits for it.
    pub(crate) fn stop(self, deadline: &Deadline) -> anyhow::Result<()> {
        // The slow one stops when its input ends; the real one when it is told to.
        drop(self.child.borrow_mut().stdin.take());
        if self.work != Work::Slow {
            kill_process(Pid::from_child(&self.child.borrow()), Signal::TERM)?;
        }
        let status = deadline.wait_for("a worker ends", || Ok(self.child.borrow_mut().try_wait()?))?;
        ensure!(status.success(), "a worker ended with {status}: {}", self.said());
        Ok(())
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Of a process that has ended there is nothing left to end.
        let _ = self.child.get_mut().kill();
        let _ = self.child.get_mut().wait();
    }
}
