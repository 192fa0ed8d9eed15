//! The lanes: which event may run now.
//!
//! Owns: one event of an order at a time, in stream order, through retries, too. An order always goes to the same lane; a lane that
//! is running is not touched until it is done; a failed event stops its own order and no other.
//! Never: running anything, or a clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::id::{EntryId, OrderId};

/// What the lanes need to know of what they hold.
pub trait Item {
    /// Its place in the stream.
    fn id(&self) -> EntryId;
    /// The order it is about.
    fn order(&self) -> &OrderId;
    /// Whether it has to be run in a batch of its own.
    fn alone(&self) -> bool;
}

/// Everything that is in hand and not running.
#[derive(Debug)]
pub struct Lanes<T> {
    all: Vec<Lane<T>>,
    /// Lanes that have something to run and are not running, in the order in which they came to be so.
    ready: VecDeque<usize>,
    /// When each blocked order is due; the number keeps equal times apart.
    due: BTreeMap<(Instant, u64), (usize, OrderId)>,
    serial: u64,
    queued: usize,
    blocked: usize,
}

#[derive(Debug)]
struct Lane<T> {
    /// In stream order.
    queue: VecDeque<T>,
    /// Orders whose first event waits for its next try. Nearly always empty.
    blocked: HashMap<OrderId, Blocked<T>>,
    running: bool,
    listed: bool,
}

#[derive(Debug)]
struct Blocked<T> {
    /// In stream order; all of one order.
    queue: VecDeque<T>,
    due: (Instant, u64),
}

/// Items that may run now, together. Their lanes are held until [`Lanes::finish`].
#[derive(Debug)]
pub struct Run<T> {
    /// The items; those of one order in stream order.
    pub items: Vec<T>,
    /// The lanes they came from.
    pub lanes: Vec<usize>,
}

impl<T: Item> Lanes<T> {
    /// `count` empty lanes; at least one.
    pub fn new(count: usize) -> Self {
        let lane = || Lane { queue: VecDeque::new(), blocked: HashMap::new(), running: false, listed: false };
        Self {
            all: std::iter::repeat_with(lane).take(count.max(1)).collect(),
            ready: VecDeque::new(),
            due: BTreeMap::new(),
            serial: 0,
            queued: 0,
            blocked: 0,
        }
    }

    /// Takes an item in. Where it belongs before others of its order, it goes before them.
    pub fn admit(&mut self, item: T) {
        let index = self.lane_of(item.order());
        let Some(lane) = self.all.get_mut(index) else { return };
        if let Some(blocked) = lane.blocked.get_mut(item.order()) {
            let goes_first = blocked.queue.front().is_none_or(|first| item.id() < first.id());
            insert(&mut blocked.queue, item);
            self.blocked += 1;
            if goes_first {
                // What the order waits for may be just this; it need not wait itself.
                let order = self.due.remove(&blocked.due);
                self.release_order(index, order);
            }
            return;
        }
        insert(&mut lane.queue, item);
        self.queued += 1;
        self.list(index);
    }

    /// Takes what may run now: at most `most` items, from lanes that are not running. An item that has to run alone is passed over
    /// unless `alone_too` says otherwise, with all that waits behind it in its lane.
    pub fn take(&mut self, most: usize, alone_too: bool) -> Option<Run<T>> {
        let mut run = Run { items: Vec::new(), lanes: Vec::new() };
        let mut passed_over = Vec::new();
        while run.items.len() < most {
            let Some(index) = self.ready.pop_front() else { break };
            let Some(lane) = self.all.get_mut(index) else { continue };
            lane.listed = false;
            let before = run.items.len();
            let (ended, moved) = lane.take_into(&mut run.items, most, alone_too);
            self.queued -= run.items.len() - before + moved;
            self.blocked += moved;
            if run.items.len() > before {
                lane.running = true;
                run.lanes.push(index);
            } else if !lane.queue.is_empty() {
                // It begins with an item that has to run alone, and this run is not empty, or is not for such items.
                lane.listed = true;
                passed_over.push(index);
                if !alone_too {
                    continue;
                }
            }
            if ended {
                break;
            }
        }
        passed_over.into_iter().rev().for_each(|index| self.ready.push_front(index));
        if run.items.is_empty() { None } else { Some(run) }
    }

    /// Puts the first lane that may run and begins with a `wanted` item before all others. Whether there is one.
    pub fn prefer(&mut self, wanted: impl Fn(&T) -> bool) -> bool {
        let begins = |index: &usize| self.all.get(*index).and_then(|lane| lane.queue.front()).is_some_and(&wanted);
        let Some(place) = self.ready.iter().position(begins) else { return false };
        if let Some(index) = self.ready.remove(place) {
            self.ready.push_front(index);
        }
        true
    }

    /// Gives back an item that was taken and has not failed: it runs again as soon as its lane does. Call this before
    /// [`Lanes::finish`].
    pub fn put_back(&mut self, item: T) {
        self.admit(item);
    }

    /// Blocks an item's order until `due`, with the item before all others of it. Call this before [`Lanes::finish`]. Where an earlier
    /// one of its order has come in meanwhile, there is nothing to wait for: that one goes first, and at once.
    pub fn block(&mut self, item: T, due: Instant) {
        let index = self.lane_of(item.order());
        let order = item.order().clone();
        self.serial += 1;
        let due = (due, self.serial);
        let Some(lane) = self.all.get_mut(index) else { return };
        if lane.queue.iter().take_while(|other| other.id() < item.id()).any(|other| *other.order() == order) {
            insert(&mut lane.queue, item);
            self.queued += 1;
            return self.list(index);
        }
        self.due.insert(due, (index, order.clone()));
        self.blocked += 1;
        match lane.blocked.entry(order) {
            std::collections::hash_map::Entry::Occupied(mut blocked) => {
                let blocked = blocked.get_mut();
                self.due.remove(&blocked.due);
                blocked.due = due;
                insert(&mut blocked.queue, item);
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Blocked { queue: VecDeque::from([item]), due });
            }
        }
    }

    /// The run of these lanes is over.
    pub fn finish(&mut self, lanes: &[usize]) {
        for &index in lanes {
            if let Some(lane) = self.all.get_mut(index) {
                lane.running = false;
            }
            self.list(index);
        }
    }

    /// Lets orders run again whose time has come.
    pub fn release(&mut self, now: Instant) {
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let order = first.remove();
            self.release_order(order.0, Some(order));
        }
    }

    /// Lets orders run at once whose first item `wanted` names.
    pub fn hurry(&mut self, mut wanted: impl FnMut(&mut T) -> bool) {
        let mut hurried = Vec::new();
        for lane in &mut self.all {
            let firsts =
                lane.blocked.values_mut().filter_map(|blocked| Some((blocked.due, blocked.queue.front_mut()?)));
            hurried.extend(firsts.filter_map(|(due, first)| wanted(first).then_some(due)));
        }
        for due in hurried {
            let order = self.due.remove(&due);
            self.release_order(order.as_ref().map_or(0, |(index, _)| *index), order);
        }
    }

    /// The first item of each order that waits, and how many items of that order do.
    pub fn waiting(&self) -> impl Iterator<Item = (&T, usize)> {
        let orders = self.all.iter().flat_map(|lane| lane.blocked.values());
        orders.filter_map(|blocked| Some((blocked.queue.front()?, blocked.queue.len())))
    }

    /// When [`Lanes::release`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, _)| *due)
    }

    /// Takes out every item that is not running and that `wanted` names.
    pub fn remove(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for index in 0..self.all.len() {
            let Some(lane) = self.all.get_mut(index) else { continue };
            let before = removed.len();
            extract(&mut lane.queue, &mut wanted, &mut removed);
            self.queued -= removed.len() - before;
            let before = removed.len();
            lane.blocked.values_mut().for_each(|blocked| extract(&mut blocked.queue, &mut wanted, &mut removed));
            self.blocked -= removed.len() - before;
            if removed.len() > before {
                let due = &mut self.due;
                lane.blocked.retain(|_, blocked| {
                    let keep = !blocked.queue.is_empty();
                    if !keep {
                        due.remove(&blocked.due);
                    }
                    keep
                });
            }
        }
        removed
    }

    /// Every item that is not running.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.all
            .iter()
            .flat_map(|lane| lane.queue.iter().chain(lane.blocked.values().flat_map(|blocked| blocked.queue.iter())))
    }

    /// How many items may run as soon as their lane is free.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How many items wait for a time, or behind one that does.
    pub fn blocked(&self) -> usize {
        self.blocked
    }

    fn release_order(&mut self, index: usize, order: Option<(usize, OrderId)>) {
        let Some((_, order)) = order else { return };
        let Some(lane) = self.all.get_mut(index) else { return };
        let Some(blocked) = lane.blocked.remove(&order) else { return };
        self.blocked -= blocked.queue.len();
        self.queued += blocked.queue.len();
        // From the back, since each goes near the front.
        blocked.queue.into_iter().rev().for_each(|item| insert(&mut lane.queue, item));
        self.list(index);
    }

    fn list(&mut self, index: usize) {
        if let Some(lane) = self.all.get_mut(index)
            && !lane.running
            && !lane.listed
            && !lane.queue.is_empty()
        {
            lane.listed = true;
            self.ready.push_back(index);
        }
    }

    fn lane_of(&self, order: &OrderId) -> usize {
        // FNV-1a: it has to spread the orders, and to be quick with short names. Nothing outlives the process.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = order.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        let count = self.all.len() as u64;
        usize::try_from((hash ^ (hash >> 32)) % count).unwrap_or_default()
    }
}

impl<T: Item> Lane<T> {
    /// Moves items from the queue into `run` until it has `most`. Returns whether the run ends here, and how many items went to their
    /// blocked order instead.
    fn take_into(&mut self, run: &mut Vec<T>, most: usize, alone_too: bool) -> (bool, usize) {
        let mut moved = 0;
        while run.len() < most {
            let Some(item) = self.queue.front() else { return (false, moved) };
            if !self.blocked.is_empty() && self.blocked.contains_key(item.order()) {
                if let Some(item) = self.queue.pop_front()
                    && let Some(blocked) = self.blocked.get_mut(item.order())
                {
                    insert(&mut blocked.queue, item);
                    moved += 1;
                }
                continue;
            }
            let alone = item.alone();
            if alone && !(run.is_empty() && alone_too) {
                return (true, moved);
            }
            run.extend(self.queue.pop_front());
            if alone {
                return (true, moved);
            }
        }
        (true, moved)
    }
}

/// Inserts by id. New items are nearly always the newest.
fn insert<T: Item>(queue: &mut VecDeque<T>, item: T) {
    if queue.back().is_none_or(|last| last.id() < item.id()) {
        queue.push_back(item);
    } else {
        let place = queue.partition_point(|other| other.id() < item.id());
        queue.insert(place, item);
    }
}

fn extract<T>(queue: &mut VecDeque<T>, wanted: &mut impl FnMut(&T) -> bool, into: &mut Vec<T>) {
    if !queue.iter().any(&mut *wanted) {
        return;
    }
    for item in std::mem::take(queue) {
        if wanted(&item) {
            into.push(item);
        } else {
            queue.push_back(item);
        }
    }
}

#[cfg(test)]
mod tests;
