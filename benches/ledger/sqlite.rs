//! The ledger in an SQLite file, and the reference beside it.

use std::path::PathBuf;
use std::time::Instant;

use orderd::domain::batch::Batch;
use orderd::domain::event::Action;
use orderd::domain::id::UserId;
use orderd::domain::order::Rules;
use orderd::ledger::sqlite::SqliteLedger;
use orderd::ledger::{Ledger, Parts};
use orderd::telemetry::Telemetry;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::store::{Place, Store};
use crate::table::count;

pub(crate) struct Sqlite;

struct File(TempDir);

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn place(&self) -> anyhow::Result<Box<dyn Place>> {
        Ok(Box::new(File(tempfile::tempdir()?)))
    }
}

impl File {
    fn path(&self) -> PathBuf {
        self.0.path().join("orders.db")
    }
}

impl Place for File {
    fn open(&self) -> anyhow::Result<Box<dyn Ledger>> {
        let parts = Parts { rules: Rules::default(), telemetry: Telemetry::new()? };
        Ok(Box::new(SqliteLedger::open(&self.path(), parts)?))
    }

    fn by_hand(&self, batches: &[Batch]) -> anyhow::Result<f64> {
        drop(self.open()?);
        let conn = Connection::open(self.path())?;
        conn.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4096; PRAGMA cache_size = -32768;
             INSERT INTO sources (stream, grp) VALUES ('orders:events', 'order-processors');",
        )?;
        let began = Instant::now();
        for pair in batches.chunks(2) {
            enter(&conn, pair)?;
        }
        let events: usize = batches.iter().map(|batch| batch.len()).sum();
        Ok(count(events as u64) / began.elapsed().as_secs_f64())
    }

    fn bytes(&self) -> anyhow::Result<f64> {
        let conn = Connection::open(self.path())?;
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(count(std::fs::metadata(self.path())?.len()))
    }
}

/// One transaction.
fn enter(conn: &Connection, batches: &[Batch]) -> rusqlite::Result<()> {
    let transaction = conn.unchecked_transaction()?;
    let mut note = conn.prepare_cached("INSERT INTO inbox VALUES (1, ?1, ?2, 0, ?3) ON CONFLICT DO NOTHING")?;
    let mut begin = conn.prepare_cached(
        "INSERT INTO orders (order_id, user_id, state, amount, paid, refunded, version, created_at, updated_at)
         VALUES (?1, ?2, 'created', ?3, '0', '0', 1, ?4, ?4)",
    )?;
    let mut change = conn.prepare_cached(
        "UPDATE orders SET state = ?2, paid = ?3, version = version + 1, updated_at = ?4 WHERE order_id = ?1
         RETURNING number, version",
    )?;
    let mut append = conn.prepare_cached(
        "INSERT INTO history (number, source, ms, sub, action, amount, state, version, applied_at, event_id)
         VALUES (?1, 1, ?2, ?3, ?4, '49.90', ?4, ?5, ?6, NULL)",
    )?;
    let now = 1_764_600_000_000_i64;
    for work in batches.iter().flat_map(|batch| batch.iter()) {
        let event = &work.event;
        let (ms, sub) = (event.entry.id.ms.cast_signed(), event.entry.id.seq.cast_signed());
        note.execute((ms, sub, ms ^ sub))?;
        let (order, action) = (event.order.as_str(), event.action.as_str());
        let (number, version) = if event.action == Action::Created {
            begin.execute((order, event.user.as_ref().map(UserId::as_str), "49.90", now))?;
            (conn.last_insert_rowid(), 1)
        } else {
            change.query_row((order, action, "49.90", now), |row| Ok((row.get(0)?, row.get(1)?)))?
        };
        append.execute((number, ms, sub, action, version, now))?;
    }
    transaction.commit()
}
