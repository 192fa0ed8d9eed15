//! Postgres's errors.
//!
//! Owns: what each means for a transaction, and a sentence for it.
//! Never: the text of a refused value; where a message of the server could hold one, only its code is passed on.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::domain::outcome::Failure;
use crate::tls;

/// The index that holds what producers call their events.
const EVENT_IDS: &str = "history_by_event_id";

/// Why a transaction did not go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Another session was in the way; the same again may go through at once.
    Crossed(String),
    /// A generation of a stream begins with it: no other worker may note entries of that stream meanwhile.
    Alone,
    /// The connection is gone, before the commit was asked for: nothing has happened.
    Lost(String),
    /// The connection is gone, after the commit was asked for: it has happened, or it has not.
    InDoubt(String),
    /// Postgres does not take what an event carries.
    Refused {
        /// Its reason, as a code of five letters and digits.
        code: String,
        /// Whether it is a rule that somebody has put on the tables, and may take away again.
        by_rule: bool,
    },
    /// The hook does not take what an event carries.
    Declined(Failure),
    /// The database cannot be written to, whatever the events are.
    Away(String),
}

impl Fault {
    /// For an operator.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Crossed(why) | Self::Lost(why) | Self::InDoubt(why) | Self::Away(why) => why.clone(),
            Self::Declined(failure) => failure.message().to_owned(),
            Self::Alone => "another generation of the stream begins".to_owned(),
            Self::Refused { code, by_rule: true } => format!("a rule of the database refuses the event ({code})"),
            Self::Refused { code, by_rule: false } => format!("Postgres cannot hold what the event carries ({code})"),
        }
    }

    /// For an error of the commit itself: only a plain error of the server says that it has not happened.
    pub(super) fn of_commit(error: &Error) -> Self {
        match Self::from(error) {
            Self::Lost(why) => Self::InDoubt(why),
            known => known,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let Some(answer) = error.as_db_error() else {
            return Self::Lost(sentence(error));
        };
        // The session ends with these.
        if matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            return Self::Lost(sentence(error));
        }
        match answer.code() {
            &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => Self::Crossed(sentence(error)),
            // Another worker has applied the same event of the producer's, by another entry.
            &SqlState::UNIQUE_VIOLATION if answer.constraint() == Some(EVENT_IDS) => Self::Crossed(sentence(error)),
            // A statement that was prepared before somebody changed the tables, or is not known any more behind a pooler:
            // a new connection prepares it again.
            &SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME => Self::Lost(sentence(error)),
            code => match code.code().get(..2) {
                Some("22" | "54") => Self::Refused { code: code.code().to_owned(), by_rule: false },
                Some("23" | "44" | "P0") => Self::Refused { code: code.code().to_owned(), by_rule: true },
                _ => Self::Away(sentence(error)),
            },
        }
    }
}

/// What kind of trouble there is with a connection that could not be made.
pub(super) enum Connecting {
    /// It may pass by itself.
    Unreachable,
    /// The server knows us, and says no.
    Denied,
    /// There is no such database, or something else that does not pass by itself.
    Wrong,
}

/// Why there is no connection.
pub(super) fn connecting(error: &Error) -> Connecting {
    let Some(answer) = error.as_db_error() else {
        let by_network = error.source().is_none_or(<dyn std::error::Error>::is::<io::Error>);
        // All else is found out on this side: a password that is asked for and not there, say.
        return if by_network { Connecting::Unreachable } else { Connecting::Denied };
    };
    match answer.code().code().get(..2) {
        Some("28" | "42") => Connecting::Denied,
        Some("08" | "53" | "57") => Connecting::Unreachable,
        _ => Connecting::Wrong,
    }
}

/// Whether the server denies what is needed.
pub(super) fn is_denied(error: &Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// What is the matter, for an operator.
pub(super) fn sentence(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(answer), _) => of_server(answer),
        (None, Some(cause)) => {
            let tls = cause.downcast_ref().and_then(tls::sentence);
            tls.unwrap_or_else(|| format!("{error}: {cause}"))
        }
        (None, None) => error.to_string(),
    }
}

fn of_server(answer: &DbError) -> String {
    match *answer.code() {
        SqlState::LOCK_NOT_AVAILABLE => "another session has held a lock for too long".to_owned(),
        SqlState::DISK_FULL => "there is no room left for it".to_owned(),
        SqlState::READ_ONLY_SQL_TRANSACTION => "it may only be read".to_owned(),
        _ => format!("{} ({})", answer.message(), answer.code().code()),
    }
}
