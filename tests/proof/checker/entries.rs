//! What became of each entry.
//!
//! Owns: lost, unexpected, duplicated, corrupt, unacked at the end, dead letter mismatch.
//! Never: the moment at which it happened (`moments`).

use std::collections::{HashMap, HashSet};

use super::history::History;
use super::lives;
use super::record::{Added, Applied, Fate, Id, Letter, What};
use super::{Class, Violation};

/// Names and values, as they stand in an entry.
type Fields = [(String, String)];

pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    fates(history, found);
    strangers(history, found);
    repeats(history, found);
    contents(history, found);
    sums(history, found);
    letters(history, found);
}

/// Every entry that was added has come to its end.
fn fates(history: &History, found: &mut Vec<Violation>) {
    let group = history.end.groups.iter().find(|group| group.name == history.run.group);
    let pending: HashSet<Id> = group.into_iter().flat_map(|group| &group.pending).map(|held| held.id).collect();
    let delivered = group.map(|group| group.last_delivered);
    for (id, _) in history.answered() {
        if history.is_excused(id) {
            continue;
        }
        let on_stream = history.end.first.is_some_and(|first| first <= id) && id <= history.end.last_generated;
        let undelivered = delivered.is_none_or(|last| id > last);
        if pending.contains(&id) {
            found.push(violation(Class::UnackedAtTheEnd, id, "it is still pending"));
        } else if undelivered && on_stream {
            found.push(violation(Class::UnackedAtTheEnd, id, "it was never delivered"));
        } else if !history.is_settled(id) {
            found.push(violation(Class::Lost, id, "it was neither applied nor buried, and it is not pending"));
        }
    }
}

/// Nothing was applied or buried that was not added. An add without an answer may have worked, once.
fn strangers(history: &History, found: &mut Vec<Violation>) {
    let mut unanswered: HashMap<Vec<(String, String)>, usize> = HashMap::new();
    for added in history.added.iter().filter(|added| added.id.is_none()) {
        *unanswered.entry(added.fields.clone()).or_default() += 1;
    }
    let mut taken: HashSet<Id> = HashSet::new();
    let mut explains = |id: Id, matches: &dyn Fn(&Fields) -> bool| {
        if !taken.insert(id) {
            return true;
        }
        let open = unanswered.iter_mut().find(|(fields, left)| **left > 0 && matches(fields));
        open.map(|(_, left)| *left -= 1).is_some()
    };
    for row in history.applied.iter().filter(|row| !history.index.added.contains_key(&row.entry)) {
        if !explains(row.entry, &|fields| says(fields, row)) {
            found.push(violation(Class::Unexpected, row.entry, "it was applied, and never added"));
        }
    }
    for letter in &history.letters {
        let Some(id) = letter.entry() else {
            let what = format!("a dead letter without the id of its entry: {:?}", letter.fields);
            found.push(Violation { class: Class::DeadLetterMismatch, entry: None, what });
            continue;
        };
        let known = history.index.added.contains_key(&id);
        if !known && !explains(id, &|fields| letter.fields.starts_with(fields)) {
            found.push(violation(Class::Unexpected, id, "it was buried, and never added"));
        }
    }
}

/// Each entry, and each thing that the producer says once, has one effect.
fn repeats(history: &History, found: &mut Vec<Violation>) {
    for (id, rows) in &history.index.applied {
        if rows.len() > 1 {
            found.push(violation(Class::Duplicated, *id, &format!("it was applied {} times", rows.len())));
        }
    }
    let mut said: HashMap<(&str, &str, Option<&str>), Id> = HashMap::new();
    for row in &history.applied {
        let key = (row.order.as_str(), row.action.as_str(), row.amount.as_deref());
        let first = *said.entry(key).or_insert(row.entry);
        if first != row.entry {
            let what = format!("it says what {first} says, which was said once");
            found.push(violation(Class::Duplicated, row.entry, &what));
        }
    }
}

/// What was applied is what was added.
fn contents(history: &History, found: &mut Vec<Violation>) {
    for row in &history.applied {
        let added = history.index.added.get(&row.entry).map(|at| &history.added[*at]);
        let Some(added) = added else { continue };
        if !says(&added.fields, row) {
            let what = format!("applied as {} {} {:?}", row.order, row.action, row.amount);
            found.push(violation(Class::Corrupt, row.entry, &what));
        }
    }
}

/// An order is the sum of its history. The amounts of this producer are whole numbers.
fn sums(history: &History, found: &mut Vec<Violation>) {
    let mut rows: HashMap<&str, Vec<&Applied>> = HashMap::new();
    for row in &history.applied {
        rows.entry(&row.order).or_default().push(row);
    }
    let mut say = |what: String| found.push(Violation { class: Class::Corrupt, entry: None, what });
    for order in &history.orders {
        let rows = rows.remove(order.order.as_str()).unwrap_or_default();
        let refunds = rows.iter().filter(|row| row.action == "refunded");
        let refunded: u64 = refunds.filter_map(|row| row.amount.as_deref()?.parse::<u64>().ok()).sum();
        if order.refunded != refunded.to_string() {
            say(format!("{} says refunded {}, and its history {refunded}", order.order, order.refunded));
        }
        if order.version != rows.len() as u64 {
            say(format!("{} has version {}, and {} events", order.order, order.version, rows.len()));
        }
        if let Some((row, _)) = rows.iter().zip(1..).find(|(row, version)| row.version != *version) {
            say(format!("the versions of {} have a gap at {}", order.order, row.version));
        }
    }
    for order in rows.keys() {
        say(format!("{order} has a history, and is not there"));
    }
}

/// What was buried had to be, is whole, and is there once.
fn letters(history: &History, found: &mut Vec<Violation>) {
    // Whoever makes the group again begins a little earlier; what stands there is buried again.
    let again = history.facts.iter().any(|fact| matches!(fact.what, What::GroupLost));
    let mut say = |id: Id, what: &str| found.push(violation(Class::DeadLetterMismatch, id, what));
    for (id, places) in &history.index.letters {
        if places.len() > 1 && !again {
            say(*id, &format!("it was buried {} times", places.len()));
        }
        if history.index.applied.contains_key(id) {
            say(*id, "it was applied, and buried too");
        }
        let Some(added) = history.index.added.get(id).map(|at| &history.added[*at]) else { continue };
        if added.fate == Fate::Applied {
            let letter = &history.letters[places[0]];
            let (reason, error) = (letter.fact("_reason"), letter.fact("_error"));
            say(*id, &format!("it should have been applied, and was buried: {reason:?} {error:?}"));
        }
        if places.iter().any(|place| !is_whole(&history.letters[*place], added)) {
            say(*id, "its dead letter is not what was added");
        }
    }
    for (id, added) in history.answered() {
        if added.fate == Fate::Buried && history.index.applied.contains_key(&id) {
            say(id, "it should have been buried, and was applied");
        }
    }
}

fn is_whole(letter: &Letter, added: &Added) -> bool {
    letter.fields.starts_with(&added.fields)
        && letter.fields[added.fields.len()..].iter().all(|(name, _)| name.starts_with('_'))
}

/// Whether an entry with these fields can have become this row.
fn says(fields: &Fields, row: &Applied) -> bool {
    lives::says(fields, &row.order, &row.action, row.amount.as_deref())
}

fn violation(class: Class, entry: Id, what: &str) -> Violation {
    Violation { class, entry: Some(entry), what: what.to_owned() }
}
