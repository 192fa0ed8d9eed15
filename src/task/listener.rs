//! A subscriber that stays one: it connects again, subscribes again, and tells of each gap.
//!
//! Owns: when to try again, and the word that messages may have been missed. Redis keeps none of them for a subscriber that is away.
//! Never: silence about a gap; a queue without a bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::connect::Connector;
use crate::broker::error::BrokerError;
use crate::broker::pubsub::{Incoming, Message, Subscription, Topics};
use crate::supervisor::backoff::Backoff;

/// So many messages wait for whoever listens, where nothing else is asked for.
pub const QUEUE: usize = 4096;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is subscribed, for the first time.
    Listening,
    /// A message.
    Message(Message),
    /// Messages may have been missed between what was heard before and what comes now.
    Missed(Missed),
    /// It is not subscribed, and tries again until it is. Told once for each reason.
    Away(BrokerError),
}

/// Why messages may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// There was no connection for so long.
    Away(Duration),
    /// So many came faster than they were taken.
    TooSlow(u64),
}

/// Listens to channels and patterns for as long as it is asked for more.
///
/// The socket is read by a task of its own, so a caller that is slow loses messages, and is told how many, but never the connection.
#[derive(Debug)]
pub struct Listener {
    connector: Arc<Connector>,
    topics: Topics,
    queue: usize,
    subscription: Option<Subscription>,
    gone_since: Option<Instant>,
    told: Option<BrokerError>,
    not_before: Instant,
    backoff: Backoff,
}

impl Listener {
    /// A listener to `topics`, not connected yet. At most `queue` messages wait for whoever listens.
    pub fn new(connector: Arc<Connector>, topics: Topics, queue: usize) -> Self {
        Self {
            connector,
            topics,
            queue,
            subscription: None,
            gone_since: None,
            told: None,
            not_before: Instant::now(),
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
        }
    }

    /// Waits for what comes next. May be dropped at any time, and asked again.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(subscription) = &mut self.subscription else {
                if let Some(heard) = self.connect().await {
                    return heard;
                }
                continue;
            };
            match subscription.next().await {
                Ok(Incoming::Message(message)) => return Heard::Message(message),
                Ok(Incoming::Dropped(count)) => return Heard::Missed(Missed::TooSlow(count)),
                Err(error) => {
                    self.subscription = None;
                    self.gone_since = Some(Instant::now());
                    if let Some(heard) = self.tell(error) {
                        return heard;
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> Option<Heard> {
        tokio::time::sleep_until(self.not_before.into()).await;
        match Subscription::open(&self.connector, &self.topics, self.queue).await {
            Ok(subscription) => {
                self.subscription = Some(subscription);
                self.backoff.succeeded();
                self.told = None;
                let Some(since) = self.gone_since.take() else { return Some(Heard::Listening) };
                self.connector.reconnected("subscriber");
                Some(Heard::Missed(Missed::Away(since.elapsed())))
            }
            Err(error) => {
                self.not_before = Instant::now() + self.backoff.failed();
                self.tell(error)
            }
        }
    }

    fn tell(&mut self, error: BrokerError) -> Option<Heard> {
        if self.told.as_ref() == Some(&error) {
            return None;
        }
        self.told = Some(error.clone());
        Some(Heard::Away(error))
    }
}
