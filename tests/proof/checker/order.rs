//! The order of each order's events.
//!
//! Owns: out of order, overtaken.
//! Never: a judgement where several workers shared the stream: across workers no order is promised, so it is only counted.

use std::collections::HashMap;

use super::history::History;
use super::record::{Applied, Letter};
use super::{Class, Violation};

pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    if !history.run.one_at_a_time {
        return;
    }
    for (earlier, later) in inversions(history) {
        let what = format!("it was applied before {}, which stands before it on the stream", earlier.entry);
        found.push(Violation { class: Class::OutOfOrder, entry: Some(later.entry), what });
    }
    for (letter, row) in overtakings(history) {
        let what = format!("{:?} of its order was still being tried", letter.fact("_id").unwrap_or_default());
        found.push(Violation { class: Class::Overtaken, entry: Some(row.entry), what });
    }
}

/// Pairs of events of one order of which the later one was applied first.
pub(crate) fn inversions(history: &History) -> Vec<(&Applied, &Applied)> {
    let mut newest: HashMap<&str, &Applied> = HashMap::new();
    let mut found = Vec::new();
    for row in &history.applied {
        let newest = newest.entry(&row.order).or_insert(row);
        if row.entry < newest.entry {
            found.push((row, *newest));
        } else {
            *newest = row;
        }
    }
    found
}

/// Events that were applied before an earlier one of their order was given up. Only what had failed before was being tried: what
/// cannot be decoded belongs to no order.
pub(crate) fn overtakings(history: &History) -> Vec<(&Letter, &Applied)> {
    let mut found = Vec::new();
    for letter in &history.letters {
        let failures: u64 = letter.fact("_failures").and_then(|text| text.parse().ok()).unwrap_or(0);
        let order = letter.fields.iter().find(|(name, _)| name == "orderId").map(|(_, value)| value);
        let dead_at: Option<u64> = letter.fact("_dead_at").and_then(|text| text.parse().ok());
        let (Some(id), Some(order), Some(dead_at)) = (letter.entry(), order, dead_at) else { continue };
        if failures == 0 {
            continue;
        }
        let later = history.applied.iter().filter(|row| row.order == *order && row.entry > id && row.at < dead_at);
        found.extend(later.map(|row| (letter, row)));
    }
    found
}
