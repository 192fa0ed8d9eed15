//! The table of a run of the suite: what was done, how often it bit, and what came of it.

use std::fmt::Write as _;
use std::fs;

use crate::checker::Judgement;
use crate::scenario::folder;

/// A table that is printed as it grows, and kept in a file.
pub(crate) struct Table {
    name: &'static str,
    text: String,
}

/// What was done, and is shown where it happened.
const DONE: [&str; 26] = [
    "kills",
    "in flight at a kill",
    "crashes",
    "stops",
    "freezes",
    "in flight at a freeze",
    "server restarts",
    "connections closed",
    "pauses of the server",
    "groups destroyed",
    "streams deleted",
    "deleted",
    "refusals of dead letters",
    "held on purpose",
    "slow network",
    "black holes",
    "one-way networks",
    "replies cut",
    "connections reset",
    "namesakes started",
    "out of memory",
    "read-only servers",
    "keys overwritten",
    "ledger locked",
    "lost by Redis",
    "unanswered",
];

impl Table {
    /// An empty table, kept as `target/proof/<name>.md`.
    pub(crate) fn new(name: &'static str) -> Self {
        let head = "| run | done to it | events | dead letters | redelivered | verdict | seed |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n";
        Self { name, text: head.to_owned() }
    }

    pub(crate) fn row(&mut self, run: &str, seed: u64, judgement: &Judgement) {
        let done = DONE.iter().map(|what| (what, judgement.count(what))).filter(|(_, count)| *count > 0);
        let done: Vec<String> = done.map(|(what, count)| format!("{what}: {count}")).collect();
        let mut violations = std::collections::BTreeMap::new();
        judgement.violations.iter().for_each(|violation| *violations.entry(violation.class).or_insert(0) += 1);
        let violations: Vec<String> = violations.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let verdict = [judgement.verdict.to_string(), violations.join(", ")].join(" ").trim().to_owned();
        let [added, letters, redelivered] = ["added", "dead letters", "redelivered"].map(|what| judgement.count(what));
        let row = format!("| {run} | {} | {added} | {letters} | {redelivered} | {verdict} | {seed} |", done.join(", "));
        eprintln!("{row}");
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{row}");
        fs::write(folder().join(self.name).with_extension("md"), &self.text).expect("the table is written");
    }
}
