//! What the demo shows.
//!
//! Owns: the tables, and the line at the end.
//! Never: a count of its own.

use std::fmt::Write;
use std::time::Duration;

use indicatif::HumanCount;

use super::super::orders;
use super::super::table::{lines, printable, table};
use super::Added;
use super::account::Account;
use crate::domain::order::State;
use crate::ledger::report::OrderFilter;
use crate::ledger::sqlite::reader::SqliteReader;

/// The most dead letters that are listed.
const LETTERS_SHOWN: usize = 10;

/// What was added.
pub(super) fn added(added: &Added) -> String {
    format!(
        "Added {} events of {} orders, and {} entries that nobody can decode.\n",
        count(added.events.len()),
        HumanCount(added.orders),
        added.planted.len()
    )
}

/// What became of it. It `took` the daemon so long.
pub(super) fn happened(account: &Account, reader: &SqliteReader, took: Duration) -> anyhow::Result<String> {
    let seconds = took.as_secs_f64();
    let rate = Duration::from_secs(account.events as u64).as_secs_f64() / seconds;
    let mut text = format!("A worker settled all of it in {seconds:.2} s: {rate:.0} events a second.\n");
    text += &totals(account);
    text += &letters(account);
    text += &states(reader)?;
    text += &example(reader)?;
    Ok(text)
}

/// The last word, and what to try next.
pub(super) fn verdict(complaints: &[String]) -> String {
    if complaints.is_empty() {
        return "\nevery event was applied exactly once\n\n\
                This server ends now, and its folder goes with it. With a Redis of yours, try next:\n  \
                orderd check\n  orderd run\n  orderd add --count 1000 --rate 100\n"
            .to_owned();
    }
    format!("\nnot every event was applied exactly once:\n  {}\n", complaints.join("\n  "))
}

fn totals(account: &Account) -> String {
    let mut table = table(&["what became of the events", ""]);
    for (what, number) in [
        ("added", account.events),
        ("applied exactly once", account.once),
        ("applied more than once", account.more_often.len()),
        ("not applied", account.never.len()),
        ("dead letters (cannot be decoded)", account.letters.len()),
    ] {
        table.add_row([what.to_owned(), count(number)]);
    }
    titled("", &lines(&table))
}

fn letters(account: &Account) -> String {
    let mut table = table(&["entry", "reason", "what is wrong with it"]);
    for letter in account.letters.iter().take(LETTERS_SHOWN) {
        let (reason, error) = (printable(&letter.reason), printable(&letter.error));
        table.add_row([letter.entry.id.to_string(), reason, error]);
    }
    titled("Dead letters:", &lines(&table))
}

fn states(reader: &SqliteReader) -> anyhow::Result<String> {
    let mut table = table(&["state", "orders"]);
    for (state, orders) in reader.counts()?.by_state {
        table.add_row([state.to_string(), HumanCount(orders).to_string()]);
    }
    Ok(titled("Orders by state:", &lines(&table)))
}

/// The history of one order: of one that was delivered, where there is one.
fn example(reader: &SqliteReader) -> anyhow::Result<String> {
    let filter = |state| OrderFilter { user: None, state, after: None, limit: 1 };
    let delivered = reader.orders(&filter(Some(State::Delivered)))?;
    let any = if delivered.is_empty() { reader.orders(&filter(None))? } else { delivered };
    let Some((order, history)) = any.first().map(|row| reader.order(&row.id)).transpose()?.flatten() else {
        return Ok(String::new());
    };
    Ok(titled("One of them:", &orders::orders_table(&[order])) + &titled("", &orders::history_table(&history)))
}

fn titled(title: &str, table: &str) -> String {
    let mut text = "\n".to_owned();
    if !title.is_empty() {
        let _ = writeln!(text, "{title}");
    }
    text + table
}

fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}
