//! A Docker engine of the test's own, beside one that the machine may run.
//!
//! Owns: its start without a bridge and without a rule in the firewall, and its end, by its id.
//! Never: the machine's own engine or its socket. What was built stays in the folder of the build, so that a second run is quick.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::harness::{as_root, image, run, wait_until};

/// How long the engine may take to end by itself.
const END: Duration = Duration::from_secs(30);

/// A running engine. Dropped, it ends, and with it every container.
pub(crate) struct Engine {
    daemon: Child,
    data: PathBuf,
    folder: TempDir,
}

impl Engine {
    pub(crate) fn start() -> Self {
        as_root();
        let data = image("rust.tar").with_file_name("docker");
        let folder = tempfile::Builder::new().prefix("orderd-engine-").tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(&data).arg("--exec-root").arg(folder.path().join("exec"));
        command.arg("--pidfile").arg(folder.path().join("pid")).arg("--host").arg(socket(folder.path()));
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let engine = Self { daemon: command.spawn().unwrap(), data, folder };
        wait_until("the engine answers", || engine.command(&["info"]).output().unwrap().status.success());
        engine
    }

    /// A command of the client, not started yet.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        // The distribution's client goes with the distribution's engine; another one may stand before it.
        let ours = Path::new("/usr/bin/docker");
        let mut command = Command::new(if ours.exists() { ours } else { Path::new("docker") });
        command.env("DOCKER_HOST", socket(self.folder.path())).env("DOCKER_BUILDKIT", "1").args(words);
        command
    }

    /// Runs a command of the client that has to work, and returns what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words)).trim().to_owned()
    }

    /// Where a volume lies on this machine.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.data.join("volumes").join(name).join("_data")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the engine's log\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let deadline = Instant::now() + END;
        while self.daemon.try_wait().ok().flatten().is_none() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // It leaves the network of its containers mounted.
        let _ =
            Command::new("umount").arg(self.folder.path().join("exec/netns/default")).stderr(Stdio::null()).status();
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}
