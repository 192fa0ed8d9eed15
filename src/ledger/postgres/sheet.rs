//! The sheet: what the events of one transaction make of their orders, worked out before any of it is written.
//!
//! Owns: the order of the events, one after the other, and what has to be written at the end.
//! Never: a statement; the rules of an order (that is `domain::order`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::batch::{Source, Work};
use crate::domain::id::{EntryId, EventId, OrderId};
use crate::domain::inbox::{self, Digest, Place};
use crate::domain::order::{Order, Rules, State};
use crate::domain::outcome::{Effect, Failure, Outcome};

/// What an entry is known by in the inbox: its source, and the halves of its id.
pub(super) type Key = (i32, i64, i64);

/// An event on its way into the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'w> {
    /// The batch it came in: a failure holds up its order in that batch.
    pub(super) batch: usize,
    /// The event.
    pub(super) work: &'w Work,
    /// Whether to say where its order stands after it.
    pub(super) effects: bool,
}

/// An event with what the inbox knows it by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filed<'w> {
    /// The event.
    pub(super) event: Event<'w>,
    /// Its id. A replay is the same event as the entry it repeats.
    pub(super) key: Key,
    /// Its fields.
    pub(super) digest: Digest,
}

/// A row of the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InboxRow {
    /// Whose.
    pub(super) key: Key,
    /// In which life of its stream.
    pub(super) generation: u64,
    /// What tells it from others of the same id.
    pub(super) digest: Digest,
}

/// What the ledger holds of all that the events are about.
#[derive(Default)]
pub(super) struct Ground {
    /// The orders.
    pub(super) orders: HashMap<String, Stored>,
    /// The rows of the inbox for each id.
    pub(super) known: HashMap<Key, Vec<(u64, Option<Digest>)>>,
    /// The generation that each source is in.
    pub(super) present: HashMap<i32, u64>,
    /// What producers call events that were applied.
    pub(super) published: HashSet<String>,
}

/// An order as the ledger has it.
#[derive(Debug)]
pub(super) enum Stored {
    /// It was there.
    Read {
        /// Its number.
        number: i64,
        /// The order.
        order: Order,
    },
    /// Its row does not hold what orderd writes; the column that does not.
    Odd(&'static str),
}

/// An order on the sheet.
pub(super) struct Leaf {
    /// `None` for an order that begins here.
    pub(super) number: Option<i64>,
    /// As its events have made it.
    pub(super) order: Order,
    /// Whether one of them was applied here.
    pub(super) touched: bool,
}

/// A line for the history.
pub(super) struct Line<'w> {
    /// The event.
    pub(super) work: &'w Work,
    /// Its key in the inbox.
    pub(super) key: Key,
    /// Where the order stands after it.
    pub(super) state: State,
    /// The order's version after it.
    pub(super) version: u64,
}

/// A generation that has begun.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    /// Whose.
    pub(super) source: Arc<Source>,
    /// The number of that source.
    pub(super) number: i32,
    /// The entry with which it began.
    pub(super) entry: EntryId,
    /// Its number.
    pub(super) generation: u64,
}

/// What came of the events, and what is to be written.
pub(super) struct Sheet<'w, 'r> {
    /// One outcome for each event.
    pub(super) outcomes: Vec<Outcome>,
    /// The orders.
    pub(super) leaves: HashMap<&'w str, Leaf>,
    /// The history, in order.
    pub(super) lines: Vec<Line<'w>>,
    /// The rows of the inbox for what was applied.
    pub(super) rows: HashSet<InboxRow>,
    /// The generations that have begun.
    pub(super) begun: Vec<Begun>,
    rules: &'r Rules,
    ground: Ground,
    at_ms: u64,
    odd: HashMap<&'w str, &'static str>,
}

impl<'w, 'r> Sheet<'w, 'r> {
    /// Applies `events` in order to what is on the `ground`, at the time `at_ms` in milliseconds since 1970. `failed` are orders of which an event has failed already, each in
    /// its batch.
    pub(super) fn of(
        events: &[Filed<'w>],
        ground: Ground,
        rules: &'r Rules,
        failed: &HashSet<(usize, &'w OrderId)>,
        at_ms: u64,
    ) -> Self {
        let mut sheet = Self {
            outcomes: Vec::with_capacity(events.len()),
            leaves: HashMap::new(),
            lines: Vec::new(),
            rows: HashSet::new(),
            begun: Vec::new(),
            rules,
            ground,
            at_ms,
            odd: HashMap::new(),
        };
        sheet.open_leaves(events);
        let mut failed_here: HashSet<(usize, &OrderId)> = HashSet::new();
        for filed in events {
            let place = (filed.event.batch, &filed.event.work.event.order);
            let outcome = if failed.contains(&place) || failed_here.contains(&place) {
                Outcome::NotReached
            } else {
                sheet.enter(filed)
            };
            if matches!(outcome, Outcome::Failed(_)) {
                failed_here.insert(place);
            }
            sheet.outcomes.push(outcome);
        }
        sheet
    }

    fn open_leaves(&mut self, events: &[Filed<'w>]) {
        for Filed { event, .. } in events {
            let id = event.work.event.order.as_str();
            match self.ground.orders.remove(id) {
                Some(Stored::Odd(column)) => drop(self.odd.insert(id, column)),
                Some(Stored::Read { number, order }) => {
                    self.leaves.insert(id, Leaf { number: Some(number), order, touched: false });
                }
                None => {}
            }
        }
    }

    fn enter(&mut self, filed: &Filed<'w>) -> Outcome {
        let work = filed.event.work;
        if self.rules.ignores(&work.event.action) {
            return Outcome::Ignored;
        }
        let event_id = work.event.event_id.as_ref().map(EventId::as_str);
        if event_id.is_some_and(|id| self.ground.published.contains(id)) {
            return Outcome::Duplicate;
        }
        let present = self.ground.present.get(&filed.key.0).copied().unwrap_or_default();
        let known = self.ground.known.get(&filed.key).map_or(&[][..], Vec::as_slice);
        let (generation, restarted) = match inbox::place(known, filed.digest, present) {
            Place::Known => return Outcome::Duplicate,
            Place::New(generation) => (generation, false),
            Place::Restarted(generation) => (generation, true),
        };
        if let Some(column) = self.odd.get(work.event.order.as_str()) {
            return Outcome::Failed(unreadable(column));
        }
        let at_ms = self.at_ms;
        let outcome = match self.advance(work, filed.key) {
            Ok(after) if filed.event.effects => Outcome::AppliedTo(Box::new(effect(after, at_ms))),
            Ok(_) => Outcome::Applied,
            Err(failure) => return Outcome::Failed(failure),
        };
        self.ground.published.extend(event_id.map(str::to_owned));
        self.ground.known.entry(filed.key).or_default().push((generation, Some(filed.digest)));
        self.rows.insert(InboxRow { key: filed.key, generation, digest: filed.digest });
        if restarted {
            let (source, entry) = (Arc::clone(&work.context.source), work.event.origin());
            self.ground.present.insert(filed.key.0, generation);
            self.begun.push(Begun { source, number: filed.key.0, entry, generation });
        }
        outcome
    }

    /// Moves the order on, and returns it as it is then; a failure has changed nothing.
    fn advance(&mut self, work: &'w Work, key: Key) -> Result<&Order, Failure> {
        let id = work.event.order.as_str();
        let leaf = self.leaves.get(id);
        let order = self.rules.apply(leaf.map(|leaf| &leaf.order), &work.event)?;
        self.lines.push(Line { work, key, state: order.state, version: order.version });
        let number = leaf.and_then(|leaf| leaf.number);
        let leaf = Leaf { number, order, touched: true };
        Ok(&self.leaves.entry(id).insert_entry(leaf).into_mut().order)
    }
}

fn effect(Order { user, state, version, .. }: &Order, at_ms: u64) -> Effect {
    Effect { user: user.clone(), state: *state, version: *version, at_ms }
}

/// A row that somebody has changed by hand fails its own order only, and may be mended.
fn unreadable(column: &str) -> Failure {
    Failure::transient(format!("the ledger's row of this order cannot be read: {column} is not what it should be"))
}
