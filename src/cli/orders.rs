//! `orderd orders`: what stands in the ledger.
//!
//! Owns: how orders and their history are shown, as a table and as JSON.
//! Never: a change to the ledger; a control character of a producer's text on the terminal.

use anyhow::bail;
use serde_json::{Value, json};

use super::Cli;
use super::exit::Exit;
use super::table::{lines, printable, table};
use crate::domain::order::State;
use crate::ledger::location::Location;
use crate::ledger::reader::LedgerReader;
use crate::ledger::report::{HistoryRow, OrderFilter, OrderRow};

/// Lists the orders of the ledger, or shows one of them.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    show: Option<Command>,

    /// Only orders of this user
    #[arg(long)]
    user: Option<String>,

    /// Only orders in this state: created, paid, shipped, delivered, cancelled or refunded
    #[arg(long)]
    state: Option<State>,

    /// Only orders after this one, in the order of their ids: where the last page ended
    #[arg(long, value_name = "ORDER")]
    after: Option<String>,

    /// At most so many orders
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print JSON: one object a line, amounts as text, times in UTC
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows one order with its history
    Show {
        /// The order's id
        order: String,

        /// Print JSON: one object with the order and its history
        #[arg(long)]
        json: bool,
    },
}

/// Prints what was asked for from the ledger that the configuration names.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    super::print(&report(args, &cli.settings()?.ledger)?)?;
    Ok(Exit::Success)
}

fn report(args: &Args, ledger: &Location) -> anyhow::Result<String> {
    let reader = LedgerReader::open(ledger)?;
    match &args.show {
        Some(Command::Show { order, json }) => show(&reader, order, *json),
        None => list(&reader, args),
    }
}

fn list(reader: &LedgerReader, args: &Args) -> anyhow::Result<String> {
    let filter = OrderFilter {
        user: args.user.as_deref().map(Into::into),
        state: args.state,
        after: args.after.as_deref().map(Into::into),
        limit: args.limit.saturating_add(1),
    };
    let mut orders = reader.orders(&filter)?;
    let page = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let more = orders.len() > page;
    orders.truncate(page);
    if args.json {
        return Ok(orders.iter().map(|row| order_json(row).to_string() + "\n").collect());
    }
    let Some(last) = orders.last() else {
        return Ok("no orders\n".to_owned());
    };
    let rest =
        if more { format!("more with --limit, or --after {}\n", printable(last.id.as_str())) } else { String::new() };
    Ok(orders_table(&orders) + &rest)
}

fn show(reader: &LedgerReader, order: &str, json: bool) -> anyhow::Result<String> {
    let Some((row, history)) = reader.order(&order.into())? else {
        bail!("there is no order '{}' in the ledger", printable(order));
    };
    if json {
        let mut object = order_json(&row);
        object["history"] = history.iter().map(history_json).collect();
        return Ok(format!("{object}\n"));
    }
    Ok(orders_table(&[row]) + "\n" + &history_table(&history))
}

/// The orders, one a row.
pub(super) fn orders_table(orders: &[OrderRow]) -> String {
    let mut table = table(&["order", "user", "state", "amount", "paid", "refunded", "version", "updated"]);
    for OrderRow { id, order, updated_at, .. } in orders {
        table.add_row([
            printable(id.as_str()),
            printable(order.user.as_str()),
            order.state.to_string(),
            order.amount.to_string(),
            order.paid.to_string(),
            order.refunded.to_string(),
            order.version.to_string(),
            updated_at.to_string(),
        ]);
    }
    lines(&table)
}

/// What has happened to an order, one event a row.
pub(super) fn history_table(history: &[HistoryRow]) -> String {
    let mut table = table(&["version", "action", "amount", "state", "stream", "entry", "applied"]);
    for row in history {
        table.add_row([
            row.version.to_string(),
            printable(row.action.as_str()),
            row.amount.map(|amount| amount.to_string()).unwrap_or_default(),
            row.state.to_string(),
            printable(row.stream.as_str()),
            row.entry.to_string(),
            row.applied_at.to_string(),
        ]);
    }
    lines(&table)
}

fn order_json(OrderRow { id, order, created_at, updated_at }: &OrderRow) -> Value {
    json!({
        "order_id": id.as_str(),
        "user_id": order.user.as_str(),
        "state": order.state.as_str(),
        "amount": order.amount.to_string(),
        "paid": order.paid.to_string(),
        "refunded": order.refunded.to_string(),
        "version": order.version,
        "created_at": created_at.to_string(),
        "updated_at": updated_at.to_string(),
    })
}

fn history_json(row: &HistoryRow) -> Value {
    json!({
        "seq": row.seq,
        "version": row.version,
        "action": row.action.as_str(),
        "amount": row.amount.map(|amount| amount.to_string()),
        "state": row.state.as_str(),
        "stream": row.stream.as_str(),
        "entry_id": row.entry.to_string(),
        "applied_at": row.applied_at.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use crate::domain::batch::{Context, Source, Work};
    use crate::domain::entry::{Entry, Fields};
    use crate::domain::event::{Action, OrderEvent, SharedEvent};
    use crate::domain::id::EntryId;
    use crate::domain::order::Rules;
    use crate::domain::outcome::Outcome;
    use crate::ledger::sqlite::SqliteLedger;
    use crate::ledger::{Ledger, Parts};
    use crate::telemetry::Telemetry;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    /// A ledger with orders of one event each, of two for `o-0`.
    struct Shop {
        folder: TempDir,
    }

    impl Shop {
        fn new(orders: &[&str]) -> Self {
            let shop = Self { folder: TempDir::new().unwrap() };
            let source = Arc::new(Source { stream: "orders:events".into(), group: "g".into() });
            let work = |(ms, order, action): (u64, &str, Action)| Work {
                event: SharedEvent::from(OrderEvent {
                    order: order.into(),
                    user: Some("user-1".into()),
                    action,
                    amount: Some("49.90".parse().unwrap()),
                    replay_of: None,
                    event_id: None,
                    entry: Entry { id: EntryId::new(ms, 0), fields: Fields::default() },
                }),
                context: Context { source: Arc::clone(&source), attempt: 1 },
            };
            let created = (1..).zip(orders).map(|(ms, order)| (ms, *order, Action::Created));
            let batch: Vec<Work> = created.chain([(1000, orders[0], Action::Paid)]).map(work).collect();
            let parts = Parts { rules: Rules::default(), telemetry: Telemetry::new().unwrap() };
            let ledger = SqliteLedger::open(&shop.path(), parts).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let outcomes = runtime.block_on(ledger.apply(Arc::new(batch)));
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
            ledger.close().unwrap();
            shop
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("orderd.db")
        }

        fn run(&self, args: &str) -> anyhow::Result<String> {
            let words = std::iter::once("orders").chain(args.split_whitespace());
            report(&Command::try_parse_from(words)?.args, &Location::Sqlite(self.path()))
        }
    }

    #[test]
    fn orders_are_listed_and_the_end_of_a_page_says_how_to_go_on() {
        let shop = Shop::new(&["o-0", "o-1", "o-2"]);
        let all = shop.run("").unwrap();
        assert_eq!(all.lines().count(), 4, "{all}");
        assert!(all.contains("o-0") && all.contains("49.90") && all.contains("paid"), "{all}");
        let page = shop.run("--limit 2").unwrap();
        assert!(page.ends_with("more with --limit, or --after o-1\n") && !page.contains("o-2"), "{page}");
        let rest = shop.run("--limit 2 --after o-1").unwrap();
        assert!(rest.contains("o-2") && !rest.contains("more with"), "{rest}");
        assert!(!shop.run("--state created").unwrap().contains("o-0"));
        assert_eq!(shop.run("--user nobody").unwrap(), "no orders\n");
    }

    #[test]
    fn one_order_is_shown_with_its_history() {
        let shop = Shop::new(&["o-0"]);
        let text = shop.run("show o-0").unwrap();
        assert!(text.contains("created") && text.contains("1000-0") && text.contains("orders:events"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line_with_amounts_as_text() {
        let shop = Shop::new(&["o-0", "o-1"]);
        let listed = shop.run("--json").unwrap();
        let objects: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), 2);
        assert_eq!((&objects[0]["order_id"], &objects[0]["paid"]), (&json!("o-0"), &json!("49.90")));
        assert_eq!(shop.run("--json --user nobody").unwrap(), "");

        let shown: Value = serde_json::from_str(&shop.run("show o-0 --json").unwrap()).unwrap();
        assert_eq!(shown["history"][1]["entry_id"], "1000-0");
        assert_eq!((&shown["version"], &shown["history"][1]["version"]), (&json!(2), &json!(2)));
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_so() {
        let shop = Shop::new(&["o-0"]);
        let error = shop.run("show o-9").unwrap_err();
        assert_eq!(error.to_string(), "there is no order 'o-9' in the ledger");
        assert!(shop.run("--state Paid").unwrap_err().to_string().contains("created, paid, shipped"));
        assert!(shop.run("--user u show o-0").is_err(), "a filter that show would ignore");
        std::fs::remove_file(shop.path()).unwrap();
        assert!(shop.run("").unwrap_err().to_string().starts_with("there is no ledger at "));
    }

    #[test]
    fn a_terminal_is_told_nothing_by_an_order_id() {
        let shop = Shop::new(&["o\u{1b}[2J\n"]);
        for args in ["", "--limit 1"] {
            let text = shop.run(args).unwrap();
            assert!(text.contains("o\\u{1b}[2J\\n") && !text.contains('\u{1b}'), "{text:?}");
        }
    }
}
