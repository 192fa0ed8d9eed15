//! A watcher: the stream of server-sent events for one browser.
//!
//! Owns: the form of an event, catching up, and the sign of life.
//! Never: a line break inside of an event that somebody else wrote.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::history::{History, Since};
use super::hub::Item;
use super::now_ms;
use crate::domain::id::{EntryId, UserId};

/// A browser that lost its connection comes back after so long.
const COME_BACK: &str = "retry: 2000\n\n";
const ALIVE: &str = ": alive\n\n";

/// The stream for one browser.
pub(super) struct Watcher {
    user: UserId,
    queue: mpsc::Receiver<Item>,
    history: Option<History>,
    /// What is read from the ledger before anything else is told.
    catch_up: Option<Since>,
    /// What was read from the ledger, and may still arrive as news.
    told: HashSet<EntryId>,
    ready: VecDeque<String>,
    ticks: Interval,
    stop: CancellationToken,
}

impl Watcher {
    /// A stream of what comes out of `queue`. A browser that comes back says what it heard `last`.
    pub(super) fn new(
        user: UserId,
        queue: mpsc::Receiver<Item>,
        history: Option<History>,
        last: Option<EntryId>,
        heartbeat: Duration,
        stop: CancellationToken,
    ) -> Self {
        let mut ticks = tokio::time::interval(heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let ready = VecDeque::from([COME_BACK.to_owned()]);
        let (catch_up, told) = (last.map(Since::Entry), last.into_iter().collect());
        Self { user, queue, history, catch_up, told, ready, ticks, stop }
    }

    /// The stream; it ends when the browser is cut off, or at a stop.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<String, Infallible>> {
        futures_util::stream::unfold(self, |mut watcher| async {
            let text = watcher.next().await?;
            Some((Ok(text), watcher))
        })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some(text);
            }
            if let Some(since) = self.catch_up.take() {
                self.catch_up(since).await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                item = self.queue.recv() => match item? {
                    Item::Notice(entry, _) if self.told.contains(&entry) => {}
                    Item::Notice(entry, text) => return Some(event(entry, &text)),
                    Item::Missed(since_ms) => self.catch_up = Some(Since::Time(since_ms)),
                },
                _ = self.ticks.tick() => return Some(ALIVE.to_owned()),
            }
        }
    }

    /// Tells what was missed, and where that cannot be known, that something may have been.
    async fn catch_up(&mut self, since: Since) {
        let Some(history) = &self.history else {
            return self.ready.push_back(missed());
        };
        self.told.retain(|entry| since == Since::Entry(*entry));
        let caught_up = history.since(self.user.clone(), since).await;
        if caught_up.more {
            self.ready.push_back(missed());
        }
        self.told.extend(caught_up.notices.iter().map(|(entry, _)| *entry));
        self.ready.extend(caught_up.notices.iter().map(|(entry, text)| event(*entry, text)));
    }
}

fn event(entry: EntryId, text: &str) -> String {
    format!("id: {entry}\nevent: order\ndata: {text}\n\n")
}

fn missed() -> String {
    format!("event: missed\ndata: {{\"until\":{}}}\n\n", now_ms())
}
