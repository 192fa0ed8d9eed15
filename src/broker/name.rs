//! Names.
//!
//! Owns: the lock that makes an instance's name its own, and removing consumers that are gone.
//! Never: a consumer removed while it has anything pending.

use std::time::Duration;

use super::Broker;
use super::error::BrokerError;
use super::keys::Keys;
use super::read::millis;
use super::reply;
use crate::bug;
use crate::domain::id::{ConsumerName, GroupName};

/// How long a name stays locked after the last sign of life of whoever has it. Short, for a worker that was killed and is started again
/// waits for so long until it has its name back, and with it the entries that it had in hand.
pub const LOCK_TIME: Duration = Duration::from_secs(1);

/// The names that are tried, one after the other, before the worker gives up: `web`, `web.2`, …
const MOST_SUFFIXES: u32 = 1000;

/// The lock on a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whether it is ours.
    pub is_ours: bool,
    /// How often entries of this group were handed back: a rise means that there is something to take over at once.
    pub handed_back: u64,
}

/// A consumer of the group, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: ConsumerName,
    /// How many entries it has pending.
    pub pending: u64,
    /// How long ago it last did something.
    pub idle: Duration,
}

impl Broker {
    /// Takes the first free name of `wanted`, `wanted.2`, `wanted.3`, …, and locks it with `token`. `None` when every one is taken.
    pub async fn lock_name(&self, wanted: &str, token: &str) -> Result<Option<String>, BrokerError> {
        for n in 1..=MOST_SUFFIXES {
            let name = if n == 1 { wanted.to_owned() } else { format!("{wanted}.{n}") };
            if self.renew_name(&name, token).await?.is_ours {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Renews the lock on `name`, or takes it where it is free.
    pub async fn renew_name(&self, name: &str, token: &str) -> Result<Lock, BrokerError> {
        self.lock("locking the name", name, token, millis(LOCK_TIME)).await
    }

    /// Gives the lock on `name` up.
    pub async fn release_name(&self, name: &str, token: &str) -> Result<(), BrokerError> {
        self.lock("giving the name up", name, token, 0).await.map(|_| ())
    }

    async fn lock(&self, operation: &'static str, name: &str, token: &str, ms: u64) -> Result<Lock, BrokerError> {
        let mut lock = self.scripts.lock.key(self.keys.instance(name));
        lock.key(self.keys.handed_back()).arg(token).arg(ms);
        let (is_ours, handed_back) = self.commands.script(operation, &lock).await?;
        Ok(Lock { is_ours, handed_back })
    }

    /// Whether a process of this name is alive. A lock that has longer to run than any lock is given was set before the server's clock
    /// stepped back, and was not renewed since.
    pub async fn is_name_locked(&self, name: &str) -> Result<bool, BrokerError> {
        let left: i64 =
            self.commands.query("looking at a name", redis::cmd("PTTL").arg(self.keys.instance(name))).await?;
        Ok(is_alive(left))
    }

    /// Removes a consumer that has nothing pending, in one step. `false` when it has, or does not exist.
    pub async fn remove_consumer(&self, consumer: &ConsumerName) -> Result<bool, BrokerError> {
        if bug::is("remove-without-a-look") {
            let mut remove = redis::cmd("XGROUP");
            remove.arg("DELCONSUMER").arg(self.keys.stream.as_str()).arg(self.keys.group.as_str());
            return self.commands.query("removing a consumer", remove.arg(consumer.as_str())).await;
        }
        let mut remove = self.scripts.remove.key(self.keys.stream.as_str());
        remove.arg(self.keys.group.as_str()).arg(consumer.as_str());
        self.commands.script("removing a consumer", &remove).await
    }

    /// Which of these instances of `group` are alive.
    pub async fn living(&self, group: &GroupName, instances: &[&str]) -> Result<Vec<bool>, BrokerError> {
        const OPERATION: &str = "looking at names";
        let keys = Keys::new(self.keys.stream.clone(), group.clone());
        let mut look = redis::pipe();
        for instance in instances {
            look.cmd("PTTL").arg(keys.instance(instance));
        }
        if instances.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.commands.pipeline(OPERATION, &look).await?;
        let alive =
            replies.iter().map(|reply| if let redis::Value::Int(left) = reply { Some(is_alive(*left)) } else { None });
        alive.collect::<Option<_>>().ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// The consumers of the group.
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>, BrokerError> {
        self.consumers_of(&self.keys.group).await
    }

    /// The consumers of any group of the stream.
    pub async fn consumers_of(&self, group: &GroupName) -> Result<Vec<ConsumerInfo>, BrokerError> {
        const OPERATION: &str = "listing consumers";
        let mut list = redis::cmd("XINFO");
        list.arg("CONSUMERS").arg(self.keys.stream.as_str()).arg(group.as_str());
        let rows = reply::array(self.commands.query(OPERATION, &list).await?);
        rows.ok_or_else(|| BrokerError::reply(OPERATION))
            .map(|rows| rows.into_iter().filter_map(consumer_info).collect())
    }
}

/// Whether a lock with so many milliseconds left is held. One that has longer to run than any lock is given was set before the server's
/// clock stepped back.
fn is_alive(left: i64) -> bool {
    u64::try_from(left).is_ok_and(|left| left <= millis(LOCK_TIME))
}

fn consumer_info(row: redis::Value) -> Option<ConsumerInfo> {
    let (mut name, mut pending, mut idle) = (None, None, None);
    for (field, value) in reply::pairs(row) {
        match field.as_str() {
            "name" => name = reply::text(value).map(ConsumerName::from),
            "pending" => pending = reply::number(&value),
            "idle" => idle = reply::number(&value).map(Duration::from_millis),
            _ => {}
        }
    }
    Some(ConsumerInfo { name: name?, pending: pending?, idle: idle? })
}
