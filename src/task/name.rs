//! The name of this instance.
//!
//! Owns: taking a name that nobody else has, and noticing when it is lost: two processes of one name would share a pending list.
//! Never: going on under a name that somebody else has by now.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::broker::error::BrokerError;
use crate::broker::name::{LOCK_TIME, Lock};
use crate::bug;
use crate::domain::id::ConsumerName;
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;

/// How often the lock is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(250);
/// How often a name that is locked is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A name that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    instance: String,
    token: String,
}

/// Every name is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Redis did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Every suffix is taken, too.
    #[error("the name '{0}' and all of its suffixes are taken; set `instance` to another name")]
    AllTaken(String),
}

impl Name {
    /// Takes `wanted`, or the next free suffix of it. Where `wanted` is locked, it waits as long as the lock of a dead process would last:
    /// that may be our own earlier life, whose pending entries go with the name.
    pub async fn take(broker: &Broker, wanted: &str) -> Result<Self, NameError> {
        let token = format!("{:032x}", fastrand::u128(..));
        if bug::is("share-names") {
            return Ok(Self { instance: wanted.to_owned(), token });
        }
        let instance = match Self::lock(broker, wanted, &token).await {
            Ok(instance) => instance.ok_or_else(|| NameError::AllTaken(wanted.to_owned()))?,
            // No lock can be made now. A name that nobody else can have needs none, and working off entries is what frees memory.
            Err(error) if error.trouble.is_out_of_memory() => format!("{wanted}.{token}"),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { instance, token })
    }

    /// The name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The name of the consumer with this index.
    pub fn consumer(&self, index: usize) -> ConsumerName {
        ConsumerName::from(format!("{}-{index}", self.instance))
    }

    /// Keeps the name until it is told to stop. Ends with an error when somebody else has taken it, after a pause of this process, say.
    /// On the way it learns when another worker has handed entries back, and passes that on through `sweep`.
    pub async fn keep(
        self,
        broker: Arc<Broker>,
        sweep: Arc<Notify>,
        shutdown: Shutdown,
        heartbeat: Heartbeat,
    ) -> Result<(), TaskError> {
        let mut known = None;
        loop {
            if !heartbeat.while_waiting(shutdown.pause(RENEW_EVERY)).await {
                return Ok(());
            }
            match broker.renew_name(&self.instance, &self.token).await {
                Ok(Lock { is_ours: true, handed_back }) => {
                    if known.replace(handed_back).is_some_and(|known| known != handed_back) {
                        sweep.notify_one();
                    }
                }
                Ok(_) if bug::is("share-names") => {}
                Ok(_) => {
                    return Err(TaskError::new(format_args!("another process has taken the name '{}'", self.instance)));
                }
                Err(error) => tracing::debug!(%error, "the lock on the name was not renewed"),
            }
        }
    }

    /// Removes the consumers of this name that have nothing pending, and gives the name up.
    pub async fn give_up(&self, broker: &Broker, consumers: usize) -> Result<(), BrokerError> {
        for index in 0..consumers {
            broker.remove_consumer(&self.consumer(index)).await?;
        }
        broker.release_name(&self.instance, &self.token).await
    }

    async fn lock(broker: &Broker, wanted: &str, token: &str) -> Result<Option<String>, BrokerError> {
        let deadline = Instant::now() + LOCK_TIME + LOOK_EVERY;
        while !broker.renew_name(wanted, token).await?.is_ours && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        broker.lock_name(wanted, token).await
    }
}
