//! Looking at the stream from outside.
//!
//! Owns: connections of the harness's own, and what is read over them.
//! Never: a change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{Connection, RedisResult};

use super::book::Book;
use super::journal::Journal;
use crate::checker::record::{END, Group, HISTORY, Held, Id, LETTERS, Letter, ORDERS, Stream, WITNESS, Witnessed};

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

    /// The newest entry that is not younger than `at`, in milliseconds since the Unix epoch; `0-0` where there is none.
    pub(crate) fn newest_at(&mut self, at: u64) -> Option<Id> {
        let mut look = redis::cmd("XREVRANGE");
        look.arg(STREAM).arg(at).arg("-").arg("COUNT").arg(1);
        let found: Vec<(String, redis::Value)> = self.ask(|connection| look.query(connection)).ok()?;
        Some(found.first().and_then(|(id, _)| id.parse().ok()).unwrap_or(Id { ms: 0, n: 0 }))
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

/// Writes down how everything ended.
pub(crate) fn dump(journal: &Journal, redis: &mut Redis, book: &Book) {
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
    book.events().iter().for_each(|row| history.write(row));
    let mut orders = journal.lines(ORDERS);
    book.orders().iter().for_each(|row| orders.write(row));
    let mut witness = journal.lines(WITNESS);
    for path in journal.files("witness") {
        let worker = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&path).expect("what a worker was told");
        for line in text.lines() {
            // A worker that is killed while it writes leaves a half line, and has acknowledged nothing of it.
            let Some((id, how)) = line.split_once(' ') else { continue };
            let fresh = match how {
                "applied" => true,
                "known" => false,
                _ => continue,
            };
            let Ok(entry) = id.parse() else { continue };
            witness.write(&Witnessed { worker: worker.clone(), entry, fresh });
        }
    }
}

/// Bytes as text in which each character is one byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
