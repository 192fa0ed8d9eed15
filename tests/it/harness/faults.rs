//! Faults of a disk: a library of a page, compiled by the test and preloaded into a process, that lets calls of the C library fail.
//!
//! Owns: switching them on and off while the process runs.
//! Never: a change of the program: it meets the same errors as on a disk that fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, World};

/// Faults for the processes that are started with [`Faults::environment`].
pub(crate) struct Faults {
    folder: PathBuf,
    library: PathBuf,
}

impl Faults {
    /// For the daemons of a world.
    pub(crate) fn new(world: &World) -> Self {
        Self::within(&world.path(""))
    }

    /// With what it takes in this folder.
    pub(crate) fn within(place: &Path) -> Self {
        let (folder, library) = (place.join("faults"), place.join("faults.so"));
        std::fs::create_dir(&folder).expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/harness/faults.c");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(compiled.expect("a C compiler, which the build needs too").success());
        Self { folder, library }
    }

    /// A daemon that meets these faults.
    pub(crate) fn daemon(&self, world: &World, settings: &[(&str, &str)]) -> Daemon {
        world.daemon_with("w", &[], settings, &self.environment())
    }

    /// What a process needs to meet these faults.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        let (folder, library) = (self.folder.to_str().expect("text"), self.library.to_str().expect("text"));
        [("ORDERD_FAULTS", folder), ("LD_PRELOAD", library)]
    }

    /// From now on, for the ledger's files: `fsync`, `fsync-db`, `full` or `readonly`.
    pub(crate) fn begin(&self, fault: &str) {
        self.begin_on("/orders.db", fault);
    }

    /// From now on, for files whose path contains `part`.
    pub(crate) fn begin_on(&self, part: &str, fault: &str) {
        // In one step: a process may look at any moment.
        let new = self.folder.join("new");
        std::fs::write(&new, part).expect("a file");
        std::fs::rename(new, self.folder.join(fault)).expect("a file");
    }

    pub(crate) fn end(&self, fault: &str) {
        std::fs::remove_file(self.folder.join(fault)).expect("the fault was on");
    }
}
