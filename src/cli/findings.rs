//! What `orderd check` finds.
//!
//! Owns: which facts about a server and a ledger are fine, which are worth a warning, and which keep a worker from working.
//! Never: a look of its own; the facts are handed in.

use super::broker_exit;
use super::exit::Exit;
use crate::broker::address::Address;
use crate::broker::error::BrokerError;
use crate::broker::inspect::{Keeping, Place, ServerKind};
use crate::broker::rights::{Missing, Rights};
use crate::broker::survey::Survey;
use crate::ledger::location::Location;
use crate::ledger::postgres;
use crate::ledger::sqlite::probe::{self, Standing};
use crate::settings::Settings;

/// The oldest Redis with everything that a worker needs (`XAUTOCLAIM`).
const OLDEST: (u32, u32) = (6, 2);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What it is about, in a word.
    pub(super) subject: &'static str,
    pub(super) text: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A worker works, and the operator should know.
    Warning,
    /// A worker does not work, and the check ends with this code.
    Error(Exit),
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error(_) => "error",
        }
    }
}

impl Finding {
    pub(super) fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, text: text.into() }
    }

    pub(super) fn warning(subject: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject, text: text.into() }
    }

    pub(super) fn error(subject: &'static str, text: impl Into<String>, exit: Exit) -> Self {
        Self { level: Level::Error(exit), subject, text: text.into() }
    }
}

/// A look at Redis that failed.
pub(super) fn of_error(subject: &'static str, error: &BrokerError) -> Finding {
    Finding::error(subject, error.to_string(), broker_exit(error))
}

pub(super) fn of_server(address: &Address, kind: Result<ServerKind, BrokerError>) -> Finding {
    const SUBJECT: &str = "redis";
    let kind = match kind {
        Ok(kind) => kind,
        Err(error) => return of_error(SUBJECT, &error),
    };
    let ServerKind { name, version, is_primary } = &kind;
    if !is_primary {
        let text = format!("{name} {version} at {address} is a replica, and a worker has to write");
        return Finding::error(SUBJECT, text, Exit::Unavailable);
    }
    if kind.release().is_some_and(|release| release < OLDEST) {
        let text = format!("{name} {version} is too old: 6.2 or newer is needed");
        return Finding::error(SUBJECT, text, Exit::Unavailable);
    }
    Finding::ok(SUBJECT, format!("{name} {version} answers at {address}"))
}

pub(super) fn of_stream(
    settings: &Settings,
    place: Result<Place, BrokerError>,
    survey: Result<Survey, BrokerError>,
) -> Vec<Finding> {
    const SUBJECT: &str = "stream";
    let (key, group) = (&settings.stream.key, &settings.stream.group);
    match place {
        Err(error) => return vec![of_error(SUBJECT, &error)],
        Ok(Place::Other) => {
            let text = format!("the key {key} holds something else than a stream");
            return vec![Finding::error(SUBJECT, text, Exit::Config)];
        }
        Ok(Place::Nothing) => {
            let text =
                format!("there is nothing at {key} yet; the first worker makes the stream and the group {group}");
            return vec![Finding::ok(SUBJECT, text)];
        }
        Ok(Place::Stream) => {}
    }
    let survey = match survey {
        Ok(survey) => survey,
        Err(error) => return vec![of_error(SUBJECT, &error)],
    };
    let stream = Finding::ok(SUBJECT, format!("{key} holds {} entries; dead letters: {}", survey.length, survey.dead));
    let ours = survey.groups.iter().find(|found| found.group == *group);
    let text = match ours {
        None => format!("there is no group {group} yet; the first worker makes it"),
        Some(group) => {
            let lag = group.lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string());
            format!(
                "{} has {} consumers, pending: {}, not delivered: {lag}",
                group.group, group.consumers, group.pending
            )
        }
    };
    vec![stream, Finding::ok("group", text)]
}

pub(super) fn of_rights(rights: Result<Rights, BrokerError>) -> Vec<Finding> {
    const SUBJECT: &str = "rights";
    match rights {
        Err(error) => vec![of_error(SUBJECT, &error)],
        Ok(Rights::Unknown { why }) => vec![Finding::warning(SUBJECT, format!("were not checked: {why}"))],
        Ok(Rights::Known { user, missing }) if missing.is_empty() => {
            vec![Finding::ok(SUBJECT, format!("the user {user} may do everything that a worker does"))]
        }
        Ok(Rights::Known { user, missing }) => missing.iter().map(|missing| of_missing(&user, missing)).collect(),
    }
}

fn of_missing(user: &str, Missing { right, keys }: &Missing) -> Finding {
    let on = if keys.is_empty() { String::new() } else { format!(" on {}", keys.join(" ")) };
    let text = format!("the user {user} may not use {}{on}: {}", right.command, right.why);
    if right.essential { Finding::error("rights", text, Exit::NoPermission) } else { Finding::warning("rights", text) }
}

pub(super) fn of_keeping(keeping: Result<Keeping, BrokerError>) -> Vec<Finding> {
    const SUBJECT: &str = "keeping";
    let keeping = match keeping {
        Ok(keeping) => keeping,
        Err(error) if broker_exit(&error) == Exit::NoPermission => {
            let text = "whether the server keeps what it is given was not checked: the login may not use INFO";
            return vec![Finding::warning(SUBJECT, text)];
        }
        Err(error) => return vec![of_error(SUBJECT, &error)],
    };
    let mut found = Vec::new();
    match keeping.eviction.as_deref() {
        Some("noeviction") | None => {}
        Some(policy) => found.push(Finding::warning(
            SUBJECT,
            format!("maxmemory-policy is {policy}: short of memory, Redis may drop what it holds; noeviction keeps it"),
        )),
    }
    if keeping.append_only == Some(false) {
        let text = "appendonly is off: when Redis ends without notice, what came after its last snapshot is lost";
        found.push(Finding::warning(SUBJECT, text));
    }
    if keeping.eviction.is_none() || keeping.append_only.is_none() {
        found.push(Finding::warning(SUBJECT, "the server does not say how it keeps what it is given"));
    }
    if found.is_empty() {
        found.push(Finding::ok(SUBJECT, "appendonly is on, and nothing is evicted"));
    }
    found
}

pub(super) fn of_ledger(location: &Location) -> Finding {
    const SUBJECT: &str = "ledger";
    let (place, standing) = match location {
        Location::Sqlite(path) => (path.display().to_string(), probe::look(path)),
        Location::Postgres(address) => (address.to_string(), postgres::reader::look(address)),
    };
    match standing {
        Ok(Standing::Ledger) => Finding::ok(SUBJECT, format!("{place} is a ledger of orderd")),
        Ok(Standing::Nothing) => Finding::ok(SUBJECT, format!("{place} can be made")),
        Err(error) => Finding::error(SUBJECT, error.to_string(), super::ledger_exit(&error)),
    }
}
