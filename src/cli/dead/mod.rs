//! `orderd dead`: what was given up, and what is to become of it.
//!
//! Owns: the arguments, and the way from them to what is done.
//! Never: a letter replayed or discarded that nobody has agreed to.

use std::time::Duration;

use super::Cli;
use super::exit::Exit;
use act::Act;
use choose::{Filter, Wanted};

mod act;
mod choose;
mod show;

/// Lists and shows dead letters, replays them, or discards them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists dead letters, oldest first
    List(List),
    /// Shows one dead letter with everything that is known of it
    Show(Show),
    /// Adds the events of dead letters to the stream again, once the cause is mended
    ///
    /// They are added in the sequence in which they first came. An event whose effect is in the ledger already has none again.
    Replay(Replay),
    /// Deletes dead letters; their events are never handled
    Discard(Discard),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filter: Filter,

    /// At most so many letters
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print JSON: one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The id of the letter, or of the entry that was given up
    #[arg(value_name = "ID")]
    id: Wanted,

    /// Letters of the other groups of the stream, too
    #[arg(long)]
    all_groups: bool,

    /// Print JSON: one object for each letter that the id names
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The ids of letters, or of the entries that were given up (letter:ID and entry:ID say which is meant)
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with_all = ["reason", "order", "since"])]
    ids: Vec<Wanted>,

    /// All letters that the filters leave
    #[arg(long, conflicts_with = "ids")]
    all: bool,

    #[command(flatten)]
    filter: Filter,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Replay {
    #[command(flatten)]
    which: Which,

    /// At most so many a second, such as 50/s [default: as fast as it goes]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct Discard {
    #[command(flatten)]
    which: Which,
}

/// Does what `args` ask for.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    let names = &settings.event;
    super::with_broker(&settings, async |broker| match &args.command {
        Command::List(List { filter, limit, json }) => {
            let list = choose::list(broker, filter, names, *limit).await?;
            super::print(&show::list(&list, names, *json))?;
            Ok(Exit::Success)
        }
        Command::Show(Show { id, all_groups, json }) => {
            let letters = choose::by_ids(broker, std::slice::from_ref(id), *all_groups).await?;
            super::print(&show::letters(&letters, names, *json))?;
            Ok(Exit::Success)
        }
        Command::Replay(Replay { which, rate }) => {
            let every = rate.map(|rate| Duration::from_secs(1) / rate.max(1));
            act::carry_out(broker, names, which, Act::Replay { every }).await
        }
        Command::Discard(Discard { which }) => act::carry_out(broker, names, which, Act::Discard).await,
    })
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse();
    number.ok().filter(|rate| *rate > 0).ok_or_else(|| "write it as 50/s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn letters_are_named_one_by_one_or_all_at_once() {
        Line::command().debug_assert();
        let parse = |line: &str| Line::try_parse_from(format!("dead {line}").split_whitespace());
        for line in [
            "list --reason permanent --order o --since 2h --json",
            "show 5-1",
            "replay 5-1 letter:6-0 entry:7-0 --yes",
            "replay --all --since 2026-01-01T00:00:00Z --rate 10/s --dry-run",
            "discard --all --reason bad-amount",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["replay", "discard", "replay --all 5-1", "replay 5", "show", "list --since soon", "list --limit 0"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("replay 5-1 --reason permanent").is_err(), "a filter that would be ignored");
    }

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!((rate("50/s"), rate("5")), (Ok(50), Ok(5)));
        assert!(rate("0").is_err() && rate("5/m").is_err() && rate("-1/s").is_err());
    }
}
