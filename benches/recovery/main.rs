//! How soon work goes on after a death, a stop or an outage, and what trimming costs.
//!
//! Owns: what is measured, how often, and the deadline of it all.
//! Never: a number that was not measured in this run; a process left behind.
//!
//! `make recovery` runs it. `docs/performance.md` says what the rows mean.

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

mod dead_names;
mod death;
#[path = "../road/frame.rs"]
mod frame;
#[path = "../road/machine.rs"]
mod machine;
mod outage;
mod report;
mod scene;
mod stop;
#[path = "../road/table.rs"]
mod table;
mod trimming;
#[path = "../road/wait.rs"]
mod wait;
mod worker;

use report::{Measure, Report, Row};
use scene::Scene;
use wait::Deadline;

/// After so long the whole is given up, however many rounds are left.
const PATIENCE: Duration = Duration::from_mins(15);

/// What is measured: its name, with the settings besides the defaults, and how.
const CASES: [(&str, Case); 6] = [
    ("kill -9, another worker takes over (claim_after 2s, interval 500ms)", death::another_takes_over),
    ("kill -9, the same name comes back", death::same_name_comes_back),
    ("SIGTERM at the beginning of a backlog of 20,000, one of two workers", stop::under_load),
    ("Redis killed and restarted (appendfsync always)", outage::server_restarted),
    ("100,000 entries pending under 200 dead names (handler none, interval 500ms)", dead_names::are_recovered),
    ("20,000 events a second for 5 s (handler none)", trimming::at_pace),
];

/// One case: sets the scene, measures, and clears away.
type Case = fn(&Deadline) -> anyhow::Result<Vec<Measure>>;

/// Measures how soon work goes on, and what trimming costs
#[derive(Debug, Parser)]
#[command(name = "recovery")]
struct Options {
    /// How often each case is measured; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// A first look: one round
    #[arg(long)]
    quick: bool,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    if !frame::is_asked_for() {
        return Ok(());
    }
    let options = Options::parse();
    let rounds = if options.quick { 1 } else { options.rounds };
    let report = measure(rounds, &Deadline::new("the whole measurement", PATIENCE))?;
    frame::hand_out(&report, "recovery")
}

fn measure(rounds: u32, deadline: &Deadline) -> anyhow::Result<Report> {
    let load = machine::load()?;
    let server = Scene::new(&[])?.version()?;
    let mut measured = CASES.map(|_| Vec::new());
    for round in 1..=rounds {
        for ((name, case), measured) in CASES.iter().zip(&mut measured) {
            eprintln!("round {round} of {rounds}: {name}");
            measured.push(case(deadline).with_context(|| (*name).to_owned())?);
        }
    }
    let rows = CASES.iter().zip(&measured).flat_map(|((name, _), rounds)| Row::of(name, rounds)).collect();
    Ok(Report { rounds, load, server, rows })
}
