//! `orderd audit`: whether what was promised has been kept, as far as a live system still shows that.
//!
//! Owns: the command, and how it ends: 0 when nothing was found, 1 when something was.
//! Never: a change of anything, in Redis or in the ledger.

use self::look::Audit;
use super::Cli;
use super::exit::Exit;
use crate::domain::id::EntryId;
use crate::ledger::reader::LedgerReader;
use crate::settings::HandlerKind;

mod look;
mod report;
mod show;

/// Compares Redis and the ledger, and reports what should not be
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look at entries from this one on
    #[arg(long, value_name = "ID")]
    from: Option<EntryId>,

    /// Look at so many entries at the most: of the stream, of what each group has pending, and of the dead letters
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,

    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// Looks, and prints what it found.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    let ledger = match settings.handler {
        HandlerKind::Ledger => Some(LedgerReader::open(&settings.ledger)?),
        // Of what these have done nobody keeps a record.
        HandlerKind::Log | HandlerKind::None => None,
    };
    let report = Audit::new(&settings, ledger.as_ref(), args.from, args.limit)?.run()?;
    super::print(&if args.json { show::object(&report) } else { show::text(&report) })?;
    Ok(if report.findings.is_empty() { Exit::Success } else { Exit::Failure })
}
