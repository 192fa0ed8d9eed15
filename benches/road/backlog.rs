//! The backlog, and the connection from which everything is set up and watched.
//!
//! Owns: how a whole backlog appears at once. It is filled once, with its group, under a name that nobody watches. For each run the server
//! copies it, and `RENAME` puts the copy in the place of the empty stream: groups travel with a stream, so to a worker that waits
//! there in a blocked read it looks as if all entries had been added in one moment.
//! Never: a worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use orderd::cli::sandbox::PrivateServer;
use redis::{FromRedisValue, Value, cmd};

use super::process;
use super::wait::Deadline;

/// The stream of the default configuration.
pub(crate) const STREAM: &str = "orders:events";
/// The group of the default configuration.
pub(crate) const GROUP: &str = "order-processors";
/// Where dead letters would be.
const DEAD: &str = "{orders:events}:dead";
/// A backlog that is about to appear.
const READY: &str = "bench:ready";
/// So many entries are added in one round trip.
const PIPELINE: u64 = 1_000;
/// An answer that takes longer does not come.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The server, as seen from where all is set up and watched.
pub(crate) struct Desk<'s> {
    pub(crate) server: &'s PrivateServer,
    connection: RefCell<redis::Connection>,
}

/// So many entries in the stream, all of them new to the group.
pub(crate) struct Backlog<'d> {
    desk: &'d Desk<'d>,
    last_id: String,
}

impl<'s> Desk<'s> {
    pub(crate) fn new(server: &'s PrivateServer) -> anyhow::Result<Self> {
        let connection = redis::Client::open(server.url())?.get_connection()?;
        connection.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        Ok(Self { server, connection: RefCell::new(connection) })
    }

    /// The CPU time that the server has used.
    pub(crate) fn server_cpu(&self) -> anyhow::Result<Duration> {
        Ok(process::time(self.server.pid())?.cpu)
    }

    /// Which server this is.
    pub(crate) fn version(&self) -> anyhow::Result<String> {
        let info: String = self.ask(cmd("INFO").arg("server"))?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Ok(match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, version) => format!("Redis {}", version.unwrap_or_default()),
        })
    }

    /// Makes the group on an empty stream, where it is not there yet.
    pub(crate) fn make_group(&self) -> anyhow::Result<()> {
        Ok(self.ask(cmd("XGROUP").arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM"))?)
    }

    /// Waits until a read is blocked at the server: the worker is warm, and has nothing to do.
    pub(crate) fn wait_until_somebody_waits(&self, deadline: &Deadline) -> anyhow::Result<()> {
        deadline.wait_for("a worker waits for entries", || {
            let info: String = self.ask(cmd("INFO").arg("clients"))?;
            let blocked = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
            Ok(blocked.filter(|count| count.trim() != "0").map(drop))
        })
    }

    /// How many dead letters there are.
    pub(crate) fn dead_letters(&self) -> anyhow::Result<u64> {
        Ok(self.ask(cmd("XLEN").arg(DEAD))?)
    }

    /// Takes away what a run has left, the memory of it included, so that the next one does not pay for it. What workers keep beside the
    /// stream goes, too: with a new ledger they would take it for the sign of one that was put back.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        let beside: Vec<String> = self.ask(cmd("KEYS").arg(format!("{{{STREAM}}}:*")))?;
        Ok(self.ask(cmd("DEL").arg(STREAM).arg(DEAD).arg(READY).arg(beside))?)
    }

    fn ask<T: FromRedisValue>(&self, command: &mut redis::Cmd) -> redis::RedisResult<T> {
        command.query(&mut *self.connection.borrow_mut())
    }
}

impl<'d> Backlog<'d> {
    /// Fills the pattern of a backlog of `count` events of `orders` orders, where it is not there yet: all are created, then all are
    /// paid, shipped, delivered, and then refunded bit by bit, so that the ledger can apply each of them.
    pub(crate) fn fill(desk: &Desk<'_>, count: u64, orders: u64, deadline: &Deadline) -> anyhow::Result<()> {
        let key = pattern(count);
        if desk.ask(cmd("EXISTS").arg(&key))? {
            return Ok(());
        }
        let mut at = 0;
        while at < count {
            deadline.check()?;
            let mut adding = redis::pipe();
            for n in at..count.min(at + PIPELINE) {
                let action = match n / orders {
                    0 => "created",
                    1 => "paid",
                    2 => "shipped",
                    3 => "delivered",
                    _ => "refunded",
                };
                let amount = if action == "refunded" { "0.25" } else { "499.90" };
                let add = adding.cmd("XADD").arg(&key).arg("*").arg("action").arg(action);
                add.arg("orderId").arg(format!("order-{}", n % orders)).arg("amount").arg(amount);
                add.arg("userId").arg(format!("user-{}", n % 977)).ignore();
            }
            adding.query::<()>(&mut *desk.connection.borrow_mut())?;
            at += PIPELINE;
        }
        desk.ask::<()>(cmd("XGROUP").arg("CREATE").arg(&key).arg(GROUP).arg("0"))?;
        Ok(())
    }

    /// Copies a pattern to where it can appear from in an instant.
    pub(crate) fn lay_ready(desk: &'d Desk<'d>, count: u64) -> anyhow::Result<Self> {
        desk.ask::<()>(cmd("COPY").arg(pattern(count)).arg(READY).arg("REPLACE"))?;
        let last: Vec<(String, Value)> = desk.ask(cmd("XREVRANGE").arg(READY).arg("+").arg("-").arg("COUNT").arg(1))?;
        let (last_id, _) = last.into_iter().next().context("an empty backlog")?;
        Ok(Self { desk, last_id })
    }

    /// Lets it appear in the place of the stream.
    pub(crate) fn appear(&self) -> anyhow::Result<()> {
        Ok(self.desk.ask(cmd("RENAME").arg(READY).arg(STREAM))?)
    }

    /// Waits until every entry is delivered and acknowledged. The last id is compared, and not `lag`, which Redis 6.2 does not have.
    pub(crate) fn wait_until_drained(&self, deadline: &Deadline) -> anyhow::Result<()> {
        deadline.wait_for("the backlog is drained", || {
            let groups: Vec<HashMap<String, Value>> = self.desk.ask(cmd("XINFO").arg("GROUPS").arg(STREAM))?;
            let drained = groups.iter().any(|group| {
                let pending = group.get("pending").and_then(|value| u64::from_redis_value_ref(value).ok());
                let last = group.get("last-delivered-id").and_then(|value| String::from_redis_value_ref(value).ok());
                pending == Some(0) && last.as_ref() == Some(&self.last_id)
            });
            Ok(drained.then_some(()))
        })
    }
}

fn pattern(count: u64) -> String {
    format!("bench:backlog:{count}")
}
