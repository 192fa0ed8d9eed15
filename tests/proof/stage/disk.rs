//! A small disk: a file system of its own for the ledger, which can really be full.
//!
//! Owns: running a scenario in namespaces of its own, where it may mount one without being root outside; filling the disk.
//! Never: a mount that anybody else sees, or that outlives the run.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set in the process that runs inside.
const INSIDE: &str = "ORDERD_PROOF_INSIDE";

/// Room for a ledger and its log, which grows to 64 MiB before it is copied back.
const SIZE: &str = "size=160m";

/// A disk that is mounted.
pub(crate) struct Disk(PathBuf);

/// Whether this process runs inside.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the scenario of this name once more, inside, with this seed; what it says goes to `log`. `None` where the kernel does not let
/// everybody have namespaces of their own.
pub(crate) fn run_inside(scenario: &str, seed: u64, log: &Path) -> Option<()> {
    let unshare = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).arg(program).stdin(Stdio::null());
        command
    };
    let can_mount = unshare(Path::new("mount")).args(["-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null()).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        return None;
    }
    let out = File::create(log).expect("a file for what is said inside");
    let again = out.try_clone().expect("the same file");
    let mut command = unshare(&std::env::current_exe().expect("the path of this program"));
    command.args(["--exact", "--nocapture", "suite::every_fault_is_borne_without_a_violation"]);
    command.env(INSIDE, "1").env("ORDERD_PROOF_ONLY", scenario).env("ORDERD_PROOF_SEED", seed.to_string());
    // Whether the run is valid is seen in its files; here it only has to have been made.
    command.stdout(out).stderr(again).status().expect("a process inside");
    Some(())
}

impl Disk {
    /// Mounts an empty one at `place`.
    pub(crate) fn mount(place: PathBuf) -> Self {
        fs::create_dir(&place).expect("a folder for the disk");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&place).status();
        assert!(mounted.is_ok_and(|status| status.success()), "inside, a file system can be mounted");
        Self(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.path("filler")).expect("a file");
        let zeros = vec![0; 1 << 16];
        loop {
            match filler.write(&zeros) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk is filled: {error}"),
            }
        }
    }

    /// Gives it back.
    pub(crate) fn clear(&self) {
        fs::remove_file(self.path("filler")).expect("the filler goes");
    }
}
