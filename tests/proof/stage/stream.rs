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
/// Which life of the stream this is, where somebody has ended one; and how many entries were added in it under ids of the producer's own.
pub(crate) const LIFE: &str = "proof:life";
pub(crate) const COUNT: &str = "proof:count";

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
return { stream['length'], first and first[1] or '', stream['last-generated-id'], groups, tonumber(redis.call('GET', KEYS[2]) or 0) }
";

type GroupReply = (String, String, Vec<(String, String, u64, u64)>);
type LookReply = (u64, String, String, Vec<GroupReply>, u64);

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
        Some(found.first().and_then(|(id, _)| id.parse().ok()).unwrap_or(Id { life: 0, ms: 0, n: 0 }))
    }

    /// Whether there is a connection, or one can be had.
    pub(crate) fn is_there(&mut self) -> bool {
        self.ask(|_| Ok(())).is_ok()
    }

    /// The stream as it stands; `None` when it is not there or Redis does not answer.
    pub(crate) fn look(&mut self) -> Option<Stream> {
        let mut look = redis::cmd("EVAL");
        look.arg(LOOK).arg(2).arg(STREAM).arg(LIFE);
        let reply: redis::Value = self.ask(|connection| look.query(connection)).ok()?;
        let (length, first, last, groups, life): LookReply = redis::from_redis_value(reply).ok()?;
        let id = |text: &str| text.parse().ok().map(|id: Id| id.in_life(life));
        let groups = groups.into_iter().map(|(name, last, pending)| {
            let pending =
                pending.into_iter().filter_map(|(entry, owner, _, count)| Some(Held { id: id(&entry)?, owner, count }));
            Some(Group { name, last_delivered: id(&last)?, pending: pending.collect() })
        });
        let groups = groups.collect::<Option<Vec<Group>>>()?;
        Some(Stream { length, first: id(&first), last_generated: id(&last)?, groups })
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
        letters.write(&letter(&fields));
    }
    let mut history = journal.lines(HISTORY);
    book.events().iter().for_each(|row| history.write(row));
    let mut orders = journal.lines(ORDERS);
    book.orders().iter().for_each(|row| orders.write(row));
    let mut witness = journal.lines(WITNESS);
    for path in journal.files("witness") {
        let worker = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&path).expect("what a worker was told");
        // A worker that is killed while it writes leaves a half line, and has acknowledged nothing of it.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            witness_of(&worker, line).iter().for_each(|line| witness.write(line));
        }
    }
}

/// A dead letter, from the names and values of its entry.
pub(crate) fn letter(fields: &[Vec<u8>]) -> Letter {
    let pairs = fields.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1])));
    Letter { fields: pairs.collect(), life: 0 }
}

/// A whole line of a worker's own record. The texts of the producer hold no blanks.
fn witness_of(worker: &str, line: &str) -> Option<Witnessed> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, how, order, action, amount] = words[..] else { return None };
    let fresh = match how {
        "applied" => true,
        "known" => false,
        _ => return None,
    };
    let amount = (amount != "-").then(|| amount.to_owned());
    let (worker, order, action) = (worker.to_owned(), order.to_owned(), action.to_owned());
    Some(Witnessed { worker, entry: id.parse().ok()?, fresh, order, action, amount })
}

/// Bytes as text in which each character is one byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
