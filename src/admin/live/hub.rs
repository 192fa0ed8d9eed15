//! The hub: from one subscription to everybody who watches.
//!
//! Owns: who watches whom, the bound on how many, and what waits for each of them.
//! Never: waiting for one that is slow; it is cut off, and its browser comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::domain::id::{EntryId, UserId};
use crate::domain::told::Told;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{LiveClientCut, LiveClients};

/// So many notices may wait for one watcher.
const WAITING: usize = 256;

/// What waits for a watcher.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A notice: its entry, and what it says.
    Notice(EntryId, Arc<str>),
    /// Notices since this time may have been missed.
    Missed(u64),
}

/// Everybody who watches.
#[derive(Debug)]
pub(in crate::admin) struct Hub {
    most: usize,
    watchers: Mutex<HashMap<UserId, Vec<mpsc::Sender<Item>>>>,
    telemetry: Telemetry,
}

impl Hub {
    /// A hub for at most `most` watchers.
    pub(in crate::admin) fn new(most: usize, telemetry: Telemetry) -> Arc<Self> {
        Arc::new(Self { most, watchers: Mutex::default(), telemetry })
    }

    /// Passes on what is told, until nobody tells anything any more.
    pub(in crate::admin) async fn pass_on(&self, mut told: mpsc::Receiver<Told>) {
        while let Some(told) = told.recv().await {
            match told {
                Told::Notice { user, entry, text } => {
                    let item = Item::Notice(entry, text.into());
                    self.offer(|of| *of == user, &item);
                }
                Told::Missed { since_ms } => self.offer(|_| true, &Item::Missed(since_ms)),
            }
        }
    }

    /// A new watcher of `user`; `None` where there are as many as may be.
    pub(super) fn register(&self, user: &UserId) -> Option<mpsc::Receiver<Item>> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        forget_gone(&mut watchers);
        let count = watchers.values().map(Vec::len).sum::<usize>();
        if count >= self.most {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        watchers.entry(user.clone()).or_default().push(sender);
        self.telemetry.emit(LiveClients { count: count + 1 });
        Some(receiver)
    }

    /// How many watch, as of now.
    pub(in crate::admin) fn tell_count(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        forget_gone(&mut watchers);
        self.telemetry.emit(LiveClients { count: watchers.values().map(Vec::len).sum() });
    }

    fn offer(&self, concerned: impl Fn(&UserId) -> bool, item: &Item) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, watchers) in watchers.iter_mut().filter(|(user, _)| concerned(user)) {
            watchers.retain(|watcher| match watcher.try_send(item.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.telemetry.emit(LiveClientCut);
                    false
                }
            });
        }
    }
}

fn forget_gone(watchers: &mut HashMap<UserId, Vec<mpsc::Sender<Item>>>) {
    watchers.retain(|_, watchers| {
        watchers.retain(|watcher| !watcher.is_closed());
        !watchers.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(most: usize) -> Arc<Hub> {
        Hub::new(most, Telemetry::new().unwrap())
    }

    fn notice(user: &str, seq: u64) -> Told {
        Told::Notice { user: user.into(), entry: EntryId::new(1, seq), text: "{}".to_owned() }
    }

    async fn pass(hub: &Hub, told: impl IntoIterator<Item = Told>) {
        let (sender, receiver) = mpsc::channel(1024);
        told.into_iter().for_each(|told| sender.try_send(told).unwrap());
        drop(sender);
        hub.pass_on(receiver).await;
    }

    #[tokio::test]
    async fn each_hears_of_its_own_user_and_everybody_of_a_gap() {
        let hub = hub(10);
        let mut one = hub.register(&"u".into()).unwrap();
        let mut other = hub.register(&"v".into()).unwrap();
        pass(&hub, [notice("u", 1), notice("w", 2), Told::Missed { since_ms: 5 }]).await;
        assert!(matches!(one.try_recv(), Ok(Item::Notice(id, _)) if id == EntryId::new(1, 1)));
        assert!(matches!(one.try_recv(), Ok(Item::Missed(5))) && one.try_recv().is_err());
        assert!(matches!(other.try_recv(), Ok(Item::Missed(5))) && other.try_recv().is_err());
    }

    #[tokio::test]
    async fn one_that_is_slow_is_cut_off_and_its_neighbour_is_not() {
        let hub = hub(10);
        let mut slow = hub.register(&"u".into()).unwrap();
        let mut quick = hub.register(&"u".into()).unwrap();
        for seq in 0..=WAITING as u64 {
            pass(&hub, [notice("u", seq)]).await;
            assert!(matches!(quick.try_recv(), Ok(Item::Notice(..))), "{seq}");
        }
        let mut waiting = 0;
        while slow.recv().await.is_some() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING, "what waited, and then the end");
    }

    #[test]
    fn there_are_never_more_than_may_be_and_who_leaves_makes_room() {
        let hub = hub(2);
        let one = hub.register(&"u".into()).unwrap();
        let _other = hub.register(&"v".into()).unwrap();
        assert!(hub.register(&"w".into()).is_none());
        drop(one);
        assert!(hub.register(&"w".into()).is_some());
    }
}
