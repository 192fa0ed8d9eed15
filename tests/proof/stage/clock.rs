//! A clock for the workers that can be set.
//!
//! Owns: the file that says how far it is off, and what a worker needs to go by it.
//! Never: the clock that measures times: that one goes on as it is.

use std::fs;
use std::path::{Path, PathBuf};

use super::server::LIBRARIES;

/// A clock.
pub(crate) struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// One that is right, kept in `file`. `None` where the library that it takes is not here.
    pub(crate) fn new(file: PathBuf) -> Option<Self> {
        let library = LIBRARIES.iter().map(Path::new).find(|library| library.is_file())?;
        // The one for programs with several threads lies beside it.
        let clock = Self { file, library: library.with_file_name("libfaketimeMT.so.1") };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it: `+1h`, say. The workers see it within a second.
    pub(crate) fn set(&self, offset: &str) {
        fs::write(&self.file, offset).expect("the clock is set");
    }

    /// What a process needs in its environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }
}
