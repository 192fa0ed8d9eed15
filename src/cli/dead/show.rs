//! How dead letters are shown.
//!
//! Owns: the table, the full view, and JSON in which no byte is lost.
//! Never: a control character of a producer's text on the terminal.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::choose::List;
use crate::broker::dead::DeadLetter;
use crate::cli::table::{self, lines, printable, printable_bytes, table};
use crate::domain::decode::{FieldNames, order_of};

/// A list, as a table or as one JSON object a line.
pub(super) fn list(list: &List, names: &FieldNames, json: bool) -> String {
    if json {
        return list.letters.iter().map(|letter| object(letter, names).to_string() + "\n").collect();
    }
    let mut text = match list.letters.as_slice() {
        [] => "no dead letters\n".to_owned(),
        letters => table_of(letters, names),
    };
    if list.more {
        text += "more with --limit, or --since\n";
    }
    if let Some(first) = list.odd.first() {
        let odd = table::count(list.odd.len() as u64, "entry", "entries");
        let _ = writeln!(text, "{odd} beside them, from {first} on, that orderd has not written");
    }
    text
}

/// Letters as a table, one a line.
pub(super) fn table_of(letters: &[DeadLetter], names: &FieldNames) -> String {
    let mut table = table(&["letter", "entry", "order", "reason", "failures", "crashes", "given up", "error"]);
    for letter in letters {
        let order = order_of(&letter.entry, names);
        table.add_row([
            letter.id.to_string(),
            letter.entry.id.to_string(),
            order.map(|order| printable(order.as_str())).unwrap_or_default(),
            printable(&letter.reason),
            letter.failures.to_string(),
            letter.crashes.to_string(),
            time(letter.dead_at_ms),
            printable(&letter.error),
        ]);
    }
    lines(&table)
}

/// Letters with everything that is known of them.
pub(super) fn letters(letters: &[DeadLetter], names: &FieldNames, json: bool) -> String {
    if json {
        return letters.iter().map(|letter| object(letter, names).to_string() + "\n").collect();
    }
    let shown: Vec<String> = letters.iter().map(one).collect();
    shown.join("\n")
}

fn one(letter: &DeadLetter) -> String {
    let facts = [
        ("letter", letter.id.to_string()),
        ("entry", letter.entry.id.to_string()),
        (
            "replay of",
            Some(letter.origin()).filter(|id| *id != letter.entry.id).map_or_else(String::new, |id| id.to_string()),
        ),
        ("group", printable(letter.group.as_str())),
        ("consumer", printable(letter.consumer.as_str())),
        ("deliveries", letter.deliveries.to_string()),
        ("failures", letter.failures.to_string()),
        ("crashes", letter.crashes.to_string()),
        ("reason", printable(&letter.reason)),
        ("error", printable(&letter.error)),
        ("first seen", time(letter.first_seen_ms)),
        ("given up", time(letter.dead_at_ms)),
    ];
    let mut text = String::new();
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "{name:<10}  {value}");
    }
    let mut fields = table(&["field", "value"]);
    for (name, value) in letter.entry.fields.iter() {
        fields.add_row([printable_bytes(name), printable_bytes(value)]);
    }
    text + "\n" + &lines(&fields)
}

fn object(letter: &DeadLetter, names: &FieldNames) -> Value {
    let field = |(name, value): (&[u8], &[u8])| {
        let mut field = serde_json::Map::new();
        for (part, bytes) in [("name", name), ("value", value)] {
            match std::str::from_utf8(bytes) {
                Ok(text) => field.insert(part.to_owned(), text.into()),
                Err(_) => field.insert(format!("{part}_hex"), hex(bytes).into()),
            };
        }
        Value::Object(field)
    };
    json!({
        "letter_id": letter.id.to_string(),
        "entry_id": letter.entry.id.to_string(),
        "origin_id": letter.origin().to_string(),
        "order_id": order_of(&letter.entry, names).map(|order| order.to_string()),
        "group": letter.group.as_str(),
        "consumer": letter.consumer.as_str(),
        "deliveries": letter.deliveries,
        "failures": letter.failures,
        "crashes": letter.crashes,
        "reason": letter.reason,
        "error": letter.error,
        "first_seen": time(letter.first_seen_ms),
        "dead_at": time(letter.dead_at_ms),
        "fields": letter.entry.fields.iter().map(field).collect::<Vec<_>>(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A time in UTC; the number as it stands where it is none.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| ms.to_string(), |time| time.to_string())
}
