//! The table of a run of the suite: what was done, how often it bit, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Mutex;

use crate::checker::Judgement;
use crate::scenario::folder;

/// A table that is printed as it grows, and kept in a file.
pub(crate) struct Table {
    name: &'static str,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    /// By their places.
    rows: BTreeMap<usize, String>,
    sums: BTreeMap<String, u64>,
}

/// Counts that are shown in columns of their own, or that are no trouble.
const NOT_DONE: [&str; 17] = [
    "added",
    "applied",
    "dead letters",
    "redelivered",
    "duplicates suppressed",
    "witnessed",
    "samples",
    "deleted by others",
    "inversions",
    "overtakings",
    "recovered",
    "starts",
    "groups lost",
    "longest stream",
    "server restarts",
    "kills",
    "crashes",
];

/// What is summed up below the table.
const SUMS: [(&str, &str); 10] = [
    ("added", "events"),
    ("kills", "kills"),
    ("crashes", "crashes at crash points"),
    ("stops", "stops in good order"),
    ("freezes", "freezes"),
    ("server restarts", "restarts of Redis or failovers"),
    ("redelivered", "entries seen redelivered"),
    ("duplicates suppressed", "duplicates suppressed"),
    ("dead letters", "dead letters"),
    ("lost by Redis", "lost by Redis itself"),
];

impl Table {
    /// An empty table, kept as `target/proof/<name>.md`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rows: Mutex::default() }
    }

    /// Adds the row for the run at `place` of the list.
    pub(crate) fn row(&self, place: usize, run: &str, seed: u64, judgement: &Judgement) {
        let row = row(run, seed, judgement);
        eprintln!("{row}");
        let mut rows = self.rows.lock().expect("no run panicked while it wrote");
        rows.rows.insert(place, row);
        for (what, count) in &judgement.counts {
            *rows.sums.entry(what.clone()).or_default() += count;
        }
        fs::write(folder().join(self.name).with_extension("md"), rows.text()).expect("the table is written");
    }
}

impl Rows {
    fn text(&self) -> String {
        let mut text = "| run | done to it | events | dead letters | redelivered | suppressed | verdict | seed |\n\
                        | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for row in self.rows.values() {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{row}");
        }
        let sums = SUMS.iter().map(|(what, name)| format!("{name}: {}", self.sums.get(*what).copied().unwrap_or(0)));
        let _ = writeln!(text, "\nIn all, {}.", sums.collect::<Vec<_>>().join(", "));
        let points = self.sums.iter().filter_map(|(what, count)| Some((what.strip_prefix("crashes ")?, count)));
        let points: Vec<String> =
            points.filter(|(place, _)| !place.is_empty()).map(|(place, count)| format!("{place}: {count}")).collect();
        if !points.is_empty() {
            let _ = writeln!(text, "\nCrashes by place: {}.", points.join(", "));
        }
        text
    }
}

fn row(run: &str, seed: u64, judgement: &Judgement) -> String {
    let first = ["kills", "crashes", "server restarts"].map(|what| (what, judgement.count(what)));
    let others = judgement.counts.iter().map(|(what, count)| (what.as_str(), *count));
    let others = others.filter(|(what, _)| !NOT_DONE.contains(what) && !what.starts_with("crashes"));
    let done = first.into_iter().chain(others).filter(|(_, count)| *count > 0);
    let done: Vec<String> = done.map(|(what, count)| format!("{what}: {count}")).collect();
    let mut violations = BTreeMap::new();
    judgement.violations.iter().for_each(|violation| *violations.entry(violation.class).or_insert(0) += 1);
    let violations: Vec<String> = violations.iter().map(|(class, count)| format!("{class} {count}")).collect();
    let verdict = [judgement.verdict.to_string(), violations.join(", ")].join(" ").trim().to_owned();
    let columns = ["added", "dead letters", "redelivered", "duplicates suppressed"];
    let [added, letters, redelivered, suppressed] = columns.map(|what| judgement.count(what));
    let done = done.join(", ");
    format!("| {run} | {done} | {added} | {letters} | {redelivered} | {suppressed} | {verdict} | {seed} |")
}
