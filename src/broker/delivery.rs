//! A delivery: the duty to settle one entry.
//!
//! Owns: the window of what may be in hand, and the proof that an entry is. Only the broker makes a [`Delivery`], and only settling
//! consumes it; one that is dropped is counted, and its entry stays pending.
//! Never: the entry's content, which travels beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use crate::domain::entry::Entry;
use crate::domain::id::{ConsumerName, EntryId};
use crate::domain::retry::RetryRecord;
use crate::telemetry::Telemetry;
use crate::telemetry::event::DeliveryDropped;

/// An entry that came with a delivery.
#[derive(Debug)]
pub struct Received {
    /// The duty to settle it.
    pub delivery: Delivery,
    /// What it says.
    pub entry: Entry,
    /// What is known of earlier failures, if it was taken over from a worker that is gone.
    pub record: Option<RetryRecord>,
    /// The size of an entry that is too large to be fetched; then its fields are not here.
    pub withheld: Option<usize>,
}

/// The duty to settle one entry. It holds a place in the [`Window`] until it is settled or dropped.
#[must_use = "an entry that is not settled stays pending until somebody takes it over"]
#[derive(Debug)]
pub struct Delivery {
    id: EntryId,
    deliveries: u32,
    origin: Origin,
    /// Whether it still has to give its place back.
    open: bool,
    hold: Arc<Hold>,
}

/// What the deliveries of one read have in common.
#[derive(Debug)]
pub(super) struct Hold {
    consumer: ConsumerName,
    since: Instant,
    window: Arc<Window>,
}

/// How an entry came into our hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from the stream by us, in this life.
    Read,
    /// Taken over, from a worker that is gone or from our own earlier life.
    TakenUp,
}

impl Delivery {
    /// Takes one of the `places`; `None` when there is none left.
    pub(super) fn new(
        id: EntryId,
        deliveries: u32,
        origin: Origin,
        hold: &Arc<Hold>,
        places: &mut Places,
    ) -> Option<Self> {
        places.count = places.count.checked_sub(1)?;
        Some(Self { id, deliveries, origin, open: true, hold: Arc::clone(hold) })
    }

    /// The entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The consumer under whose name it is pending.
    pub fn consumer(&self) -> &ConsumerName {
        &self.hold.consumer
    }

    /// How many times it was handed out so far, as Redis counts.
    pub fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// How many of these ended with a worker that died. Ours is not among them: what was read was counted by Redis when it handed it
    /// out, what was taken up is counted when its try begins.
    pub fn crashes(&self) -> u32 {
        match self.origin {
            Origin::Read => self.deliveries.saturating_sub(1),
            Origin::TakenUp => self.deliveries,
        }
    }

    /// How it came into our hands.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Since when we have it.
    pub fn since(&self) -> Instant {
        self.hold.since
    }

    /// A try of an entry that was taken up begins now, and Redis has been told so.
    pub(super) fn begun(&mut self) {
        self.origin = Origin::Read;
        self.deliveries = self.deliveries.saturating_add(1);
    }

    /// It was suspected, and its try came back: it does not kill who has it in hand, and deaths are counted anew. Redis is told with
    /// the next renewal, or by [`Broker::park`](super::Broker::park).
    pub fn acquit(&mut self) {
        self.deliveries = self.deliveries.min(1);
    }

    /// The entry is settled: gives the place back without a word.
    pub(super) fn close(mut self) {
        self.open = false;
        self.hold.window.give_back(1);
    }

    /// All of them are settled: gives their places back at once.
    pub(super) fn close_all(deliveries: Vec<Self>) {
        let mut given: Option<(Arc<Hold>, usize)> = None;
        for mut delivery in deliveries {
            delivery.open = false;
            match &mut given {
                Some((hold, count)) if Arc::ptr_eq(&hold.window, &delivery.hold.window) => *count += 1,
                _ => {
                    let before = given.replace((Arc::clone(&delivery.hold), 1));
                    before.into_iter().for_each(|(hold, count)| hold.window.give_back(count));
                }
            }
        }
        given.into_iter().for_each(|(hold, count)| hold.window.give_back(count));
    }

    /// Lets go of the entry on purpose: it stays pending, or is somebody else's by now.
    pub fn let_go(self) {
        self.close();
    }
}

impl Hold {
    /// Begins now, for deliveries that take these places.
    pub(super) fn begin(consumer: ConsumerName, places: &Places) -> Arc<Self> {
        Arc::new(Self { consumer, since: Instant::now(), window: Arc::clone(&places.window) })
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.open {
            self.hold.window.telemetry.emit(DeliveryDropped { entry: self.id });
            self.hold.window.give_back(1);
        }
    }
}

/// How many entries may be in hand at once, over all consumers of this process.
#[derive(Debug)]
pub struct Window {
    size: AtomicI64,
    /// Below zero while more is in hand than there are places: the window was made smaller, or exceeded.
    free: AtomicI64,
    freed: Notify,
    telemetry: Telemetry,
}

/// Free places, taken out of the window; those that are not used go back when this is dropped.
#[derive(Debug)]
pub struct Places {
    window: Arc<Window>,
    count: usize,
}

impl Window {
    /// A window of `size` places, all of them free.
    pub fn new(size: usize, telemetry: Telemetry) -> Arc<Self> {
        let size = places(size);
        Arc::new(Self { size: AtomicI64::new(size), free: AtomicI64::new(size), freed: Notify::new(), telemetry })
    }

    /// Waits until there is a free place, and takes as many as there are, up to `most`. May be dropped at any time.
    pub async fn take(self: &Arc<Self>, most: usize) -> Places {
        loop {
            let freed = self.freed.notified();
            if let Some(places) = self.try_take(most) {
                return places;
            }
            freed.await;
        }
    }

    /// Takes as many free places as there are, up to `most`; `None` when there is none.
    pub fn try_take(self: &Arc<Self>, most: usize) -> Option<Places> {
        let most = places(most);
        let take = |free: i64| (free > 0 && most > 0).then(|| free - free.min(most));
        let free = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some(Places { window: Arc::clone(self), count: count(free.min(most)) })
    }

    /// So many places that there are not. Only for what all others in the window wait for.
    pub fn exceed(self: &Arc<Self>, most: usize) -> Places {
        self.add(-places(most));
        Places { window: Arc::clone(self), count: most }
    }

    /// How many entries are in hand, or about to be.
    pub fn in_hand(&self) -> usize {
        count(self.size.load(Ordering::Acquire) - self.free.load(Ordering::Acquire))
    }

    /// How many places there are.
    pub fn size(&self) -> usize {
        count(self.size.load(Ordering::Acquire))
    }

    /// Makes it a window of `size` places. What is in hand stays there: a window that becomes smaller hands out no place until so much
    /// is settled that there is one.
    pub fn resize(&self, size: usize) {
        let before = self.size.swap(places(size), Ordering::AcqRel);
        self.add(places(size) - before);
    }

    fn give_back(&self, count: usize) {
        self.add(places(count));
    }

    fn add(&self, change: i64) {
        let before = self.free.fetch_add(change, Ordering::AcqRel);
        // Who waits is woken only when there was nothing before: nobody waits while there is a free place.
        if before <= 0 && before + change > 0 {
            self.freed.notify_waiters();
        }
    }
}

fn places(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(places: i64) -> usize {
    usize::try_from(places).unwrap_or(0)
}

impl Places {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if self.count > 0 {
            self.window.give_back(self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_was_exceeded_has_no_place_until_it_is_within_its_bound_again() {
        let window = Window::new(2, Telemetry::new().unwrap());
        let full = window.try_take(5).unwrap();
        assert_eq!((full.count(), window.in_hand()), (2, 2));
        let beyond = window.exceed(3);
        assert_eq!((beyond.count(), window.in_hand()), (3, 5));
        drop(full);
        assert!(window.try_take(1).is_none());
        drop(beyond);
        assert_eq!(window.try_take(5).unwrap().count(), 2);
    }
}
