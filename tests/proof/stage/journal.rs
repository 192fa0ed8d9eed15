//! The files of a run, as they are written.
//!
//! Owns: the folder of the run, and the clock that everything in it is dated by.
//! Never: a judgement of what it writes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::Serialize;

use crate::checker::record::{FACTS, Fact, What};

/// Writes the files of one run. Clones write to the same.
#[derive(Clone)]
pub(crate) struct Journal {
    folder: Arc<PathBuf>,
    facts: Arc<Mutex<File>>,
}

/// A file with one object a line.
pub(crate) struct Lines(File);

impl Journal {
    /// Begins anew in `folder`.
    pub(crate) fn begin(folder: &Path) -> Self {
        if folder.exists() {
            fs::remove_dir_all(folder).expect("the files of the run before can be removed");
        }
        fs::create_dir_all(folder).expect("a folder for the run");
        let facts = File::create(folder.join(FACTS)).expect("a file for the facts");
        Self { folder: Arc::new(folder.to_owned()), facts: Arc::new(Mutex::new(facts)) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Notes a fact that has just come true.
    pub(crate) fn note(&self, what: What) {
        self.note_at(now(), what);
    }

    pub(crate) fn note_at(&self, at: u64, what: What) {
        let line = serde_json::to_string(&Fact { at, what }).expect("a fact can be written as JSON");
        writeln!(self.facts.lock().expect("no writer panicked"), "{line}").expect("a fact is written");
    }

    /// Counts something that was done.
    pub(crate) fn injected(&self, kind: &str) {
        self.note(What::Injected { kind: kind.to_owned() });
    }

    pub(crate) fn object<T: Serialize>(&self, name: &str, object: &T) {
        let text = serde_json::to_string_pretty(object).expect("it can be written as JSON");
        fs::write(self.path(name), text).expect("it is written");
    }

    /// The files of the run that end so.
    pub(crate) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(&*self.folder).expect("the folder of the run");
        let files = files.map(|file| file.expect("a file of the run").path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
    }

    pub(crate) fn lines(&self, name: &str) -> Lines {
        Lines(File::create(self.path(name)).expect("a file of the run"))
    }
}

impl Lines {
    pub(crate) fn write<T: Serialize>(&mut self, record: &T) {
        let line = serde_json::to_string(record).expect("it can be written as JSON");
        writeln!(self.0, "{line}").expect("a line is written");
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_millis()).expect("a clock of this age")
}
