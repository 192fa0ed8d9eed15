//! Publish and subscribe.
//!
//! Owns: a connection for a subscriber and one for a publisher, each of its own, on the publisher's one write for a whole batch; the
//! bounded queue between the socket and whoever listens; the check that a publisher speaks to the primary.
//! Never: the socket left unread because somebody is slow (what does not fit is dropped and counted); a connection made anew by
//! itself (`task::listener` and `task::notifier` do that).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::connect::{Connection, Connector};
use super::error::{BrokerError, Trouble};
use super::messages::Messages;
use super::reply;
use super::wire::command::Command;
use super::wire::link::{Link, in_time};

/// After so long without a message, the server is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(10);
const LISTENING: &str = "listening";
const PUBLISHING: &str = "publishing";
const ASKING: &str = "asking for the role";

/// What to listen to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topics {
    /// Channels, by their names.
    pub channels: Vec<String>,
    /// Channels whose names match, such as `notifications:user:*`.
    pub patterns: Vec<String>,
}

/// A message that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub channel: String,
    /// The pattern that its channel matched, where it came because of one.
    pub pattern: Option<String>,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// At this place so many messages did not fit into the queue.
    Dropped(u64),
}

/// A subscriber's connection.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
    queue: mpsc::Receiver<Queued>,
    dropped: Arc<AtomicU64>,
    /// Came behind a gap that has to be told first.
    held: Option<Message>,
    heard_at: Instant,
}

/// A publisher's connection.
#[derive(Debug)]
pub struct Publisher {
    link: Link,
}

struct Queued {
    dropped_before: u64,
    message: Message,
}

/// The near end of the queue, in the hands of the task that reads the socket.
struct Inlet {
    queue: mpsc::Sender<Queued>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// Connects and subscribes. At most `queue` messages wait for whoever listens.
    pub async fn open(connector: &Connector, topics: &Topics, queue: usize) -> Result<Self, BrokerError> {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let inlet = Inlet { queue: sender, dropped: Arc::clone(&dropped) };
        let mut connection = connector
            .open_for_pushes("subscriber", move |push| -> Result<(), Infallible> {
                inlet.take(push);
                Ok(())
            })
            .await?;
        let failed = |error: redis::RedisError| BrokerError::new("subscribing", &error);
        if !topics.channels.is_empty() {
            connection.subscribe(&topics.channels).await.map_err(failed)?;
        }
        if !topics.patterns.is_empty() {
            connection.psubscribe(&topics.patterns).await.map_err(failed)?;
        }
        Ok(Self { connection, queue: receiver, dropped, held: None, heard_at: Instant::now() })
    }

    /// Waits for what comes next. May be dropped at any time. After an error the connection is gone.
    pub async fn next(&mut self) -> Result<Incoming, BrokerError> {
        if let Some(message) = self.held.take() {
            return Ok(Incoming::Message(message));
        }
        match self.queue.try_recv() {
            Ok(queued) => return Ok(self.unpack(queued)),
            Err(TryRecvError::Disconnected) => return Err(closed()),
            Err(TryRecvError::Empty) => {}
        }
        // Nothing is dropped while there is room, so this is all that was.
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            return Ok(Incoming::Dropped(dropped));
        }
        loop {
            let asked = sign_of_life(self.connection.clone(), self.heard_at + QUIET);
            tokio::select! {
                biased;
                queued = self.queue.recv() => return queued.map(|queued| self.unpack(queued)).ok_or_else(closed),
                alive = asked => alive?,
            }
            self.heard_at = Instant::now();
        }
    }

    fn unpack(&mut self, Queued { dropped_before, message }: Queued) -> Incoming {
        self.heard_at = Instant::now();
        if dropped_before == 0 {
            return Incoming::Message(message);
        }
        self.held = Some(message);
        Incoming::Dropped(dropped_before)
    }
}

impl Publisher {
    /// Connects, and makes sure that this is the primary: a replica takes a message without an error, and few or none hear it.
    pub async fn open(connector: &Connector) -> Result<Self, BrokerError> {
        let (link, _) = Link::open(connector, "publisher").await?;
        let mut publisher = Self { link };
        publisher.make_sure_of_primary().await?;
        Ok(publisher)
    }

    /// Whether the connection is known to be gone: what would be published over it would be lost.
    pub fn is_gone(&mut self) -> bool {
        self.link.is_gone()
    }

    /// Publishes messages in one go. Returns how many subscribers were given one, summed over all of them. After an error, or dropped
    /// half-way, the connection is of no more use.
    pub async fn publish(&mut self, messages: &Messages) -> Result<u64, BrokerError> {
        let asked = async {
            self.link.send(PUBLISHING, messages.as_bytes()).await?;
            self.link.numbers(PUBLISHING, messages.count()).await
        };
        in_time(PUBLISHING, asked).await
    }

    /// An error where the server is no primary (any more). Who may not ask is not told, and publishes all the same.
    pub async fn make_sure_of_primary(&mut self) -> Result<(), BrokerError> {
        let mut command = Command::default();
        command.begin("ROLE", 0);
        let asked = async {
            self.link.send(ASKING, command.as_bytes()).await?;
            self.link.first_word(ASKING).await
        };
        match in_time(ASKING, asked).await {
            Ok(role) if role == "master" => Ok(()),
            Ok(other) => {
                let trouble = Trouble::NotPrimary(format!("its role is {other}"));
                Err(BrokerError { operation: PUBLISHING, trouble })
            }
            Err(error) if matches!(error.trouble, Trouble::NoPermission(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Inlet {
    /// Never waits: the socket must be read on.
    fn take(&self, push: PushInfo) {
        let Some(message) = message(push) else { return };
        let dropped_before = self.dropped.swap(0, Ordering::AcqRel);
        if self.queue.try_send(Queued { dropped_before, message }).is_err() {
            self.dropped.fetch_add(dropped_before + 1, Ordering::AcqRel);
        }
    }
}

fn message(PushInfo { kind, data }: PushInfo) -> Option<Message> {
    let mut parts = data.into_iter();
    let pattern = match kind {
        PushKind::Message => None,
        PushKind::PMessage => Some(name(parts.next()?)?),
        _ => return None,
    };
    Some(Message { pattern, channel: name(parts.next()?)?, payload: reply::bytes(parts.next()?)? })
}

fn name(value: Value) -> Option<String> {
    Some(String::from_utf8_lossy(&reply::bytes(value)?).into_owned())
}

fn closed() -> BrokerError {
    BrokerError { operation: LISTENING, trouble: Trouble::Unreachable("connection lost".to_owned()) }
}

/// Asks the server for a sign of life at `at`: a connection that is silent may be one that is dead.
async fn sign_of_life(mut connection: Connection, at: Instant) -> Result<(), BrokerError> {
    tokio::time::sleep_until(at.into()).await;
    let answer: Result<Value, _> = redis::cmd("PING").query_async(&mut connection).await;
    match answer.map_err(|error| BrokerError::new(LISTENING, &error)) {
        Err(error) if matches!(error.trouble, Trouble::Unreachable(_)) => Err(error),
        // Any other answer is one.
        _ => Ok(()),
    }
}
