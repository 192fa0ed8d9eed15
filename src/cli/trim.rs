//! `orderd trim`: deletes what every group has acknowledged and is over the bound.
//!
//! Owns: saying what goes, what stays, and which group keeps it.
//! Never: an entry that a group still needs, whatever `trimmer.on_blocked` says: that is the daemon's, where it was asked for by name.

use std::fmt::Write as _;

use super::Cli;
use super::exit::Exit;
use super::table::{count, printable};
use crate::broker::Broker;
use crate::broker::trim::TrimState;
use crate::domain::id::GroupName;

/// The most entries that one step cuts.
const STEP: u64 = 1000;

/// Deletes entries that every group has acknowledged, and that are over the bound
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would go and what stands in the way, and delete nothing
    #[arg(long)]
    dry_run: bool,

    /// Keep so many of the newest entries [default: as configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_len: Option<u64>,
}

/// What was cut or could be, and what is left.
struct Cut {
    count: u64,
    left: u64,
    /// The group that keeps what is over the bound and stays.
    held_by: Option<GroupName>,
}

/// Trims, or says what trimming would do.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    let keep = args.max_len.unwrap_or(settings.tuning.trimmer.max_len);
    let cut = super::with_broker(&settings, async |broker| {
        if args.dry_run { estimate(broker, keep).await } else { trim(broker, keep).await }
    })?;
    let text = match cut {
        Some(cut) => report(&cut, keep, args.dry_run),
        None => {
            let (stream, group) = (settings.stream.key.as_str(), settings.stream.group.as_str());
            format!("nothing to trim: {} has no group '{}'\n", printable(stream), printable(group))
        }
    };
    super::print(&text)?;
    Ok(Exit::Success)
}

/// What trimming would do, by the same rule. `None` where the group is missing.
async fn estimate(broker: &Broker, keep: u64) -> anyhow::Result<Option<Cut>> {
    let survey = broker.survey().await?;
    let Some(point) = survey.safe_point(&broker.keys().group) else { return Ok(None) };
    let over = survey.length.saturating_sub(keep);
    let count = broker.count_below(&point, over).await?;
    let held_by = (count < over).then(|| point.held_by().clone());
    Ok(Some(Cut { count, left: survey.length.saturating_sub(count), held_by }))
}

async fn trim(broker: &Broker, keep: u64) -> anyhow::Result<Option<Cut>> {
    let mut count = 0;
    loop {
        let trimmed = broker.trim(keep, STEP, false).await?;
        count += trimmed.cut;
        let floor = match trimmed.state {
            TrimState::More | TrimState::Rest => continue,
            TrimState::Nothing => return Ok(None),
            TrimState::Blocked => trimmed.floor,
            TrimState::Within => None,
        };
        return Ok(Some(Cut { count, left: trimmed.length, held_by: floor.map(|floor| floor.held_by) }));
    }
}

fn report(cut: &Cut, keep: u64, dry_run: bool) -> String {
    let verb = if dry_run { "would delete" } else { "deleted" };
    let (deleted, left) = (count(cut.count, "entry", "entries"), cut.left);
    let mut text = format!("{verb} {deleted}; {left} stay, and {keep} are the bound\n");
    if let Some(group) = &cut.held_by {
        let over = left.saturating_sub(keep);
        // A string takes everything.
        let _ = writeln!(
            text,
            "the group '{}' still needs {over} of them that are over the bound",
            printable(group.as_str())
        );
    }
    text
}
