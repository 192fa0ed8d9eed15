//! What every ledger promises, and what is SQLite's own.
//!
//! Owns: the contract, written once for every store that there is.
//! Never: a store that only pretends.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use futures_util::future::join_all;
use orderd::domain::batch::{Batch, Context, Source, Work};
use orderd::domain::entry::{Entry, Fields};
use orderd::domain::event::{Action, OrderEvent};
use orderd::domain::id::EntryId;
use orderd::domain::mark::Mark;
use orderd::domain::order::{Rules, State, UnknownAction};
use orderd::domain::outcome::{FailureClass, Outcome};
use orderd::ledger::chore::Prune;
use orderd::ledger::error::LedgerError;
use orderd::ledger::location::Location;
use orderd::ledger::reader::LedgerReader;
use orderd::ledger::report::{Counts, HistoryRow, OrderFilter, OrderRow};
use orderd::ledger::sqlite::SqliteLedger;
use orderd::ledger::sqlite::reader::SqliteReader;
use orderd::ledger::{Ledger, Parts};
use orderd::telemetry::Telemetry;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

use super::harness::wait_until;

mod postgres;

/// A place that ledgers are opened on, and what has come to stand there.
trait Store: Sync {
    /// Whether there is what it takes on this machine.
    fn is_here() -> bool {
        true
    }
    fn new() -> Self;
    fn open_with(&self, parts: Parts) -> impl Ledger;
    fn open(&self) -> impl Ledger {
        self.open_with(parts())
    }
    /// One that says where the orders stand.
    fn open_telling(&self) -> impl Ledger;
    fn reader(&self) -> LedgerReader;
    fn contents(&self) -> Contents {
        Contents::of(&self.reader())
    }
}

/// The usual rules.
fn parts() -> Parts {
    Parts { rules: Rules::default(), telemetry: Telemetry::new().unwrap() }
}

/// Everything in a ledger.
#[derive(Debug, PartialEq)]
struct Contents {
    counts: Counts,
    orders: BTreeMap<String, OrderRow>,
    /// In the order of `seq`, each with its order.
    history: Vec<(String, HistoryRow)>,
}

impl Contents {
    fn of(reader: &LedgerReader) -> Self {
        let (mut orders, mut history) = (BTreeMap::new(), Vec::new());
        for row in reader.orders(&all()).unwrap() {
            let id = row.id.as_str().to_owned();
            let (same, events) = reader.order(&row.id).unwrap().unwrap();
            assert_eq!(same, row);
            history.extend(events.into_iter().map(|event| (id.clone(), event)));
            orders.insert(id, row);
        }
        history.sort_by_key(|(_, row)| row.seq);
        Self { counts: reader.counts().unwrap(), orders, history }
    }

    /// `created paid`, say: what has happened to an order.
    fn life(&self, order: &str) -> String {
        let of_order = self.history.iter().filter(|(id, _)| id == order);
        of_order.map(|(_, row)| row.action.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Holds for every ledger at any time.
    fn assert_consistent(&self) {
        assert_eq!(self.counts.inbox, self.counts.events, "each applied event is in the inbox and in the history");
        let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
        for (order, row) in &self.history {
            let version = versions.entry(order).or_default();
            *version += 1;
            assert_eq!(row.version, *version, "the history of {order} has a gap");
        }
        for (id, row) in &self.orders {
            assert_eq!(Some(&row.order.version), versions.get(id.as_str()), "{id}");
        }
        assert_eq!(self.orders.len(), versions.len());
        assert!(self.history.is_sorted_by(|(_, a), (_, b)| a.seq < b.seq));
    }
}

fn all() -> OrderFilter {
    OrderFilter { user: None, state: None, after: None, limit: u32::MAX }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn source(stream: &str, group: &str) -> Arc<Source> {
    Arc::new(Source { stream: stream.into(), group: group.into() })
}

fn work_from(source: &Arc<Source>, id: EntryId, order: &str, action: &str) -> Work {
    let action = Action::from(action);
    let amount = action.needs_amount().then(|| "10.50".parse().unwrap());
    let user = action.needs_user().then(|| format!("user-of-{order}").into());
    let entry = Entry { id, fields: Fields::default() };
    let event = OrderEvent { order: order.into(), user, action, amount, replay_of: None, event_id: None, entry };
    Work { event: event.into(), context: Context { source: Arc::clone(source), attempt: 1 } }
}

/// The event with the id `ms-0` of the usual stream and group.
fn work(ms: u64, order: &str, action: &str) -> Work {
    work_from(&source("orders:events", "order-processors"), EntryId::new(ms, 0), order, action)
}

/// The same, with fields of its own: another entry that has the same id.
fn work_with(ms: u64, order: &str, action: &str, note: &str) -> Work {
    let mut work = work(ms, order, action);
    let fields = [("orderId", order), ("action", action), ("note", note)];
    work.event.to_mut().entry.fields = fields.into_iter().collect();
    work
}

/// Prunes until nothing more is to be forgotten; what was forgotten in the inbox and in the history.
fn prune(
    ledger: &impl Ledger,
    below: Option<EntryId>,
    keep_inbox: Duration,
    keep_history: Option<Duration>,
) -> [usize; 2] {
    let source = source("orders:events", "order-processors");
    let mut forgotten = [0, 0];
    loop {
        let request = Prune { source: Arc::clone(&source), below, keep_inbox, keep_history };
        let pruned = block_on(ledger.prune(request)).unwrap();
        forgotten = [forgotten[0] + pruned.inbox, forgotten[1] + pruned.history];
        if !pruned.more {
            return forgotten;
        }
    }
}

/// How many generations were told to have begun.
fn generations(telemetry: &Telemetry) -> u64 {
    let text = telemetry.render();
    let count = text.lines().find_map(|line| line.strip_prefix("orderd_generations_total "));
    count.unwrap().parse().unwrap()
}

fn apply(ledger: &impl Ledger, events: impl Into<Vec<Work>>) -> Vec<Outcome> {
    block_on(ledger.apply(Arc::new(events.into())))
}

/// One letter for each outcome: applied, ignored, duplicate, transient, permanent, unavailable, not reached.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Applied | Outcome::AppliedTo(_) => 'A',
        Outcome::Ignored => 'I',
        Outcome::Duplicate => 'D',
        Outcome::NotReached => 'N',
        Outcome::Failed(failure) => match failure.class() {
            FailureClass::Transient => 'T',
            FailureClass::Permanent => 'P',
            FailureClass::Unavailable => 'U',
        },
    };
    outcomes.iter().map(letter).collect()
}

/// A query of docs/ledger.md, and the rows that stand below it, without what is a time.
struct Report {
    query: String,
    rows: Vec<Vec<String>>,
}

/// The reports whose queries begin with this fence.
fn documented_reports(fence: &str) -> Vec<Report> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ledger.md")).unwrap();
    let report = |rest: &str| {
        let (query, rest) = rest.split_once("```").unwrap();
        // A statement without an answer is not a report.
        let (answer, _) = rest.trim_start().strip_prefix("```text\n")?.split_once("```").unwrap();
        let lines = answer.lines().filter(|line| !line.contains('─') && !line.starts_with("--"));
        let cells = |line: &str| {
            let line = line.trim_matches('│').replace('│', "|");
            line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        let rows = lines.skip(1).map(cells).collect();
        Some(Report { query: query.to_owned(), rows: without_times(rows) })
    };
    text.split(fence).skip(1).filter_map(report).collect()
}

/// Leaves out cells that begin with a date.
fn without_times(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let is_time = |cell: &String| cell.len() >= 10 && cell.as_bytes()[4] == b'-' && cell.as_bytes()[7] == b'-';
    rows.into_iter().map(|row| row.into_iter().filter(|cell| !is_time(cell)).collect()).collect()
}

/// The events that the reports of docs/ledger.md are about.
fn tell_the_story_of_the_documentation(ledger: &impl Ledger, first: u64) {
    let story = [
        ("order-788", "created", "15.00", "user-99"),
        ("order-789", "created", "49.99", "user-123"),
        ("order-789", "paid", "49.99", ""),
        ("order-790", "created", "120.00", "user-123"),
        ("order-789", "shipped", "", ""),
        ("order-790", "paid", "120.00", ""),
        ("order-788", "cancelled", "", ""),
        ("order-789", "refunded", "9.99", ""),
    ];
    let works = story.iter().zip(first..).map(|((order, action, amount, user), n)| {
        let mut work = work(1_764_600_000_000 + 61_234 * n, order, action);
        work.event.to_mut().amount = amount.parse().ok();
        work.event.to_mut().user = Some(*user).filter(|user| !user.is_empty()).map(Into::into);
        work
    });
    assert_eq!(letters(&apply(ledger, works.collect::<Vec<_>>())), "AAAAAAAA");
}

/// The contract. A store passes it as a whole.
mod contract {
    use super::*;

    pub(super) fn a_redelivered_event_changes_nothing<S: Store>() {
        let store = S::new();
        let events = [work(1, "o-1", "created"), work(2, "o-1", "paid"), work(3, "o-1", "refunded")];
        let first = {
            let ledger = store.open();
            let twice: Vec<Work> = events.iter().flat_map(|event| [event.clone(), event.clone()]).collect();
            assert_eq!(letters(&apply(&ledger, twice)), "ADADAD", "in the same batch");
            let first = store.contents();
            assert_eq!(letters(&apply(&ledger, events.clone())), "DDD", "in the next batch");
            first
        };
        assert_eq!(letters(&apply(&store.open(), events)), "DDD", "after opening the ledger again");
        assert_eq!(store.contents(), first);
        first.assert_consistent();
        assert_eq!(first.orders["o-1"].order.refunded, "10.50".parse().unwrap());
    }

    pub(super) fn a_replay_is_the_event_it_repeats<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let replay = |ms: u64, of: u64, order: &str, action: &str| {
            let mut work = work(ms, order, action);
            work.event.to_mut().replay_of = Some(EntryId::new(of, 0));
            work
        };
        assert_eq!(letters(&apply(&ledger, [work(1, "o-1", "created"), replay(5, 1, "o-1", "created")])), "AD");
        let replays = [replay(6, 2, "o-1", "paid"), replay(7, 2, "o-1", "paid"), work(2, "o-1", "paid")];
        assert_eq!(letters(&apply(&ledger, replays.clone())), "ADD");
        assert_eq!(letters(&apply(&ledger, replays)), "DDD");
        assert_eq!(letters(&apply(&ledger, [work(6, "o-2", "created")])), "A", "the replay's own id is not used up");
        let keys = [work(2, "o-1", "paid"), replay(7, 2, "o-1", "paid")].map(|work| work.idempotency_key());
        assert_eq!(keys[0], keys[1]);
        store.contents().assert_consistent();
    }

    pub(super) fn an_entry_id_is_known_within_its_stream_and_group_only<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let id = EntryId::new(1, 0);
        let sources = [source("a", "g"), source("b", "g"), source("b", "h")];
        for (source, order) in sources.iter().zip(["o-1", "o-2", "o-3"]) {
            assert_eq!(letters(&apply(&ledger, [work_from(source, id, order, "created")])), "A");
        }
        for (source, order) in sources.iter().zip(["o-1", "o-2", "o-3"]) {
            assert_eq!(letters(&apply(&ledger, [work_from(source, id, order, "created")])), "D");
        }
        store.contents().assert_consistent();
    }

    pub(super) fn an_id_that_comes_again_with_another_entry_is_applied_and_both_are_known_from_then_on<S: Store>() {
        let store = S::new();
        let parts = parts();
        let first = [
            work_with(1, "o-1", "created", ""),
            work_with(2, "o-1", "paid", ""),
            work_with(3, "o-2", "created", ""),
            work_with(9, "o-2", "paid", ""),
        ];
        let second = [
            work_with(1, "o-3", "created", ""),
            work_with(2, "o-1", "shipped", ""),
            work_with(4, "o-3", "paid", ""),
            work_with(3, "o-3", "shipped", ""),
        ];
        let third = [work_with(2, "o-4", "created", ""), work_with(1, "o-4", "paid", "")];
        let ledger = store.open_with(parts.clone());
        // Another worker on the same ledger, which does not see the first one's memory.
        let other = store.open_with(parts.clone());
        assert_eq!(letters(&apply(&other, first[..1].to_vec())), "A");
        assert_eq!((letters(&apply(&ledger, first.clone())), generations(&parts.telemetry)), ("DAAA".into(), 0));
        assert_eq!((letters(&apply(&ledger, second.clone())), generations(&parts.telemetry)), ("AAAA".into(), 1));
        let all: Vec<Work> = first.iter().chain(&second).cloned().collect();
        assert_eq!(letters(&apply(&other, all.clone())), "DDDDDDDD");
        assert_eq!((letters(&apply(&other, third.clone())), generations(&parts.telemetry)), ("AA".into(), 2));
        drop((ledger, other));

        let ledger = store.open_with(parts.clone());
        let all: Vec<Work> = third.iter().chain(&all).cloned().collect();
        assert_eq!(letters(&apply(&ledger, all)), "D".repeat(10), "after opening the ledger again");
        assert_eq!(generations(&parts.telemetry), 2);
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!(contents.life("o-3"), "created paid shipped");
    }

    pub(super) fn a_refused_event_begins_no_generation<S: Store>() {
        let store = S::new();
        let parts = parts();
        let ledger = store.open_with(parts.clone());
        let original = work_with(1, "o-1", "created", "");
        assert_eq!(letters(&apply(&ledger, [original.clone()])), "A");
        let early = work_with(1, "o-2", "shipped", "");
        assert_eq!(letters(&apply(&ledger, [early.clone(), original.clone()])), "TD");
        assert_eq!(generations(&parts.telemetry), 0);
        store.contents().assert_consistent();
        assert_eq!(
            letters(&apply(&ledger, [work_with(2, "o-2", "created", ""), work_with(3, "o-2", "paid", "")])),
            "AA"
        );
        assert_eq!(letters(&apply(&ledger, [early.clone(), original, early])), "ADD");
        assert_eq!(generations(&parts.telemetry), 1);
        store.contents().assert_consistent();
    }

    pub(super) fn entries_below_the_bound_are_forgotten_and_no_others<S: Store>() {
        const NOW: Duration = Duration::ZERO;
        let store = S::new();
        let ledger = store.open();
        let events: Vec<Work> = (0..2500).map(|n| work(n, &format!("o-{n}"), "created")).collect();
        let elsewhere = work_from(&source("other:events", "g"), EntryId::new(1, 0), "o-else", "created");
        assert_eq!(letters(&apply(&ledger, [events.clone(), vec![elsewhere.clone()]].concat())), "A".repeat(2501));
        assert_eq!(prune(&ledger, None, NOW, None), [0, 0], "nobody knows a bound");
        assert_eq!(prune(&ledger, Some(EntryId::new(2200, 5)), NOW, None), [2200, 0]);
        assert_eq!(store.contents().counts.inbox, 301);
        assert_eq!(letters(&apply(&ledger, events[2200..].to_vec())), "D".repeat(300));
        assert_eq!(letters(&apply(&ledger, [elsewhere])), "D", "the bound is that of one stream");
        assert_eq!(store.contents().counts.events, 2501, "the history is kept");
        // An id that is forgotten is free: a stream that begins again may use it.
        assert_eq!(letters(&apply(&ledger, [work(7, "o-new", "created")])), "A");
    }

    pub(super) fn an_entry_is_remembered_until_it_was_out_of_reach_for_long_enough<S: Store>() {
        const HOUR: Duration = Duration::from_hours(1);
        let store = S::new();
        let events = [work(1, "o-1", "created"), work(2, "o-1", "paid")];
        {
            let ledger = store.open();
            assert_eq!(letters(&apply(&ledger, events.clone())), "AA");
            assert_eq!(prune(&ledger, Some(EntryId::MAX), HOUR, None), [0, 0], "nobody has been watching for an hour");
            assert_eq!(letters(&apply(&ledger, events.clone())), "DD");
        }
        let ledger = store.open();
        assert_eq!(prune(&ledger, Some(EntryId::new(2, 0)), HOUR, None), [0, 0]);
        let span = Duration::from_millis(1);
        wait_until("the last bound has held for a millisecond", || {
            prune(&ledger, Some(EntryId::new(2, 0)), span, None)[0] == 1
        });
        assert_eq!(letters(&apply(&ledger, [events[1].clone()])), "D", "what is in reach is remembered");
    }

    pub(super) fn what_a_replay_repeats_is_remembered_for_as_long_as_the_replay_can_come_again<S: Store>() {
        const NOW: Duration = Duration::ZERO;
        let store = S::new();
        let ledger = store.open();
        let replay = |ms: u64, of: u64, order: &str| {
            let mut work = work(ms, order, "created");
            work.event.to_mut().replay_of = Some(EntryId::new(of, 0));
            work
        };
        let events = [work(1, "o-1", "created"), replay(100, 2, "o-2"), replay(200, 3, "o-3")];
        assert_eq!(letters(&apply(&ledger, events.clone())), "AAA");
        assert_eq!(prune(&ledger, Some(EntryId::new(50, 0)), NOW, None), [1, 0], "1-0, which came by itself");
        assert_eq!(letters(&apply(&ledger, events[1..].to_vec())), "DD");
        wait_until("what the first replay repeated is forgotten", || {
            prune(&ledger, Some(EntryId::new(150, 0)), NOW, None)[0] == 1
        });
        assert_eq!(letters(&apply(&ledger, [events[2].clone()])), "D");
    }

    pub(super) fn the_history_is_kept_for_as_long_as_it_should_be<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let events: Vec<Work> = (0..2500).map(|n| work(n, &format!("o-{n}"), "created")).collect();
        assert_eq!(letters(&apply(&ledger, events)), "A".repeat(2500));
        assert_eq!(prune(&ledger, None, Duration::ZERO, Some(Duration::from_hours(1))), [0, 0]);
        let before = store.contents();
        let mut forgotten = 0;
        wait_until("the history is older than a millisecond", || {
            forgotten += prune(&ledger, None, Duration::ZERO, Some(Duration::from_millis(1)))[1];
            forgotten == 2499
        });
        assert_eq!(letters(&apply(&ledger, [work(2500, "o-1", "paid")])), "A");
        let after = store.contents();
        assert_eq!(after.counts.orders, before.counts.orders, "orders stay");
        assert_eq!(after.counts.inbox, 2501, "and so does the inbox");
        let seqs: Vec<u64> = after.history.iter().map(|(_, row)| row.seq).collect();
        let last = before.history.last().unwrap().1.seq;
        assert!(seqs.len() == 2 && seqs[0] == last, "numbers go on where they were: {seqs:?}, {last}");
    }

    pub(super) fn a_ledger_has_a_name_and_says_how_far_it_has_come<S: Store>() {
        let (store, another) = (S::new(), S::new());
        let usual = source("orders:events", "order-processors");
        let standing =
            |ledger: &dyn Ledger, source: &Arc<Source>| block_on(ledger.standing(Arc::clone(source))).unwrap();
        let ledger = store.open();
        let new = standing(&ledger, &usual);
        assert_eq!((new.last, new.highest), (0, EntryId::MIN));
        assert_ne!(new.ledger, standing(&another.open(), &usual).ledger);

        let elsewhere = source("other:events", "g");
        let batch = [
            work(7, "o-1", "created"),
            work(9, "o-2", "paid"),
            work(5, "o-1", "paid"),
            work_from(&elsewhere, EntryId::new(8, 1), "o-3", "created"),
        ];
        assert_eq!(letters(&apply(&ledger, batch)), "ATAA");
        drop(ledger);
        let ledger = store.open();
        let last = store.contents().history.last().unwrap().1.seq;
        assert_eq!(standing(&ledger, &usual), Mark { last, highest: EntryId::new(7, 0), ..new.clone() });
        assert_eq!(standing(&ledger, &elsewhere), Mark { last, highest: EntryId::new(8, 1), ..new });
    }

    pub(super) fn where_an_order_stands_is_told_to_those_who_ask_for_it<S: Store>() {
        let store = S::new();
        let batch = [
            work(1, "o-1", "created"),
            work(2, "o-2", "created"),
            work(3, "o-1", "paid"),
            work(1, "o-1", "created"),
            work(4, "o-2", "delivered"),
        ];
        let outcomes = apply(&store.open_telling(), batch.clone());
        assert_eq!(letters(&outcomes), "AAADT");
        let told = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::AppliedTo(effect) => Some((effect.user.as_str(), effect.state, effect.version, effect.at_ms)),
            _ => None,
        });
        let at = u64::try_from(store.contents().history[0].1.applied_at.as_millisecond()).unwrap();
        let expected = [
            ("user-of-o-1", State::Created, 1, at),
            ("user-of-o-2", State::Created, 1, at),
            ("user-of-o-1", State::Paid, 2, at),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(
            apply(&S::new().open(), batch)[..3],
            vec![Outcome::Applied; 3],
            "the others are not bothered with it"
        );
    }

    pub(super) fn an_event_that_was_published_twice_has_one_effect<S: Store>() {
        let store = S::new();
        let named = |ms, order: &str, action: &str, id: Option<&str>| {
            let mut work = work(ms, order, action);
            work.event.to_mut().event_id = id.map(Into::into);
            work
        };
        let ledger = store.open();
        let batch = [
            named(1, "o-1", "created", Some("e-1")),
            named(2, "o-1", "created", Some("e-1")),
            named(3, "o-1", "shipped", Some("e-3")),
            named(4, "o-2", "created", None),
            named(5, "o-3", "created", None),
        ];
        assert_eq!(letters(&apply(&ledger, batch)), "ADTAA", "in one batch");
        assert_eq!(letters(&apply(&ledger, [named(6, "o-1", "paid", Some("e-6"))])), "A");
        let retried = [named(3, "o-1", "shipped", Some("e-3")), named(6, "o-1", "paid", Some("e-6"))];
        assert_eq!(letters(&apply(&ledger, retried)), "AD", "what was refused has not used up its id");
        drop(ledger);

        let ledger = store.open();
        let mut elsewhere = named(1, "o-1", "refunded", Some("e-6"));
        elsewhere.context.source = source("other:events", "others");
        assert_eq!(letters(&apply(&ledger, [elsewhere, named(7, "o-1", "shipped", Some("e-3"))])), "DD");
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!(contents.life("o-1"), "created paid shipped");
    }

    pub(super) fn the_steps_that_an_order_can_take_are_those_of_the_rules<S: Store>() {
        let store = S::new();
        let steps = "created: none -> created; packed: created -> paid; shipped: paid -> shipped".parse().unwrap();
        let ledger = store.open_with(Parts { rules: Rules { steps, ..Rules::default() }, ..parts() });
        let batch = [
            work(1, "o-1", "created"),
            work(2, "o-1", "packed"),
            work(3, "o-1", "shipped"),
            work(4, "o-2", "packed"),
            work(5, "o-3", "created"),
            work(6, "o-3", "paid"),
        ];
        assert_eq!(letters(&apply(&ledger, batch)), "AAATAP");
        assert_eq!(store.contents().orders["o-1"].order.state, State::Shipped);
    }

    pub(super) fn an_unknown_action_is_refused_or_ignored_or_recorded<S: Store>() {
        for (unknown, expected, life, again) in [
            (UnknownAction::DeadLetter, "PAPA", "created paid", "PP"),
            (UnknownAction::Ignore, "IAIA", "created paid", "II"),
            (UnknownAction::Record, "TAAA", "created gift-wrapped paid", "TD"),
        ] {
            let store = S::new();
            let ledger = store.open_with(Parts { rules: Rules { unknown, ..Rules::default() }, ..parts() });
            let batch = [work(1, "o-2", "gift-wrapped"), work(2, "o-1", "created"), work(3, "o-1", "gift-wrapped")];
            let outcomes = letters(&apply(&ledger, batch)) + &letters(&apply(&ledger, [work(4, "o-1", "paid")]));
            assert_eq!(outcomes, expected, "{unknown:?}");
            let events = [work(1, "o-2", "gift-wrapped"), work(3, "o-1", "gift-wrapped")];
            assert_eq!(letters(&apply(&ledger, events)), again, "{unknown:?}, delivered again");
            let contents = store.contents();
            contents.assert_consistent();
            assert_eq!((contents.life("o-1"), contents.orders.len()), (life.to_owned(), 1), "{unknown:?}");
            assert_eq!(contents.orders["o-1"].order.state, State::Paid, "{unknown:?}");
        }
    }

    pub(super) fn neighbours_of_a_bad_event_are_applied<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let batch = [
            work(1, "o-1", "created"),
            work(2, "o-2", "shipped"),
            work(3, "o-3", "created"),
            work(4, "o-3", "created"),
            work(5, "o-4", "gift-wrapped"),
            work(6, "o-1", "paid"),
        ];
        assert_eq!(letters(&apply(&ledger, batch)), "ATAPPA");
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!((contents.life("o-1"), contents.life("o-3")), ("created paid".into(), "created".into()));
        assert_eq!(contents.counts.orders, 2, "a refused event leaves nothing behind");
    }

    pub(super) fn after_a_failure_the_rest_of_that_order_is_not_reached<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let batch = [
            work(1, "o-1", "paid"),
            work(2, "o-1", "created"),
            work(3, "o-2", "created"),
            work(4, "o-1", "gift-wrapped"),
            work(5, "o-2", "paid"),
        ];
        assert_eq!(letters(&apply(&ledger, batch)), "TNANA");
        assert!(!store.contents().orders.contains_key("o-1"));
        // The next batch knows nothing of it: what was not reached comes again by itself.
        assert_eq!(letters(&apply(&ledger, [work(2, "o-1", "created"), work(1, "o-1", "paid")])), "AA");
        store.contents().assert_consistent();
    }

    pub(super) fn an_event_that_came_too_early_is_applied_when_its_time_has_come<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let shipped = || [work(3, "o-1", "shipped")];
        assert_eq!(letters(&apply(&ledger, shipped())), "T");
        assert_eq!(letters(&apply(&ledger, [work(1, "o-1", "created")])), "A");
        assert_eq!(letters(&apply(&ledger, shipped())), "T");
        assert_eq!(letters(&apply(&ledger, [work(2, "o-1", "paid")])), "A");
        assert_eq!(letters(&apply(&ledger, shipped())), "A");
        assert_eq!(letters(&apply(&ledger, shipped())), "D");
        assert_eq!(store.contents().life("o-1"), "created paid shipped");
    }

    pub(super) fn rows_say_what_the_events_said<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let from = source("shop:events", "workers");
        let events = [
            work_from(&from, EntryId::new(1_700_000_000_000, 7), "o 'ü'\u{1}", "created"),
            work_from(&from, EntryId::new(u64::MAX, u64::MAX), "o 'ü'\u{1}", "paid"),
            work_from(&from, EntryId::new(u64::MAX, 1 << 63), "o 'ü'\u{1}", "shipped"),
        ];
        assert_eq!(letters(&apply(&ledger, events)), "AAA");
        let Contents { counts, orders, history } = store.contents();
        let order = &orders["o 'ü'\u{1}"];
        assert_eq!(order.order.user.as_str(), "user-of-o 'ü'\u{1}");
        assert_eq!((order.order.state, order.order.version), (State::Shipped, 3));
        assert_eq!(order.order.amount.to_string(), "10.50");
        let ids: Vec<String> = history.iter().map(|(_, row)| row.entry.to_string()).collect();
        let largest = "18446744073709551615";
        assert_eq!(
            ids,
            ["1700000000000-7", &format!("{largest}-{largest}"), &format!("{largest}-9223372036854775808")]
        );
        let amounts: Vec<bool> = history.iter().map(|(_, row)| row.amount.is_some()).collect();
        assert_eq!(amounts, [true, true, false]);
        assert!(history.iter().all(|(_, row)| row.stream.as_str() == "shop:events"));
        assert!(order.created_at <= order.updated_at && order.updated_at == history[2].1.applied_at);
        assert_eq!(counts.by_state, BTreeMap::from([(State::Shipped, 1)]));
    }

    pub(super) fn batches_that_come_at_once_are_all_answered<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let batches = (0..200u64).map(|n| -> Batch {
            let order = format!("o-{n}");
            Arc::new(vec![work(2 * n, &order, "created"), work(2 * n + 1, &order, "paid")])
        });
        let answers = block_on(join_all(batches.map(|batch| ledger.apply(batch))));
        assert!(answers.iter().all(|outcomes| letters(outcomes) == "AA"));
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!(contents.counts.events, 400);
    }

    pub(super) fn what_is_committed_later_stands_later_in_the_history<S: Store>() {
        let store = S::new();
        let ids = [5u64, 3, 9, 1, 7, 2];
        for pair in ids.chunks(2) {
            // A ledger of its own for each, as after a restart.
            let ledger = store.open();
            let events: Vec<Work> = pair.iter().map(|id| work(*id, &format!("o-{id}"), "created")).collect();
            assert_eq!(letters(&apply(&ledger, events)), "AA");
        }
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!(contents.history.iter().map(|(_, row)| row.entry.ms).collect::<Vec<_>>(), ids);
    }

    pub(super) fn an_empty_batch_is_answered<S: Store>() {
        let store = S::new();
        assert_eq!(apply(&store.open(), []), []);
        assert_eq!(store.contents().counts, Counts::default());
    }

    pub(super) fn orders_are_listed_by_user_by_state_and_page_by_page<S: Store>() {
        let store = S::new();
        let ledger = store.open();
        let from = source("orders:events", "order-processors");
        let mut events: Vec<Work> = (0..10)
            .map(|n| {
                let mut created = work_from(&from, EntryId::new(n, 0), &format!("o-{n}"), "created");
                created.event.to_mut().user = Some(if n % 2 == 0 { "even" } else { "odd" }.into());
                created
            })
            .collect();
        events.extend((0..3).map(|n| work(100 + n, &format!("o-{n}"), "paid")));
        assert_eq!(letters(&apply(&ledger, events)), "A".repeat(13));

        let reader = store.reader();
        let ids = |filter: OrderFilter| -> Vec<String> {
            reader.orders(&filter).unwrap().iter().map(|row| row.id.to_string()).collect()
        };
        let even = Some("even".into());
        assert_eq!(ids(OrderFilter { user: even.clone(), ..all() }), ["o-0", "o-2", "o-4", "o-6", "o-8"]);
        assert_eq!(ids(OrderFilter { state: Some(State::Paid), ..all() }), ["o-0", "o-1", "o-2"]);
        assert_eq!(ids(OrderFilter { user: even, state: Some(State::Paid), ..all() }), ["o-0", "o-2"]);
        assert_eq!(ids(OrderFilter { after: Some("o-3".into()), limit: 2, ..all() }), ["o-4", "o-5"]);
        assert_eq!(reader.order(&"o-99".into()).unwrap(), None);
    }

    /// Two workers get different events of one order.
    pub(super) fn two_ledgers_that_change_one_order_lose_no_change<S: Store>() {
        const EACH: u64 = 40;
        let store = S::new();
        let refund = |ms| {
            let mut refund = work(ms, "o-1", "refunded");
            refund.event.to_mut().amount = Some("0.01".parse().unwrap());
            refund
        };
        assert_eq!(letters(&apply(&store.open(), [work(1, "o-1", "created"), work(2, "o-1", "paid")])), "AA");
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for first in [10, 10 + EACH] {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    let ledger = store.open();
                    start.wait();
                    for ms in first..first + EACH {
                        assert_eq!(letters(&apply(&ledger, [refund(ms)])), "A");
                    }
                });
            }
        });
        let contents = store.contents();
        contents.assert_consistent();
        let order = &contents.orders["o-1"].order;
        assert_eq!((order.version, order.refunded.to_string().as_str()), (2 + 2 * EACH, "0.80"));
    }

    /// Two workers get the same events, each beginning with another half. Every event is applied by one of them.
    pub(super) fn two_ledgers_on_one_store_apply_each_event_once<S: Store>() {
        const HALF: u64 = 300;
        let store = S::new();
        let half = |first: u64| -> Vec<Vec<Work>> {
            let life = |n: u64| {
                let step = |(at, action): (u64, &&str)| work(4 * n + at, &format!("o-{n}"), action);
                (0..4).zip(&["created", "paid", "shipped", "refunded"]).map(step).collect()
            };
            (first..first + HALF).map(life).collect()
        };
        let start = Barrier::new(2);
        let run = |halves: [u64; 2]| {
            let ledger = store.open();
            start.wait();
            let applied =
                halves.map(|first| half(first).into_iter().map(|life| letters(&apply(&ledger, life))).collect());
            applied.map(|outcomes: Vec<String>| outcomes.concat())
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| run([HALF, 0]));
            (run([0, HALF]), other.join().unwrap())
        });
        let count = |letter: char, of: &[String; 2]| of.concat().chars().filter(|found| *found == letter).count();
        let applied = [count('A', &one), count('A', &other)];
        assert_eq!(applied.iter().sum::<usize>(), 8 * 300, "{one:?} {other:?}");
        assert_eq!(count('D', &one) + count('D', &other), 8 * 300);
        assert!(applied.iter().all(|applied| *applied > 400), "both have to get on: {applied:?}");
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!(contents.counts.events, 8 * HALF);
        assert!(contents.orders.values().all(|row| row.order.version == 4));
    }
}

/// Makes a test of each promise for one store.
macro_rules! holds_for {
    ($store:ty) => {
        holds_for!(
            $store: a_redelivered_event_changes_nothing,
            a_replay_is_the_event_it_repeats,
            an_entry_id_is_known_within_its_stream_and_group_only,
            an_id_that_comes_again_with_another_entry_is_applied_and_both_are_known_from_then_on,
            a_refused_event_begins_no_generation,
            entries_below_the_bound_are_forgotten_and_no_others,
            an_entry_is_remembered_until_it_was_out_of_reach_for_long_enough,
            what_a_replay_repeats_is_remembered_for_as_long_as_the_replay_can_come_again,
            the_history_is_kept_for_as_long_as_it_should_be,
            a_ledger_has_a_name_and_says_how_far_it_has_come,
            where_an_order_stands_is_told_to_those_who_ask_for_it,
            an_event_that_was_published_twice_has_one_effect,
            the_steps_that_an_order_can_take_are_those_of_the_rules,
            an_unknown_action_is_refused_or_ignored_or_recorded,
            neighbours_of_a_bad_event_are_applied,
            after_a_failure_the_rest_of_that_order_is_not_reached,
            an_event_that_came_too_early_is_applied_when_its_time_has_come,
            rows_say_what_the_events_said,
            batches_that_come_at_once_are_all_answered,
            what_is_committed_later_stands_later_in_the_history,
            an_empty_batch_is_answered,
            orders_are_listed_by_user_by_state_and_page_by_page,
            two_ledgers_on_one_store_apply_each_event_once,
            two_ledgers_that_change_one_order_lose_no_change,
        );
    };
    ($store:ty: $($promise:ident),+ $(,)?) => {
        $(#[test] fn $promise() {
            if <$store as super::Store>::is_here() {
                super::contract::$promise::<$store>();
            }
        })+
    };
}
use holds_for;

mod sqlite {
    use super::*;

    holds_for!(SqliteStore);

    /// A file in a folder of its own.
    struct SqliteStore {
        folder: TempDir,
    }

    impl SqliteStore {
        fn path(&self) -> PathBuf {
            self.folder.path().join("orderd.db")
        }
    }

    impl Store for SqliteStore {
        fn new() -> Self {
            Self { folder: TempDir::new().unwrap() }
        }

        fn open_with(&self, parts: Parts) -> impl Ledger {
            SqliteLedger::open(&self.path(), parts).unwrap()
        }

        fn open_telling(&self) -> impl Ledger {
            SqliteLedger::open(&self.path(), parts()).unwrap().telling_effects()
        }

        fn reader(&self) -> LedgerReader {
            LedgerReader::open(&Location::Sqlite(self.path())).unwrap()
        }
    }

    fn why(path: &Path) -> String {
        SqliteLedger::open(path, parts()).unwrap_err().to_string()
    }

    #[test]
    fn while_another_process_holds_the_lock_the_ledger_is_unavailable_and_later_it_works() {
        let store = SqliteStore::new();
        let ledger = store.open();
        let blocker = Connection::open(store.path()).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let outcomes = apply(&ledger, [work(1, "o-1", "created"), work(2, "o-2", "created")]);
        assert_eq!(letters(&outcomes), "UU");
        let Outcome::Failed(failure) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(failure.message(), "the ledger cannot be written: another process has held its lock for too long");
        blocker.execute_batch("ROLLBACK").unwrap();
        assert_eq!(letters(&apply(&ledger, [work(1, "o-1", "created"), work(2, "o-2", "created")])), "AA");
    }

    #[test]
    fn a_text_with_a_character_0_is_kept_as_it_is() {
        let store = SqliteStore::new();
        assert_eq!(letters(&apply(&store.open(), [work(1, "o\0", "created")])), "A");
        assert_eq!(store.contents().orders["o\0"].order.user.as_str(), "user-of-o\0");
    }

    #[test]
    fn a_row_that_somebody_has_spoilt_holds_up_its_own_order_only() {
        let store = SqliteStore::new();
        let ledger = store.open();
        apply(&ledger, [work(1, "o-1", "created"), work(2, "o-2", "created")]);
        let by_hand = Connection::open(store.path()).unwrap();
        by_hand.execute("UPDATE orders SET paid = 'much' WHERE order_id = 'o-1'", []).unwrap();
        let outcomes = apply(&ledger, [work(3, "o-1", "paid"), work(4, "o-2", "paid")]);
        assert_eq!(letters(&outcomes), "TA");
        let Outcome::Failed(failure) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(failure.message().contains("paid") && !failure.message().contains("much"), "{failure:?}");
        by_hand.execute("UPDATE orders SET paid = '0' WHERE order_id = 'o-1'", []).unwrap();
        assert_eq!(letters(&apply(&ledger, [work(3, "o-1", "paid")])), "A");
    }

    #[test]
    fn workers_that_start_at_once_on_a_new_file_all_find_a_ledger() {
        let store = SqliteStore::new();
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for n in 0..6 {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    start.wait();
                    let ledger = store.open();
                    assert_eq!(letters(&apply(&ledger, [work(n, &format!("o-{n}"), "created")])), "A");
                });
            }
        });
        assert_eq!(store.contents().counts.orders, 6);
    }

    #[test]
    fn what_is_not_a_ledger_is_refused_and_left_alone() {
        let store = SqliteStore::new();
        let text = "This is a letter and no database. ".repeat(100);
        std::fs::write(store.path(), &text).unwrap();
        let name = store.path().display().to_string();
        assert_eq!(why(&store.path()), format!("{name} is not a ledger of orderd: it is no SQLite database"));
        assert_eq!(std::fs::read_to_string(store.path()).unwrap(), text);

        std::fs::remove_file(store.path()).unwrap();
        let foreign = Connection::open(store.path()).unwrap();
        foreign.execute_batch("CREATE TABLE orders (id)").unwrap();
        let before = std::fs::read(store.path()).unwrap();
        assert!(why(&store.path()).ends_with("it is an SQLite database of something else"));
        assert_eq!(std::fs::read(store.path()).unwrap(), before);
    }

    #[test]
    fn a_ledger_of_a_newer_orderd_is_refused_by_writers_and_readers() {
        let store = SqliteStore::new();
        drop(store.open());
        Connection::open(store.path()).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let newer = LedgerError::NewerSchema { path: store.path(), found: 99, known: 4 };
        assert_eq!(SqliteLedger::open(&store.path(), parts()).unwrap_err(), newer);
        assert_eq!(SqliteReader::open_read_only(&store.path()).unwrap_err(), newer);
        assert!(newer.to_string().ends_with("use a newer orderd"));
    }

    #[test]
    fn a_ledger_of_an_older_orderd_is_brought_up_to_date_and_knows_what_it_knew() {
        let store = SqliteStore::new();
        let old = Connection::open(store.path()).unwrap();
        old.execute_batch(include_str!("../../src/ledger/schema/sqlite-1.sql")).unwrap();
        old.execute_batch(
            "PRAGMA application_id = 0x6f726472; PRAGMA user_version = 1;
            INSERT INTO sources VALUES (1, 'orders:events', 'order-processors');
            INSERT INTO inbox VALUES (1, 1, 0);
            INSERT INTO orders VALUES (1, 'o-1', 'u', 'created', '10.50', '0', '0', 1, 5, 5);
            INSERT INTO history VALUES (1, 1, 1, 1, 0, 'created', '10.50', 'created', 1, 5);",
        )
        .unwrap();
        drop(old);
        let ledger = store.open();
        assert_eq!(letters(&apply(&ledger, [work(1, "o-1", "created"), work(2, "o-1", "paid")])), "DA");
        let contents = store.contents();
        contents.assert_consistent();
        assert_eq!(contents.life("o-1"), "created paid");
    }

    #[test]
    fn a_place_where_no_ledger_can_be_says_why() {
        let store = SqliteStore::new();
        let folder = store.folder.path();
        assert!(why(folder).ends_with("it is a folder"));
        let nowhere = folder.join("none");
        assert!(why(&nowhere.join("orderd.db")).ends_with(&format!("there is no folder {}", nowhere.display())));
        assert!(why(Path::new(":memory:")).contains("no write-ahead log is possible"));
    }

    #[test]
    fn a_reader_makes_no_file_and_takes_no_empty_one() {
        let store = SqliteStore::new();
        let open = || SqliteReader::open_read_only(&store.path()).unwrap_err();
        assert_eq!(open(), LedgerError::Missing { path: store.path() });
        assert!(!store.path().exists());
        std::fs::write(store.path(), "").unwrap();
        assert_eq!(open(), LedgerError::NotALedger { path: store.path(), why: "it is empty" });
    }

    #[test]
    fn the_documentation_knows_every_column_and_its_queries_run() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ledger.md")).unwrap();
        let store = SqliteStore::new();
        drop(store.open());
        let conn = Connection::open(store.path()).unwrap();
        let sql = "SELECT m.name, c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c
            WHERE m.type IN ('table', 'view')";
        let mut columns = conn.prepare(sql).unwrap();
        let columns = columns.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        for (table, column) in columns.map(Result::unwrap) {
            let line =
                |line: &str| line.starts_with(&format!("| `{table}` |")) && line.contains(&format!("`{column}`"));
            let section = text.split("\n### ").find(|section| section.starts_with(&format!("`{table}`")));
            let in_section = section.is_some_and(|section| section.contains(&format!("\n| `{column}` |")));
            assert!(in_section || text.lines().any(line), "docs/ledger.md does not know {table}.{column}");
        }
    }

    #[test]
    fn the_reports_of_the_documentation_say_what_stands_there() {
        let store = SqliteStore::new();
        tell_the_story_of_the_documentation(&store.open(), 0);
        let conn = Connection::open(store.path()).unwrap();
        let reports = documented_reports("```sql\n");
        assert_eq!(reports.len(), 4);
        for Report { query, rows } in reports {
            let mut statement = conn.prepare(&query).unwrap();
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| (0..columns).map(|n| Ok(cell(row.get_ref(n)?))).collect();
            let found: Vec<Vec<String>> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
            assert_eq!(without_times(found), rows, "{query}");
        }
    }

    fn cell(value: ValueRef<'_>) -> String {
        match value {
            ValueRef::Null => String::new(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("{other:?}"),
        }
    }
}
