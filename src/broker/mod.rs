//! Everything that speaks Redis.
//!
//! Owns: connections, commands, scripts, replies, and the meaning of error replies. The only folder that names the `redis` crate.
//! Never: what an event means or what is to be done with it; a command repeated by itself.

use std::sync::Arc;

use self::acks::Acks;
use self::connect::{Commands, Connector};
use self::keys::Keys;
use self::scripts::Scripts;

pub mod acks;
pub mod address;
pub mod audit;
pub mod claim;
pub mod connect;
pub mod dead;
pub mod delivery;
pub mod error;
pub mod group;
pub mod hold;
pub mod inspect;
pub mod keys;
pub mod mark;
pub mod messages;
pub mod name;
mod parting;
pub mod publish;
pub mod pubsub;
pub mod reach;
pub mod read;
mod reply;
pub mod rights;
mod scripts;
pub mod settle;
mod stream;
pub mod survey;
pub mod trim;
pub mod wire;

/// One stream and one group on one server, over a connection that all short commands share. Acknowledging has one of its own, and so has
/// each [`read::Reader`].
#[derive(Debug)]
pub struct Broker {
    connector: Arc<Connector>,
    commands: Commands,
    acks: Acks,
    keys: Keys,
    scripts: Scripts,
}

impl Broker {
    /// A broker for the stream and the group of `keys`. Connects when it is first used.
    pub fn new(connector: Arc<Connector>, keys: Keys) -> Self {
        let (commands, acks) = (Commands::new(Arc::clone(&connector)), Acks::new(Arc::clone(&connector)));
        Self { commands, acks, connector, keys, scripts: Scripts::new() }
    }

    /// The stream, the group, and the keys beside them.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The connector behind it.
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), error::BrokerError> {
        self.commands.query("asking for a sign of life", &redis::cmd("PING")).await
    }
}
