//! A second witness, for the proof: what the handler said of each event, in a file of this process alone, beside the ledger and Redis.
//!
//! Owns: the lines, where the variable `ORDERD_WITNESS` names a file, in builds with the feature `crash-points`.
//! Never: in a release: without the feature, nothing of it is compiled.

use std::fmt::Display;
#[cfg(feature = "crash-points")]
use std::{fs::File, io::Write};

/// The witness. It keeps its file open: it has to write even when nothing can be opened any more.
#[derive(Debug)]
pub struct Witness {
    #[cfg(feature = "crash-points")]
    file: Option<File>,
}

#[cfg(feature = "crash-points")]
impl Witness {
    /// The witness of this process, silent where no file is named.
    pub fn new() -> Self {
        let path = std::env::var_os("ORDERD_WITNESS");
        let opened = path.map(|path| File::options().create(true).append(true).open(path));
        let file = opened.and_then(|opened| {
            opened
                .inspect_err(
                    |error| tracing::error!(%error, "there is no witness: what it has not seen will be missed"),
                )
                .ok()
        });
        Self { file }
    }

    /// Writes a line for each event whose effect is in place: its id, whether this call has put it there (`applied`) or found it
    /// there (`known`), and what the event says, for an id may be given out again. Called before anything is acknowledged, with one
    /// write for all of them.
    pub fn say(&mut self, events: impl Iterator<Item = (impl Display, bool, String)>) {
        let Some(file) = &mut self.file else { return };
        let line = |(id, fresh, says)| format!("{id} {} {says}\n", if fresh { "applied" } else { "known" });
        let text: String = events.map(line).collect();
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, "the witness is silent: what it has not seen will be missed");
        }
    }
}

#[cfg(not(feature = "crash-points"))]
impl Witness {
    /// A witness without a file: this build has none.
    #[inline]
    pub fn new() -> Self {
        Self {}
    }

    /// Does nothing.
    #[inline]
    pub fn say(&mut self, _events: impl Iterator<Item = (impl Display, bool, String)>) {}
}

impl Default for Witness {
    fn default() -> Self {
        Self::new()
    }
}
