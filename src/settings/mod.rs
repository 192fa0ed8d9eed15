//! What the operator wrote, turned into what the code may rely on.
//!
//! Owns: reading the configuration from all its sources, and [`Settings`], in which nothing wrong can stand.
//! Never: a connection, or a mistake that is kept back because another one was found first.

use std::fmt::Write;
use std::time::Duration;

use crate::admin;
use crate::broker::address::Address;
use crate::broker::group::Start;
use crate::domain::decode::FieldNames;
use crate::domain::id::{GroupName, StreamKey};
use crate::domain::notice::Form;
use crate::domain::order::Rules;
use crate::ledger::location::Location;
use crate::task::tuning::Tuning;
use crate::task::{bookkeeper, consumer, lane, reaper};
use crate::telemetry::logging;

mod check;
mod key;
pub mod keys;
mod mistake;
mod password;
mod read;
mod reload;
mod source;
mod tls;

pub use mistake::{ConfigErrors, Mistake};
pub use reload::Changes;
pub use source::{DEFAULT_FILE, Sources, find_file};

/// The configuration, checked. Made by [`load`] only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this worker.
    pub instance: String,
    /// Where Redis is, and the credentials for it.
    pub redis: Address,
    /// What is read.
    pub stream: StreamSettings,
    /// Which field says what.
    pub event: FieldNames,
    /// How it is read.
    pub consumers: consumer::Options,
    /// How events are run.
    pub lanes: lane::Options,
    /// What can be changed while the daemon runs.
    pub tuning: Tuning,
    /// When an entry counts as left behind.
    pub reaper: reaper::Options,
    /// What an event does.
    pub handler: HandlerKind,
    /// Where the ledger is.
    pub ledger: Location,
    /// What may happen to an order there.
    pub rules: Rules,
    /// What is told live.
    pub notify: NotifySettings,
    /// How long it remembers.
    pub bookkeeper: bookkeeper::Options,
    /// Where the admin server listens, and whom it lets in.
    pub admin: admin::Options,
    /// How the daemon speaks.
    pub log: logging::Options,
    /// How long a stop may take.
    pub grace: Duration,
    lines: Vec<read::Line>,
}

/// The stream and the group (the `[stream]` table of the configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// The stream.
    pub key: StreamKey,
    /// The consumer group.
    pub group: GroupName,
    /// Where the group starts when it is made.
    pub start: Start,
}

/// What is told live (the `[notify]` table of the configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySettings {
    /// Whether each settled event is told.
    pub enabled: bool,
    /// How a notice looks.
    pub form: Form,
    /// Whether browsers can watch.
    pub sse: bool,
}

/// Which handler gives events their effect (`handler.kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerKind {
    /// The ledger: exactly once.
    Ledger,
    /// One line of log for each event.
    Log,
    /// Nothing at all.
    None,
}

/// Reads the configuration: defaults, file, credentials, environment, command line, the later over the earlier.
pub fn load(sources: &Sources) -> Result<Settings, ConfigErrors> {
    let merged = source::merge(sources);
    if !merged.complete {
        return Err(ConfigErrors::new(merged.mistakes));
    }
    let mut reader = read::Reader::new(merged);
    match check::settings(&mut reader) {
        Some(settings) if reader.mistakes.is_empty() => Ok(Settings { lines: reader.lines, ..settings }),
        _ => Err(ConfigErrors::new(reader.mistakes)),
    }
}

/// The configuration that is in force, as TOML: every key, with what set it as a comment. Secrets are redacted.
pub fn effective(settings: &Settings) -> String {
    let mut text = String::new();
    let mut table = None;
    for line in &settings.lines {
        if line.key.table() != table {
            table = line.key.table();
            let _ = writeln!(text, "\n[{}]", table.unwrap_or_default());
        }
        let assignment = format!("{} = {}", line.key.leaf(), line.value);
        let _ = writeln!(text, "{assignment:<40} # {}", line.origin);
    }
    text
}

#[cfg(test)]
mod tests;
