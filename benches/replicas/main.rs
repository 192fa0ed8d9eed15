//! What a second worker brings, and a fourth.
//!
//! Owns: what is measured, how often, and the deadline of it all.
//! Never: a number that was not measured in this run; a process left behind.
//!
//! `make bench-replicas` runs it. `docs/performance.md` says what the rows mean.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use orderd::cli::sandbox::{Options as ServerOptions, PrivateServer};

#[path = "../road/backlog.rs"]
mod backlog;
#[path = "../road/frame.rs"]
#[expect(dead_code, reason = "there is no JSON of this one")]
mod frame;
#[path = "../road/machine.rs"]
mod machine;
mod postgres;
#[path = "../road/process.rs"]
#[expect(dead_code, reason = "of what a process has used, only the time is asked for here")]
mod process;
mod slow;
#[path = "../road/table.rs"]
mod table;
#[path = "../road/wait.rs"]
mod wait;
mod worker;

use backlog::{Backlog, Desk};
use postgres::Postgres;
use wait::Deadline;
use worker::Worker;

/// After so long the whole is given up, however many rounds are left.
const PATIENCE: Duration = Duration::from_mins(15);
/// How many workers there are, row by row.
const WORKERS: [usize; 3] = [1, 2, 4];

/// Measures what a second worker brings, and a fourth
#[derive(Debug, Parser)]
#[command(name = "replicas")]
struct Options {
    /// How often each row is measured; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Events in the backlog of a run
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Only this work
    #[arg(long, value_enum)]
    work: Option<Work>,
    /// A first look: one round
    #[arg(long)]
    quick: bool,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Work {
    /// It takes 5 ms, in a call of its own.
    Slow,
    /// It is applied to its order in the ledger on Postgres; the next event of that order comes so soon that another worker reads it
    /// meanwhile.
    Near,
    /// The same, with five times as many orders: the next event of an order is further away than the workers have in hand.
    Far,
}

impl Work {
    /// How many events the backlog has, for each that was asked for.
    fn scale(self) -> u64 {
        if self == Self::Far { 5 } else { 1 }
    }
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Events a second.
    rate: f64,
    /// Seconds of CPU time of Redis, per million events.
    server_cpu: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    // One of our own children: it is the worker with the slow handler.
    if let [_, word, redis, instance] = &arguments[..]
        && word == slow::WORD
    {
        return slow::run(redis, instance);
    }
    if !frame::is_asked_for() {
        return Ok(());
    }
    let options = Options::parse();
    let rounds = if options.quick { 1 } else { options.rounds };
    let works = options.work.map_or_else(|| Work::value_variants().to_vec(), |work| vec![work]);
    measure(rounds, options.events, &works, &Deadline::new("the whole measurement", PATIENCE))
}

fn measure(rounds: u32, events: u64, works: &[Work], deadline: &Deadline) -> anyhow::Result<()> {
    let load = machine::load()?;
    let server = PrivateServer::start(ServerOptions { tcp: true, ..ServerOptions::default() })?;
    let desk = Desk::new(&server)?;
    for work in works {
        Backlog::fill(&desk, events * work.scale(), events * work.scale() / 4, deadline)?;
    }
    let postgres = Postgres::start(deadline)?;
    let rows: Vec<(Work, usize)> = works.iter().flat_map(|work| WORKERS.map(|count| (*work, count))).collect();
    let mut runs = vec![Vec::new(); rows.len()];
    for round in 1..=rounds {
        for ((work, count), runs) in rows.iter().zip(&mut runs) {
            eprintln!("round {round} of {rounds}: {work:?}, {count} workers");
            let run = run(&desk, &postgres, *work, *count, events * work.scale(), deadline);
            runs.push(run.with_context(|| format!("{work:?}, {count} workers"))?);
        }
    }
    println!(
        "{events} events, {}, Postgres {}, {} cores, load {load:.1} at the start; medians of {rounds} rounds\n",
        desk.version()?,
        postgres.version()?,
        machine::cores()
    );
    print(&rows, &runs);
    Ok(())
}

/// One run: from the moment in which the backlog appears to the one in which all of it is settled.
fn run(
    desk: &Desk<'_>,
    postgres: &Postgres,
    work: Work,
    count: usize,
    events: u64,
    deadline: &Deadline,
) -> anyhow::Result<Run> {
    desk.clear()?;
    desk.make_group()?;
    let database = postgres.database()?;
    let workers: Vec<Worker> =
        (0..count).map(|n| Worker::start(work, &desk.server.url(), &database, n)).collect::<anyhow::Result<_>>()?;
    workers.iter().try_for_each(|worker| worker.wait_until_ready(deadline))?;
    desk.wait_until_somebody_waits(deadline)?;
    let backlog = Backlog::lay_ready(desk, events)?;
    let (began, cpu) = (Instant::now(), desk.server_cpu()?);
    backlog.appear()?;
    backlog.wait_until_drained(deadline)?;
    let run = Run {
        rate: table::count(events) / began.elapsed().as_secs_f64(),
        server_cpu: desk.server_cpu()?.saturating_sub(cpu).as_secs_f64() / table::count(events) * 1e6,
    };
    workers.into_iter().try_for_each(|worker| worker.stop(deadline))?;
    let dead = desk.dead_letters()?;
    ensure!(dead == 0, "{dead} dead letters");
    if work != Work::Slow {
        let applied = postgres.count(&database)?;
        ensure!(applied == events, "the ledger holds {applied} of {events} events");
    }
    Ok(run)
}

fn print(rows: &[(Work, usize)], runs: &[Vec<Run>]) {
    let head = ["", "workers", "events/s", "slowest to fastest", "against one worker", "Redis CPU s/M"];
    let mut table = table::markdown(&head);
    let mut alone = 1.0;
    for ((work, count), runs) in rows.iter().zip(runs) {
        let mut rates: Vec<f64> = runs.iter().map(|run| run.rate).collect();
        rates.sort_by(f64::total_cmp);
        let (Some(slowest), Some(fastest)) = (rates.first(), rates.last()) else { continue };
        let rate = median(rates.clone());
        if *count == 1 {
            alone = rate;
        }
        let name = match work {
            Work::Slow => "a handler of 5 ms, 16 calls at once",
            Work::Near => "the ledger on Postgres, orders near",
            Work::Far => "the ledger on Postgres, orders far",
        };
        let range = format!("{} to {}", table::grouped(*slowest), table::grouped(*fastest));
        let cpu = format!("{:.2}", median(runs.iter().map(|run| run.server_cpu).collect()));
        let row = [name, &count.to_string(), &table::grouped(rate), &range, &format!("{:.2}", rate / alone), &cpu];
        table.add_row(row);
    }
    println!("{table}");
}

/// The one in the middle; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
