//! Looking at a server before a worker is let loose on it.
//!
//! Owns: what kind of server it is, what stands at the key of the stream, and whether the server keeps what it is given.
//! Never: a change of anything; a judgement (who asks judges).

use redis::Value;

use super::Broker;
use super::error::{BrokerError, Trouble};
use super::reply;

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKind {
    /// `redis` or `valkey`, say.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it is a primary; a replica takes no writes.
    pub is_primary: bool,
}

/// What stands at the key of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing.
    Nothing,
    /// A stream.
    Stream,
    /// Something else.
    Other,
}

/// How the server keeps what it is given. `None` is what it did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    /// What it throws away when memory is short: `maxmemory-policy`.
    pub eviction: Option<String>,
    /// Whether it writes each change to a file: `appendonly`.
    pub append_only: Option<bool>,
}

impl ServerKind {
    /// Major and minor version, where the version begins with them.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

impl Broker {
    /// Asks what kind of server this is. Every login may ask that.
    pub async fn server_kind(&self) -> Result<ServerKind, BrokerError> {
        const OPERATION: &str = "asking what server this is";
        let reply: Value = self.commands.query(OPERATION, &redis::cmd("HELLO")).await?;
        let (mut name, mut version, mut role) = (None, None, None);
        for (field, value) in reply::pairs(reply) {
            match field.as_str() {
                "server" => name = reply::text(value),
                "version" => version = reply::text(value),
                "role" => role = reply::text(value),
                _ => {}
            }
        }
        let kind = name.zip(version).map(|(name, version)| ServerKind {
            name,
            version,
            is_primary: role.as_deref() == Some("master"),
        });
        kind.ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// Looks at the key of the stream.
    pub async fn place(&self) -> Result<Place, BrokerError> {
        let mut look = redis::cmd("XINFO");
        look.arg("STREAM").arg(self.keys.stream.as_str());
        match self.commands.query::<Value>("looking at the stream", &look).await {
            Ok(_) => Ok(Place::Stream),
            Err(BrokerError { trouble: Trouble::GroupGone(_), .. }) => Ok(Place::Nothing),
            Err(BrokerError { trouble: Trouble::WrongType(_), .. }) => Ok(Place::Other),
            Err(error) => Err(error),
        }
    }

    /// Asks how the server keeps what it is given.
    pub async fn keeping(&self) -> Result<Keeping, BrokerError> {
        let info: String = self.commands.query("asking how the server keeps data", &redis::cmd("INFO")).await?;
        let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(Keeping {
            eviction: value("maxmemory_policy").map(str::to_owned),
            append_only: value("aof_enabled").map(|enabled| enabled == "1"),
        })
    }
}
