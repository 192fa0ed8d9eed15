//! What a failed command means.
//!
//! Owns: the table from error replies to what is to be done, matched on the reply's first word alone, since servers differ in the rest.
//! Never: the client library's own text for a reply it could not parse, for that text holds the payload.

use std::io;

use redis::{ErrorKind, RedisError};

use super::stream;

/// A command that failed: what was being done, and what is the matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {trouble}")]
pub struct BrokerError {
    /// What was being done, such as `reading new entries`.
    pub operation: &'static str,
    /// What is the matter.
    pub trouble: Trouble,
}

/// What could not be settled, and why.
#[derive(Debug)]
pub struct Unsettled<T> {
    /// Still to be settled.
    pub what: T,
    /// Why it was not.
    pub error: BrokerError,
}

/// What is the matter, by what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The connection is gone, or no answer came in time: connect again. Whether the command was carried out is not known.
    #[error("Redis cannot be reached ({0})")]
    Unreachable(String),
    /// The server is there and cannot work now: wait. The word is its own.
    #[error("Redis is not ready: {0}")]
    NotReady(String),
    /// The server answers, and refuses every write, so that nothing can be read in a group: wait. The word is its own.
    #[error("Redis takes no writes: {0}")]
    NoWrites(String),
    /// This server is no primary any more: connect again, to whoever is.
    #[error("this Redis is not the primary any more: {0}")]
    NotPrimary(String),
    /// Memory is used up: reading, acknowledging and trimming go on, adding does not.
    #[error("Redis is out of memory: {0}")]
    OutOfMemory(String),
    /// The group, or the whole stream, is gone: make it again.
    #[error("the stream or its group is gone: {0}")]
    GroupGone(String),
    /// The user or the password is wrong.
    #[error("Redis refuses the login: {0}")]
    Denied(String),
    /// The login is right, and a right is missing.
    #[error("a right is missing: {0}")]
    NoPermission(String),
    /// The key holds something that is no stream.
    #[error("the key holds something else than a stream: {0}")]
    WrongType(String),
    /// Another error reply.
    #[error("Redis answered: {0}")]
    Refused(String),
    /// A reply of a shape that this command does not have.
    #[error("a reply of an unknown shape")]
    Reply,
}

/// Error replies that pass by themselves (`redis-facts` B; Redis documentation, "Redis serialization protocol", simple errors).
const NOT_READY: [&str; 5] = ["LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN"];

impl BrokerError {
    pub(crate) fn new(operation: &'static str, error: &RedisError) -> Self {
        Self { operation, trouble: Trouble::of(error) }
    }

    /// There is no way to the server.
    pub(super) fn of_stream(operation: &'static str, error: &io::Error) -> Self {
        Self { operation, trouble: Trouble::Unreachable(stream::reason(error)) }
    }

    pub(crate) fn reply(operation: &'static str) -> Self {
        Self { operation, trouble: Trouble::Reply }
    }

    /// The server's own words, without the mark of an error.
    pub(super) fn said(operation: &'static str, text: &str) -> Self {
        let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
        Self { operation, trouble: Trouble::of_reply(code, detail) }
    }

    pub(crate) fn timed_out(operation: &'static str) -> Self {
        Self { operation, trouble: Trouble::Unreachable("no answer in time".to_owned()) }
    }

    /// Whether the connection that this came over is of no more use.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self.trouble, Trouble::Unreachable(_) | Trouble::NotPrimary(_) | Trouble::Reply)
    }

    /// Whether the server is away, for everything. The connector tells of that. What is refused to writes alone is not: other commands
    /// work meanwhile, and each of them would be taken for a sign that Redis is back.
    pub fn is_away(&self) -> bool {
        matches!(self.trouble, Trouble::Unreachable(_) | Trouble::NotReady(_) | Trouble::Denied(_))
    }

    /// The reason in few words, for readiness and the log.
    pub fn reason(&self) -> String {
        self.trouble.to_string()
    }
}

impl Trouble {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io => Self::Unreachable(stream::reason_of(error)),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Reply,
            ErrorKind::AuthenticationFailed => Self::Denied("the password is wrong".to_owned()),
            _ => match error.code() {
                Some(code) => Self::of_reply(code, error.detail().unwrap_or_default()),
                None => Self::Refused(error.category().to_owned()),
            },
        }
    }

    fn of_reply(code: &str, detail: &str) -> Self {
        if let Some((code, detail)) = inside_script(code, detail) {
            return Self::of_reply(code, detail);
        }
        let text = format!("{code} {detail}").trim_end().to_owned();
        match code {
            // A blocked read that ends by force: on a change of role the connection is closed, too; else the key went away.
            "UNBLOCKED" if detail.contains("instance state") => Self::NotPrimary(text),
            "NOGROUP" | "UNBLOCKED" => Self::GroupGone(text),
            "ERR" if detail.starts_with("no such key") => Self::GroupGone(text),
            "ERR" if detail.starts_with("max number of clients") => Self::NotReady(text),
            "READONLY" | "MOVED" | "ASK" => Self::NotPrimary(text),
            "NOREPLICAS" | "MISCONF" => Self::NoWrites(text),
            "OOM" => Self::OutOfMemory(text),
            "WRONGTYPE" => Self::WrongType(text),
            "NOAUTH" | "WRONGPASS" => Self::Denied(text),
            "NOPERM" => Self::NoPermission(text),
            code if NOT_READY.contains(&code) => Self::NotReady(text),
            _ => Self::Refused(text),
        }
    }
}

/// The error of a command that a script ran. Before 7.0 the server wraps it into one of its own, and it stands behind the last `: -`.
fn inside_script<'a>(code: &str, detail: &'a str) -> Option<(&'a str, &'a str)> {
    if code != "ERR" || !detail.starts_with("Error running script") {
        return None;
    }
    let (_, inner) = detail.rsplit_once(": -")?;
    Some(inner.split_once(' ').unwrap_or((inner, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_by_their_first_word() {
        let of = |reply: &str| {
            let (code, detail) = reply.split_once(' ').unwrap();
            Trouble::of(&redis::make_extension_error(code.to_owned(), Some(detail.to_owned())))
        };
        assert!(matches!(of("NOGROUP No such key 's' or consumer group 'g'"), Trouble::GroupGone(_)));
        assert!(matches!(of("UNBLOCKED the stream key no longer exists"), Trouble::GroupGone(_)));
        assert!(matches!(
            of("UNBLOCKED force unblock from blocking operation, instance state changed"),
            Trouble::NotPrimary(_)
        ));
        assert!(matches!(of("READONLY You can't write against a read only replica."), Trouble::NotPrimary(_)));
        assert!(matches!(of("LOADING Valkey is loading the dataset in memory"), Trouble::NotReady(_)));
        assert!(matches!(of("MISCONF Errors writing to disk"), Trouble::NoWrites(_)));
        assert!(matches!(of("OOM command not allowed"), Trouble::OutOfMemory(_)));
        assert!(matches!(of("NOPERM this user has no permissions"), Trouble::NoPermission(_)));
        assert!(matches!(of("WRONGTYPE Operation against a key"), Trouble::WrongType(_)));
        assert!(matches!(of("ERR max number of clients reached"), Trouble::NotReady(_)));
        assert!(matches!(of("ERR syntax error"), Trouble::Refused(_)));
    }

    #[test]
    fn what_a_command_in_a_script_answered_is_known_on_6_2_too() {
        let of = |inner: &str| {
            let wrapped = format!("Error running script (call to f_6f): @user_script:9: @user_script: 9: {inner}");
            Trouble::of(&redis::make_extension_error("ERR".to_owned(), Some(wrapped)))
        };
        let memory = of("-OOM command not allowed when used memory > 'maxmemory'.");
        assert_eq!(
            memory.to_string(),
            "Redis is out of memory: OOM command not allowed when used memory > 'maxmemory'."
        );
        assert!(matches!(of("-NOGROUP No such key 's' or consumer group 'g'"), Trouble::GroupGone(_)));
        assert!(matches!(of("-READONLY You can't write against a read only replica."), Trouble::NotPrimary(_)));
        assert!(matches!(of("attempt to index a nil value"), Trouble::Refused(_)));
    }

    #[test]
    fn only_what_says_nothing_of_the_connection_keeps_it() {
        let error = |trouble| BrokerError { operation: "testing", trouble };
        assert!(error(Trouble::Unreachable(String::new())).breaks_connection());
        assert!(error(Trouble::NotPrimary(String::new())).breaks_connection());
        assert!(error(Trouble::Reply).breaks_connection());
        assert!(!error(Trouble::NotReady(String::new())).breaks_connection());
        assert!(!error(Trouble::OutOfMemory(String::new())).breaks_connection());
    }

    #[test]
    fn a_server_that_refuses_writes_alone_is_not_away() {
        let error = |trouble| BrokerError { operation: "testing", trouble };
        assert!(error(Trouble::NotReady(String::new())).is_away());
        assert!(!error(Trouble::NoWrites(String::new())).is_away());
        assert!(!error(Trouble::NotPrimary(String::new())).is_away());
    }
}
