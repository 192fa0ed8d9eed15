//! What the checker tells.
//!
//! Owns: the counts of what is only reported, and the life of an entry, as far as the files know it.
//! Never: a judgement.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use super::history::History;
use super::moments::{instance, pending};
use super::order::{inversions, overtakings};
use super::record::{Id, What};
use super::{Class, Verdict, Violation};

/// So many entries of each class are shown with their whole life.
const WITNESSES: usize = 10;

/// How often what happened.
pub(crate) fn counts(history: &History) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |what: &str, count: usize| *counts.entry(what.to_owned()).or_default() += count as u64;
    add("added", history.added.len());
    let ids: HashSet<Id> = history.added.iter().filter_map(|added| added.id).map(|id| id.in_life(0)).collect();
    add("ids used again", history.added.iter().filter(|added| added.id.is_some()).count() - ids.len());
    add("unanswered", history.added.iter().filter(|added| added.id.is_none()).count());
    add("applied", history.applied.len());
    add("dead letters", history.letters.len());
    add("samples", history.samples.len());
    add("lost by Redis", history.index.forgotten.iter().filter(|id| !history.is_settled(**id)).count());
    add("deleted by others", history.index.deleted.iter().filter(|id| !history.is_settled(**id)).count());
    add("inversions", inversions(history).len());
    add("overtakings", overtakings(history).len());
    add("witnessed", history.witness.iter().map(|line| line.entry).collect::<HashSet<Id>>().len());
    let suppressed = history.witness.iter().filter(|line| !line.fresh).count();
    add("duplicates suppressed", suppressed);
    let lengths = history.samples.iter().map(|sample| usize::try_from(sample.stream.length).unwrap_or(usize::MAX));
    add("longest stream", lengths.max().unwrap_or_default());
    let redelivered = redelivered(history);
    add("redelivered", redelivered.len());
    add("recovered", redelivered.iter().filter(|id| history.is_settled(**id)).count());
    for fact in &history.facts {
        match &fact.what {
            What::Started { .. } => add("starts", 1),
            What::Killed { in_flight, .. } => {
                add("kills", 1);
                add("in flight at a kill", usize::try_from(*in_flight).unwrap_or(usize::MAX));
            }
            What::Crashed { place, .. } => {
                add("crashes", 1);
                add(&format!("crashes {place}"), 1);
            }
            What::Frozen { in_flight, .. } => {
                add("freezes", 1);
                add("in flight at a freeze", usize::try_from(*in_flight).unwrap_or(usize::MAX));
            }
            What::Stopped { .. } => add("stops", 1),
            What::ServerRestarted { .. } => add("server restarts", 1),
            What::Deleted { ids } => add("deleted", ids.len()),
            What::GroupLost => add("groups lost", 1),
            What::HeldOnPurpose { ids } => add("held on purpose", ids.len()),
            What::Injected { kind } => add(kind, 1),
            What::Counted { kind, count } => add(kind, usize::try_from(*count).unwrap_or(usize::MAX)),
            What::LettersDeleted { letters } => add("dead letters deleted", letters.len()),
            What::Starved { .. } => add("waits for the machine", 1),
            What::Thawed { .. } | What::Died { .. } | What::NotDrained => {}
        }
    }
    counts
}

/// Entries that were seen with two workers, or as delivered more than once.
fn redelivered(history: &History) -> HashSet<Id> {
    let mut owners: HashMap<Id, &str> = HashMap::new();
    let mut found = HashSet::new();
    for (_, held) in pending(history) {
        let owner = instance(&held.owner);
        if held.count > 1 || *owners.entry(held.id).or_insert(owner) != owner {
            found.insert(held.id);
        }
    }
    found
}

/// What is wrong, for people.
pub(crate) fn report(history: &History, violations: &[Violation], verdict: &Verdict) -> String {
    let mut text = format!("{} (seed {}): {verdict}\n", history.run.name, history.run.seed);
    let mut by_class: BTreeMap<Class, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        by_class.entry(violation.class).or_default().push(violation);
    }
    for (class, violations) in by_class {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{class}: {}", violations.len());
        for violation in violations.iter().take(WITNESSES) {
            let _ = writeln!(text, "  {}", violation.what);
            if let Some(id) = violation.entry {
                life(history, id, &mut text);
            }
        }
    }
    text
}

fn life(history: &History, id: Id, text: &mut String) {
    let mut line = |at: u64, what: String| {
        let _ = writeln!(text, "    {id} {at} {what}");
    };
    if let Some(place) = history.index.added.get(&id) {
        let added = &history.added[*place];
        line(added.at, format!("added, to be {:?}: {:?}", added.fate, added.fields));
    }
    let mut last = None;
    for (at, held) in pending(history).filter(|(_, held)| held.id == id) {
        if last.replace((&held.owner, held.count)) != Some((&held.owner, held.count)) {
            line(at, format!("seen with {}, delivered {} times", held.owner, held.count));
        }
    }
    for row in history.index.applied.get(&id).into_iter().flatten().map(|row| &history.applied[*row]) {
        line(row.at, format!("applied as number {}: {} {} {:?}", row.seq, row.order, row.action, row.amount));
    }
    for letter in history.index.letters.get(&id).into_iter().flatten().map(|place| &history.letters[*place]) {
        line(0, format!("buried: {:?}", letter.fields));
    }
    let added = history.index.added.get(&id).map(|place| history.added[*place].at);
    for fact in history.facts.iter().filter(|fact| added.is_some_and(|at| fact.at + 1000 >= at && fact.at < at + 5000))
    {
        match &fact.what {
            What::Deleted { ids } if !ids.contains(&id) => {}
            What::Deleted { .. } => line(fact.at, "deleted by somebody else".to_owned()),
            What::LettersDeleted { letters } => line(fact.at, format!("({} dead letters deleted)", letters.len())),
            What::Stopped { worker, ok, .. } => line(fact.at, format!("({worker} stopped, in good order: {ok})")),
            what => line(fact.at, format!("({what:?})")),
        }
    }
}
