//! A Debian that is booted by systemd, for one test: its own processes, network and files.
//!
//! Owns: the boot, commands inside of it, and its end, by the id of the process that keeps it.
//! Never: the machine that the test runs on; what the guest changes is gone with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::harness::{as_root, image, run, wait_for, wait_until};

/// How long it may take to power off by itself.
const POWER_OFF: Duration = Duration::from_secs(30);

/// A booted machine. Dropped, it is powered off.
pub(crate) struct Guest {
    keeper: Child,
    init: Pid,
    folder: TempDir,
}

impl Guest {
    /// Boots a machine into whose root `prepare` has put what it wants to find there.
    pub(crate) fn boot(prepare: impl FnOnce(&Path)) -> Self {
        as_root();
        let folder = tempfile::Builder::new().prefix("orderd-guest-").tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        run(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(image("guest.tar")));
        fs::write(root.join("etc/machine-id"), "").unwrap();
        prepare(&root);

        let log = File::create(folder.path().join("console.log")).unwrap();
        let mut command = Command::new("systemd-nspawn");
        command.args(["--quiet", "--boot", "--register=no", "--keep-unit", "--private-network", "--directory"]);
        command.arg(&root).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut keeper = command.spawn().unwrap();
        let init = wait_for("the machine to have a first process", || {
            assert!(keeper.try_wait().unwrap().is_none(), "{}", console(folder.path()));
            // The keeper's own helpers come before it, and go again.
            child_of(keeper.id(), "systemd")
        });
        let guest = Self { keeper, init, folder };
        wait_until("the machine has booted", || {
            let state = guest.try_run(&["systemctl", "is-system-running"]);
            ["running", "degraded"].contains(&state.trim())
        });
        guest
    }

    /// A command in the guest, not started yet.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.as_raw_nonzero().to_string(), "-m", "-u", "-i", "-n", "-p", "-C", "--"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(words);
        command
    }

    /// Runs a command that has to work, and returns what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words))
    }

    /// What a command prints, whether or not it works.
    pub(crate) fn try_run(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A file of the guest, as seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join("root").join(inside.trim_start_matches('/'))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- journal of the guest\n{}", self.try_run(&["journalctl", "--no-pager", "-n", "200"]));
            eprintln!("--- its console\n{}", console(self.folder.path()));
        }
        // What systemd takes for the power button (SIGRTMIN+4).
        let _ = Command::new("kill").args(["-s", "RTMIN+4", &self.init.as_raw_nonzero().to_string()]).status();
        let mut off = || self.keeper.try_wait().ok().flatten().is_some();
        let deadline = Instant::now() + POWER_OFF;
        while !off() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        if !off() {
            let _ = kill_process(self.init, Signal::KILL);
            let _ = self.keeper.kill();
        }
        let _ = self.keeper.wait();
    }
}

fn console(folder: &Path) -> String {
    fs::read_to_string(folder.join("console.log")).unwrap_or_default()
}

/// The child of a process that runs this program: in `stat`, the name stands in brackets, and the parent two fields after it.
fn child_of(parent: u32, program: &str) -> Option<Pid> {
    let ids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let Some((before, fields)) = stat.rsplit_once(") ") else { return false };
        let is_child = fields.split(' ').nth(1).and_then(|field| field.parse::<u32>().ok()) == Some(parent);
        is_child && before.ends_with(&format!("({program}"))
    };
    Pid::from_raw(ids.filter(is_it).min()?)
}
