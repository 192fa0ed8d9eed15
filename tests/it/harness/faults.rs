//! Faults of a disk: a library of a page, compiled by the test and preloaded into a daemon, that lets calls of the C library fail.
//!
//! Owns: switching them on and off while the daemon runs.
//! Never: a change of the program: it meets the same errors as on a disk that fails.

use std::path::PathBuf;
use std::process::Command;

use super::{Daemon, World};

/// Faults for daemons of one world.
pub(crate) struct Faults {
    folder: PathBuf,
    library: PathBuf,
}

impl Faults {
    pub(crate) fn new(world: &World) -> Self {
        let (folder, library) = (world.path("faults"), world.path("faults.so"));
        std::fs::create_dir(&folder).expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/harness/faults.c");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(compiled.expect("a C compiler, which the build needs too").success());
        Self { folder, library }
    }

    /// A daemon that meets these faults.
    pub(crate) fn daemon(&self, world: &World, settings: &[(&str, &str)]) -> Daemon {
        let (folder, library) = (self.folder.to_str().expect("text"), self.library.to_str().expect("text"));
        world.daemon_with("w", &[], settings, &[("ORDERD_FAULTS", folder), ("LD_PRELOAD", library)])
    }

    /// From now on: `fsync`, `fsync-db`, `full` or `readonly`.
    pub(crate) fn begin(&self, fault: &str) {
        std::fs::write(self.folder.join(fault), "").expect("a file");
    }

    pub(crate) fn end(&self, fault: &str) {
        std::fs::remove_file(self.folder.join(fault)).expect("the fault was on");
    }
}
