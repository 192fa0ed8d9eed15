//! Where a ledger is.
//!
//! Owns: reading `ledger.url`.
//! Never: opening it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::postgres::address::{Address, BadAddress};

/// The place of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A `SQLite` database file on this host.
    Sqlite(PathBuf),
    /// A Postgres database.
    Postgres(Box<Address>),
}

/// The text is not the place of a ledger. Does not show the text: a password can stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// Another kind of database, or none.
    #[error("not a ledger that orderd knows: it begins neither with `sqlite:` nor with `postgres://`")]
    Kind,
    /// `SQLite`, and not the path of a file.
    #[error(
        "not the path of a file: after `sqlite:` there is nothing, a `//`, or a name that SQLite gives a meaning to"
    )]
    Path,
    /// Postgres, and not an address that can be used.
    #[error(transparent)]
    Address(#[from] BadAddress),
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        if text.starts_with("postgres") {
            return Ok(Self::Postgres(Box::new(text.parse()?)));
        }
        let path = text.strip_prefix("sqlite:").ok_or(BadLocation::Kind)?;
        // An empty name and `:memory:` are databases that end with the process, and `file:` is a URI with options: none of them
        // is a place where a settled event may be kept. `sqlite://host/…` is what other programs write for something else.
        if path.is_empty() || path.starts_with(':') || path.starts_with("//") || path.starts_with("file:") {
            return Err(BadLocation::Path);
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_place_for_a_ledger() {
        for path in ["orderd.db", "/var/lib/orderd/orderd.db", "odd name?.db"] {
            let location: Location = format!("sqlite:{path}").parse().unwrap();
            assert_eq!(location, Location::Sqlite(path.into()));
            assert_eq!(location.to_string(), format!("sqlite:{path}"));
        }
    }

    #[test]
    fn what_would_not_last_or_is_no_file_is_refused() {
        for path in ["", ":memory:", "file:x?mode=memory", "//host/x"] {
            assert_eq!(format!("sqlite:{path}").parse::<Location>(), Err(BadLocation::Path), "{path:?}");
        }
    }

    #[test]
    fn a_database_on_postgres_is_a_place_for_a_ledger_and_its_password_is_not_shown() {
        for scheme in ["postgres", "postgresql"] {
            let location: Location = format!("{scheme}://app:canary@db/orders").parse().unwrap();
            assert_eq!(location.to_string(), "postgres://app:[redacted]@db/orders");
            assert!(!format!("{location:?}").contains("canary"));
        }
        let error = "postgres://app:can@ary@db/orders".parse::<Location>().unwrap_err();
        assert_eq!(error, BadLocation::Address(BadAddress::Form));
    }

    #[test]
    fn another_database_is_refused_without_showing_its_password() {
        for url in ["", "orderd.db", "mysql://app:canary@db/orders", "SQLITE:x"] {
            let error = url.parse::<Location>().unwrap_err();
            assert_eq!(error, BadLocation::Kind, "{url:?}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
