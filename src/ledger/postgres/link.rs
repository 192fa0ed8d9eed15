//! A connection, and the versions of the schema behind it.
//!
//! Owns: connecting, and bringing the schema up to date.
//! Never: a change to what is not a ledger, or to one that is newer than this orderd.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::error::PostgresError;
use super::fault::{self, Connecting};

/// The steps from an empty schema to the present one. `schema_version` counts those that were taken.
const SCHEMA: [&str; 2] = [include_str!("../schema/postgres-1.sql"), include_str!("../schema/postgres-2.sql")];

/// Those who bring the schema up to date take turns by this lock: the letters `ordr`.
pub(super) const MIGRATION: i64 = 0x6f72_6472;

/// How long opening may take, with everything. A server that has stopped takes connections all the same, and says nothing.
const OPENING: Duration = Duration::from_secs(8);

/// What the protocol is called where hands are shaken.
const PROTOCOL: &str = "postgresql";

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection that is being driven. Dropped, it is cut, and the server undoes what was not committed.
pub(super) struct Link {
    /// What statements go through.
    pub(super) client: Client,
    driver: JoinSet<()>,
}

impl Link {
    /// Connects, and makes the ledger or brings it up to date where that is needed.
    pub(super) async fn for_writing(at: &Address) -> Result<Self, PostgresError> {
        let open = async {
            let link = Self::connect(at).await?;
            // A role that may do no more than write needs no more, once the tables are there.
            if link.version(at).await? < newest() {
                link.migrate(at).await?;
            }
            Ok(link)
        };
        in_time(at, open).await
    }

    /// Connects to read; the ledger has to be there.
    pub(super) async fn for_reading(at: &Address) -> Result<Self, PostgresError> {
        let open = async {
            let link = Self::connect(at).await?;
            match link.version(at).await? {
                0 => Err(PostgresError::Missing { at: boxed(at) }),
                _ => Ok(link),
            }
        };
        in_time(at, open).await
    }

    /// Takes leave of the server, so that it does not have to find out.
    pub(super) async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        // The driver ends when it has said goodbye. If it does not, it is cut.
        let _ = tokio::time::timeout(FAREWELL, driver.join_next()).await;
    }

    async fn connect(at: &Address) -> Result<Self, PostgresError> {
        match at.tls() {
            Some(tls) => Self::connect_by(at, MakeRustlsConnect::new(tls.config_for(PROTOCOL))).await,
            // Where TLS is asked for, this refuses to go without.
            None => Self::connect_by(at, NoTls).await,
        }
    }

    async fn connect_by<T>(at: &Address, tls: T) -> Result<Self, PostgresError>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static>,
    {
        let (client, connection) = at.config().connect(tls).await.map_err(|error| no_connection(at, &error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async {
            // Why it ended, every statement that waits is told as well.
            let _ = connection.await;
        });
        Ok(Self { client, driver })
    }

    /// The version of the schema in the database; 0 where there is none.
    async fn version(&self, at: &Address) -> Result<i64, PostgresError> {
        let opening = |error| failed("open", at, &error);
        let look = "SELECT current_setting('server_encoding'), to_regclass('orderd.schema_version') IS NOT NULL,
            EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace('orderd'))";
        let row = self.client.query_one(look, &[]).await.map_err(opening)?;
        let encoding: String = row.try_get(0).map_err(opening)?;
        if encoding != "UTF8" {
            let why = format!("its encoding is {encoding}, and a ledger needs UTF8");
            return Err(PostgresError::NotALedger { at: boxed(at), why });
        }
        match (row.try_get(1).map_err(opening)?, row.try_get(2).map_err(opening)?) {
            (true, _) => {}
            (false, false) => return Ok(0),
            (false, true) => {
                let why = "its schema orderd holds something else".to_owned();
                return Err(PostgresError::NotALedger { at: boxed(at), why });
            }
        }
        let row =
            self.client.query_one("SELECT max(version) FROM orderd.schema_version", &[]).await.map_err(opening)?;
        match row.try_get::<_, Option<i64>>(0).map_err(opening)?.unwrap_or_default() {
            found if found > newest() => Err(PostgresError::NewerSchema { at: boxed(at), found, known: newest() }),
            found => Ok(found),
        }
    }

    /// Brings the schema up to date. Several workers may do this at once: each looks again once it has the lock.
    async fn migrate(&self, at: &Address) -> Result<(), PostgresError> {
        let failed = |error| failed("bring up to date", at, &error);
        self.client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(failed)?;
        self.client.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION]).await.map_err(failed)?;
        let done = self.version(at).await?;
        let steps = SCHEMA.iter().zip(1..).skip(usize::try_from(done).unwrap_or_default());
        for (step, version) in steps {
            self.take(step, version).await.map_err(failed)?;
        }
        self.client.batch_execute("COMMIT").await.map_err(failed)
    }

    async fn take(&self, step: &str, version: i64) -> Result<(), Error> {
        if version == 1 {
            self.found().await?;
        }
        self.client.batch_execute(step).await?;
        self.client.execute("INSERT INTO orderd.schema_version (version) VALUES ($1)", &[&version]).await?;
        Ok(())
    }

    /// Makes the schema, and its book of versions. A schema that an administrator has made and left empty is taken.
    async fn found(&self) -> Result<(), Error> {
        let there = self.client.query_one("SELECT to_regnamespace('orderd') IS NOT NULL", &[]).await?;
        if !there.try_get::<_, bool>(0)? {
            self.client.batch_execute("CREATE SCHEMA orderd").await?;
        }
        let table = "CREATE TABLE orderd.schema_version (
            version bigint PRIMARY KEY, since timestamptz NOT NULL DEFAULT clock_timestamp())";
        self.client.batch_execute(table).await
    }
}

async fn in_time(at: &Address, open: impl Future<Output = Result<Link, PostgresError>>) -> Result<Link, PostgresError> {
    let silent =
        || PostgresError::Unreachable { at: boxed(at), why: format!("it does not answer (waited {OPENING:?})") };
    tokio::time::timeout(OPENING, open).await.unwrap_or_else(|_| Err(silent()))
}

fn newest() -> i64 {
    i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX)
}

fn boxed(at: &Address) -> Box<Address> {
    Box::new(at.clone())
}

fn no_connection(at: &Address, error: &Error) -> PostgresError {
    let (at, why) = (boxed(at), fault::sentence(error));
    match fault::connecting(error) {
        Connecting::Unreachable => PostgresError::Unreachable { at, why },
        Connecting::Denied => PostgresError::Denied { at, why },
        Connecting::Wrong => PostgresError::Failed { doing: "open", at, why },
    }
}

/// The error for something that failed on a connection.
pub(super) fn failed(doing: &'static str, at: &Address, error: &Error) -> PostgresError {
    let (at, why) = (boxed(at), fault::sentence(error));
    match fault::connecting(error) {
        _ if fault::is_denied(error) => PostgresError::Denied { at, why },
        Connecting::Unreachable => PostgresError::Unreachable { at, why },
        _ => PostgresError::Failed { doing, at, why },
    }
}
