//! How an audit is shown.
//!
//! Owns: the table and the JSON object.
//! Never: a judgement; a control character of somebody else's text on the terminal.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::report::{Class, Finding, Report};
use crate::cli::table::{lines, printable, table};
use crate::domain::id::EntryId;

/// For people.
pub(super) fn text(report: &Report) -> String {
    let mut table = table(&["check", "looked at", "found"]);
    for class in Class::ALL {
        let looked_at = match class {
            Class::NotApplied | Class::LedgerBehind => format!("{} acknowledged", report.acknowledged),
            Class::Lost | Class::UnsafeTrim => format!("{} pending", report.pending),
            Class::NoRecord => format!("{} letters", report.letters),
        };
        table.add_row([class.title().to_owned(), looked_at, report.count(class).to_string()]);
    }
    let mut text = lines(&table);
    for finding in &report.findings {
        let Finding { class, group, count, entries } = finding;
        // A string takes everything.
        let _ = writeln!(text, "\n{}: {count} (group '{}')", class.title(), printable(group.as_str()));
        let _ = writeln!(text, "  {}", class.meaning());
        if !entries.is_empty() {
            let more = if entries.len() as u64 == *count { "" } else { ", …" };
            let _ = writeln!(text, "  {}{more}", ids(entries).join(", "));
        }
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// For programs.
pub(super) fn object(report: &Report) -> String {
    let findings: Vec<Value> = report.findings.iter().map(finding).collect();
    let object = json!({
        "ok": report.findings.is_empty(),
        "entries": report.entries,
        "acknowledged": report.acknowledged,
        "pending": report.pending,
        "dead_letters": report.letters,
        "findings": findings,
        "notes": report.notes,
    });
    format!("{object}\n")
}

fn finding(Finding { class, group, count, entries }: &Finding) -> Value {
    json!({
        "check": class.name(),
        "group": group.as_str(),
        "count": count,
        "entries": ids(entries),
        "meaning": class.meaning(),
    })
}

fn ids(entries: &[EntryId]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}
