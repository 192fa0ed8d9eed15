//! Opening the file.
//!
//! Owns: the settings of a connection, and the versions of the schema.
//! Never: a change to a file that is not a ledger, or to one that is newer than this orderd.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};

use super::lock::{self, PATIENCE};
use super::{failed, fault};
use crate::ledger::error::LedgerError;

/// The steps from an empty file to the present schema. `PRAGMA user_version` counts those that were taken.
const SCHEMA: [&str; 4] = [
    include_str!("../schema/sqlite-1.sql"),
    include_str!("../schema/sqlite-2.sql"),
    include_str!("../schema/sqlite-3.sql"),
    include_str!("../schema/sqlite-4.sql"),
];

/// The log is copied back after so many pages (256 MiB) instead of 1,000: fewer, longer copies are faster. A page that many events touch,
/// as those of an index over ids without an order of their own, is copied once for all of them.
const LOG_PAGES: i32 = 65_536;

/// Marks a file as a ledger of orderd: the letters `ordr`.
const APPLICATION_ID: i64 = 0x6f72_6472;

/// The writer's connection. Makes the file and the tables where there are none. Sets `log_failed` when the disk does not take what is
/// copied from the log into the file.
pub(super) fn for_writing(path: &Path, log_failed: &Arc<AtomicBool>) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = connect(path, flags)?;
    // Before anything is changed: a file of somebody else stays as it is.
    version(&conn, path)?;
    settle(&mut conn, path, Arc::clone(log_failed))?;
    migrate(&conn, path)?;
    // From here on `lock` does the waiting.
    conn.busy_timeout(Duration::ZERO).map_err(|error| failed("open", path, &error))?;
    Ok(conn)
}

/// A reader's connection. Changes nothing and makes nothing.
pub(super) fn for_reading(path: &Path) -> Result<Connection, LedgerError> {
    if !path.exists() {
        return Err(LedgerError::Missing { path: path.to_owned() });
    }
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    if version(&conn, path)? == 0 {
        return Err(LedgerError::NotALedger { path: path.to_owned(), why: "it is empty" });
    }
    Ok(conn)
}

/// The version of the schema in the file at `path`, 0 for an empty one. Makes no file, whatever there is beside it.
pub(super) fn version_at(path: &Path) -> Result<i64, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if beside(path, "-wal").exists() {
        return version(&connect(path, flags)?, path);
    }
    // Nobody has it open, or the log of changes would be there. A reader of a file that may change makes that log itself.
    let conn = Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI);
    version(&conn.map_err(|error| cannot_open(path, &error))?, path)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The address of a file that SQLite may take for one that does not change.
fn immutable(path: &Path) -> OsString {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").into_bytes()),
            other => uri.push(*other),
        }
    }
    uri.extend(b"?immutable=1");
    OsString::from_vec(uri)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
    let opened = Connection::open_with_flags(path, flags).and_then(|conn| {
        conn.busy_timeout(PATIENCE)?;
        Ok(conn)
    });
    opened.map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let why = match folder {
        _ if path.is_dir() => "it is a folder".to_owned(),
        Some(folder) if !folder.is_dir() => format!("there is no folder {}", folder.display()),
        _ => fault::sentence(error),
    };
    LedgerError::CannotOpen { path: path.to_owned(), why }
}

/// How a writer's connection behaves.
fn settle(conn: &mut Connection, path: &Path, log_failed: Arc<AtomicBool>) -> Result<(), LedgerError> {
    let opening = |error| failed("open", path, &error);
    if conn.is_readonly("main").map_err(opening)? {
        return Err(LedgerError::CannotOpen { path: path.to_owned(), why: "it may only be read".to_owned() });
    }
    // Two processes that both do this to a new file can be in each other's way, and SQLite does not wait here.
    let set_wal = || conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
    if lock::patiently(PATIENCE, set_wal).map_err(opening)? != "wal" {
        let why = "it lies where no write-ahead log is possible: memory, or a network file system".to_owned();
        return Err(LedgerError::CannotOpen { path: path.to_owned(), why });
    }
    // FULL: a commit is on the disk before it returns. fullfsync: macOS needs it for that; elsewhere it does nothing.
    let settings =
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -32768;";
    conn.execute_batch(settings).map_err(opening)?;
    let copy_back = move |log: &mut Wal, pages: i32| {
        copy_back(log, pages, &log_failed);
        Ok(())
    };
    conn.wal_hook(Some(copy_back)).map_err(opening)
}

/// Copies the log back into the file once it is long enough. SQLite would do so by itself, and keep to itself that it failed; the
/// commit that calls this does not hand on an error either, not its kind.
fn copy_back(log: &mut Wal, pages: i32, failed: &AtomicBool) {
    // In the way of another process, or without room, it is left to the next commit.
    if pages >= LOG_PAGES && log.checkpoint().is_err_and(|error| fault::is_final(&error)) {
        failed.store(true, Ordering::Relaxed);
    }
}

/// Brings the schema up to date. Several processes may do this at once: each looks again once it has the lock.
fn migrate(conn: &Connection, path: &Path) -> Result<(), LedgerError> {
    if version(conn, path)? == newest() {
        // Nothing to do, so nobody who holds the lock is waited for: the daemon starts, and says that the ledger is locked.
        return Ok(());
    }
    let failed = |error| failed("bring up to date", path, &error);
    let begun = lock::begin(conn, PATIENCE).map_err(failed)?;
    let done = version(conn, path)?;
    let steps = SCHEMA.iter().skip(usize::try_from(done).unwrap_or_default());
    take(&begun.transaction, steps).and_then(|()| begun.transaction.commit()).map_err(failed)
}

fn take<'s>(transaction: &Transaction<'_>, steps: impl Iterator<Item = &'s &'s str>) -> rusqlite::Result<()> {
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest())
}

/// The version of the schema in the file; 0 for an empty file.
fn version(conn: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let sql = "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
        FROM pragma_user_version, pragma_application_id";
    let read = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let foreign = |why| LedgerError::NotALedger { path: path.to_owned(), why };
    let (version, application, tables): (i64, i64, i64) = read.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => foreign("it is no SQLite database"),
        _ => failed("open", path, &error),
    })?;
    match (application, version, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION_ID, found, _) if found > newest() => {
            Err(LedgerError::NewerSchema { path: path.to_owned(), found, known: newest() })
        }
        (APPLICATION_ID, found, _) => Ok(found),
        _ => Err(foreign("it is an SQLite database of something else")),
    }
}

fn newest() -> i64 {
    i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX)
}
