//! Looking at the stream and the ledger from outside.
//!
//! Owns: connections of the harness's own, and what is read over them.
//! Never: a change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{Connection, RedisResult};
use rusqlite::OpenFlags;

use super::journal::Journal;
use crate::checker::record::{Applied, END, Group, HISTORY, Held, Id, LETTERS, Letter, ORDERS, OrderRow, Stream};

pub(crate) const STREAM: &str = "orders:events";
pub(crate) const DEAD: &str = "{orders:events}:dead";
pub(crate) const GROUP: &str = "order-processors";
pub(crate) const SLOW_GROUP: &str = "slow";

/// The whole state in one step. A group that is missing is left out.
const LOOK: &str = r"
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err then return {} end
local stream = {}
for i = 1, #info, 2 do stream[info[i]] = info[i + 1] end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local groups = {}
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #fields, 2 do group[fields[i]] = fields[i + 1] end
  local pending = redis.call('XPENDING', KEYS[1], group['name'], '-', '+', 50000)
  groups[#groups + 1] = { group['name'], group['last-delivered-id'], pending }
end
return { stream['length'], first and first[1] or '', stream['last-generated-id'], groups }
";

type GroupReply = (String, String, Vec<(String, String, u64, u64)>);
type LookReply = (u64, String, String, Vec<GroupReply>);

/// A connection that is opened again when it was lost.
pub(crate) struct Redis {
    socket: PathBuf,
    open: Option<Connection>,
}

impl Redis {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, open: None }
    }

    /// Does something over the connection; an error closes it.
    pub(crate) fn ask<T>(&mut self, ask: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let connection = match &mut self.open {
            Some(connection) => connection,
            None => self.open.insert(connect(&self.socket)?),
        };
        let answer = ask(connection);
        if answer.as_ref().is_err_and(|error| error.code().is_none()) {
            self.open = None;
        }
        answer
    }

    /// Whether there is a connection, or one can be had.
    pub(crate) fn is_there(&mut self) -> bool {
        self.ask(|_| Ok(())).is_ok()
    }

    /// The stream as it stands; `None` when it is not there or Redis does not answer.
    pub(crate) fn look(&mut self) -> Option<Stream> {
        let mut look = redis::cmd("EVAL");
        look.arg(LOOK).arg(1).arg(STREAM);
        let reply: redis::Value = self.ask(|connection| look.query(connection)).ok()?;
        let (length, first, last, groups): LookReply = redis::from_redis_value(reply).ok()?;
        let groups = groups.into_iter().map(|(name, last, pending)| {
            let pending = pending
                .into_iter()
                .filter_map(|(id, owner, _, count)| Some(Held { id: id.parse().ok()?, owner, count }));
            Some(Group { name, last_delivered: last.parse().ok()?, pending: pending.collect() })
        });
        let groups = groups.collect::<Option<Vec<Group>>>()?;
        Some(Stream { length, first: first.parse().ok(), last_generated: last.parse().ok()?, groups })
    }
}

fn connect(socket: &Path) -> RedisResult<Connection> {
    let client = redis::Client::open(format!("unix:{}", socket.display()))?;
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
    // Longer than anything that is done to the server on purpose.
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    redis::cmd("CLIENT").arg("SETNAME").arg("proof").exec(&mut connection)?;
    Ok(connection)
}

/// The last `seq` of the history; 0 where there is none yet.
pub(crate) fn mark(ledger: &rusqlite::Connection) -> i64 {
    ledger.query_row("SELECT coalesce(max(seq), 0) FROM history", [], |row| row.get(0)).expect("the ledger's mark")
}

pub(crate) fn open_ledger(path: &Path) -> rusqlite::Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let ledger = rusqlite::Connection::open_with_flags(path, flags).expect("the ledger opens");
    ledger.busy_timeout(Duration::from_secs(10)).expect("a time to wait");
    ledger
}

/// Writes down how everything ended.
pub(crate) fn dump(journal: &Journal, redis: &mut Redis, ledger: &rusqlite::Connection) {
    let end = redis.look().expect("the stream at the end");
    journal.object(END, &end);
    let mut letters = journal.lines(LETTERS);
    let dead: Vec<(String, Vec<Vec<u8>>)> = redis
        .ask(|connection| redis::cmd("XRANGE").arg(DEAD).arg("-").arg("+").query(connection))
        .expect("the dead letters");
    for (_, fields) in dead {
        let pairs = fields.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1])));
        letters.write(&Letter { fields: pairs.collect() });
    }
    let mut history = journal.lines(HISTORY);
    let query = "SELECT seq, entry_id, order_id, action, amount, version, applied_at FROM order_events ORDER BY seq";
    each(ledger, query, |row| {
        let entry: String = row.get(1)?;
        let entry: Id = entry.parse().expect("an id");
        let (seq, order, action, amount) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?);
        history.write(&Applied { seq, entry, order, action, amount, version: number(row, 5)?, at: number(row, 6)? });
        Ok(())
    });
    let mut orders = journal.lines(ORDERS);
    each(ledger, "SELECT order_id, refunded, version FROM orders", |row| {
        orders.write(&OrderRow { order: row.get(0)?, refunded: row.get(1)?, version: number(row, 2)? });
        Ok(())
    });
}

fn each(ledger: &rusqlite::Connection, query: &str, mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>) {
    let mut statement = ledger.prepare(query).expect("a query");
    let mut rows = statement.query([]).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        take(row).expect("a row of this form");
    }
}

fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).expect("a number of this column is never negative"))
}

/// Bytes as text in which each character is one byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
