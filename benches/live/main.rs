//! How soon those who listen hear, and what telling them costs the work.
//!
//! Owns: what is measured, how often, and the deadline of it all.
//! Never: a number that was not measured in this run; a process left behind.
//!
//! `make bench-live` runs it. `docs/live.md` says what the rows mean.

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

mod browsers;
mod drain;
#[path = "../road/frame.rs"]
mod frame;
mod limit;
#[path = "../road/machine.rs"]
mod machine;
mod notices;
mod pace;
#[path = "../road/process.rs"]
#[expect(dead_code, reason = "the road asks for memory, too")]
mod process;
mod publish;
mod raw;
#[path = "../recovery/report.rs"]
#[expect(dead_code, reason = "recovery says more of the highest")]
mod report;
#[path = "../recovery/scene.rs"]
#[expect(dead_code, reason = "recovery kills servers and locks ledgers")]
mod scene;
mod spread;
#[path = "../road/table.rs"]
mod table;
#[path = "../road/wait.rs"]
mod wait;
#[path = "../recovery/worker.rs"]
#[expect(dead_code, reason = "recovery kills workers")]
mod worker;

use report::{Measure, Report, Row};
use scene::Scene;
use wait::Deadline;

/// After so long the whole is given up, however many rounds are left.
const PATIENCE: Duration = Duration::from_mins(15);

/// What is measured: its name, with the settings besides the defaults, and how.
const CASES: [(&str, Case); 5] = [
    ("PUBLISH of 100 bytes until it is heard, 1,000 a second", publish::until_heard),
    ("XADD until its notification is heard, 1,000 events a second (handler none)", notices::until_heard),
    ("the same through the browsers' stream, 200 connections", browsers::one_of_many),
    ("one event for 200 connections, 20 events a second (handler none)", browsers::all_of_many),
    ("a backlog drained with the notifier and without", drain::with_and_without),
];

/// One case, in this round: sets the scene, measures, and clears away.
type Case = fn(u32, &Deadline) -> anyhow::Result<Vec<Measure>>;

/// Measures how soon those who listen hear, and what telling them costs
#[derive(Debug, Parser)]
#[command(name = "live")]
struct Options {
    /// How often each case is measured; the table shows the median
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// A first look: one round
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name contains this
    #[arg(long, default_value = "", hide_default_value = true)]
    only: String,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    if !frame::is_asked_for() {
        return Ok(());
    }
    let options = Options::parse();
    let report = measure(&options, &Deadline::new("the whole measurement", PATIENCE))?;
    frame::hand_out(&report, "live")
}

fn measure(options: &Options, deadline: &Deadline) -> anyhow::Result<Report> {
    let rounds = if options.quick { 1 } else { options.rounds };
    let load = machine::load()?;
    let server = Scene::new(&[])?.version()?;
    let cases: Vec<_> = CASES.iter().filter(|(name, _)| name.contains(&options.only)).collect();
    let mut measured = vec![Vec::new(); cases.len()];
    for round in 1..=rounds {
        for ((name, case), measured) in cases.iter().zip(&mut measured) {
            eprintln!("round {round} of {rounds}: {name}");
            measured.push(case(round, deadline).with_context(|| (*name).to_owned())?);
        }
    }
    let rows = cases.iter().zip(&measured).flat_map(|((name, _), rounds)| Row::of(name, rounds)).collect();
    Ok(Report { rounds, load, server, rows })
}
