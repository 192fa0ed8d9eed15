//! The speed of the road, against the limit of the server and against the plain loop that every tutorial shows.
//!
//! Owns: who is measured, how often and in which order, and the deadline of it all.
//! Never: a number that was not measured in this run; a process left behind.
//!
//! `make bench` runs it; `cargo bench -- --quick` gives a first look in some seconds. `docs/performance.md` says what the rows mean.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use orderd::cli::sandbox::{self, PrivateServer};

mod backlog;
mod client;
mod daemon;
mod frame;
mod latency;
mod limit;
mod machine;
mod process;
mod report;
mod table;
mod telling;
mod textbook;
mod wait;
mod worker;

use backlog::{Backlog, Desk};
use daemon::Handler;
use latency::{RATES, Spread};
use report::{Latency, Report, Row};
use wait::Deadline;
use worker::{Kind, Run};

/// After so long the whole is given up, however many rounds are left.
const PATIENCE: Duration = Duration::from_mins(15);
/// One consumer is enough for one server, and a stream that may be this long is cut when there is time for it.
const TUNED: [&str; 2] = ["consumers.count=1", "trimmer.max_len=1000000"];
/// A bound that no backlog here reaches.
const NO_TRIMMING: [&str; 1] = ["trimmer.max_len=10000000"];
/// How many orders the events are about.
const ORDERS: u64 = 5_000;

/// Measures orderd against the limit of the server and against the plain loop
#[derive(Debug, Parser)]
#[command(name = "road")]
struct Options {
    /// How often each row is measured; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Events of the backlog; the ledger gets half of it, the plain loop a tenth
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=2_000_000))]
    events: u64,
    /// For how many seconds of each round the latency is measured, at 1,000 and at 10,000 events a second; 0 leaves it out
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(0..=60))]
    latency: u64,
    /// A first look: one round, a tenth of the events, one second of latency
    #[arg(long)]
    quick: bool,
    /// Another build of orderd, measured beside this one in the same rounds
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A key of the configuration for every daemon, such as --set consumers.count=1; without it, the defaults are measured
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// `cargo bench` says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The options as they are meant, `quick` applied.
    fn meant(mut self) -> Self {
        if self.quick {
            (self.rounds, self.events, self.latency) = (1, self.events / 10, self.latency.min(1));
        }
        self
    }

    /// Who is measured: the limit first, since all others are compared with it.
    fn contenders(&self) -> Vec<Contender> {
        let own = Path::new(env!("CARGO_BIN_EXE_orderd"));
        let daemon = |program: &Path, handler| Kind::Daemon { program: program.to_owned(), handler };
        let all = self.events;
        let mut contenders = vec![
            Contender::new("raw limit", all, Kind::Limit { clients: 1 }),
            Contender::new("raw limit, 4 consumers", all, Kind::Limit { clients: 4 }),
            Contender::new("orderd, none", all, daemon(own, Handler::None)),
            Contender::new("orderd, none, tuned", all, daemon(own, Handler::None)).with(&TUNED),
            Contender::new("orderd, none, no trimming", all, daemon(own, Handler::None)).with(&NO_TRIMMING),
            Contender::new("orderd, none, one lane", all, daemon(own, Handler::None)).with(&["lanes.count=1"]),
            Contender::new("orderd, none, many renewals", all, daemon(own, Handler::None))
                .with(&["reaper.claim_after=500ms"]),
            Contender::new("orderd, ledger", all / 2, daemon(own, Handler::Ledger)),
            Contender::new("plain loop", all / 10, Kind::Textbook),
        ];
        if let Some(other) = &self.against {
            contenders.push(Contender::new("other build, none", all, daemon(other, Handler::None)));
            contenders.push(Contender::new("other build, ledger", all / 2, daemon(other, Handler::Ledger)));
        }
        contenders
    }
}

/// One row of the table.
struct Contender {
    name: &'static str,
    events: u64,
    kind: Kind,
    /// Settings that only this one has.
    set: Vec<String>,
    runs: Vec<Run>,
    /// For each run its rate, of that of the limit right before it.
    shares: Vec<f64>,
    /// For each rate, one a round.
    latencies: [Vec<Spread>; RATES.len()],
}

impl Contender {
    fn new(name: &'static str, events: u64, kind: Kind) -> Self {
        Self {
            name,
            events,
            kind,
            set: Vec::new(),
            runs: Vec::new(),
            shares: Vec::new(),
            latencies: Default::default(),
        }
    }

    fn with(self, set: &[&str]) -> Self {
        Self { set: set.iter().map(|assignment| (*assignment).to_owned()).collect(), ..self }
    }

    /// The settings of all, and then its own.
    fn settings(&self, of_all: &[String]) -> Vec<String> {
        of_all.iter().chain(&self.set).cloned().collect()
    }

    /// The ledger waits for the disk, and the plain loop is far from its limit at any rate that is asked for here.
    fn is_measured_for_latency(&self) -> bool {
        let kind = matches!(self.kind, Kind::Limit { clients: 1 } | Kind::Daemon { handler: Handler::None, .. });
        kind && self.set.is_empty()
    }
}

fn main() -> anyhow::Result<()> {
    if !frame::is_asked_for() {
        return Ok(());
    }
    let options = Options::parse().meant();
    let deadline = Deadline::new("the whole benchmark", PATIENCE);
    let server = PrivateServer::start(sandbox::Options { tcp: true, ..sandbox::Options::default() })?;
    let desk = Desk::new(&server)?;
    let report = measure(&options, &desk, &deadline)?;
    frame::hand_out(&report, "road")
}

fn measure(options: &Options, desk: &Desk<'_>, deadline: &Deadline) -> anyhow::Result<Report> {
    let load = machine::load()?;
    let mut contenders = options.contenders();
    for contender in &contenders {
        Backlog::fill(desk, contender.events, ORDERS, deadline)?;
    }
    let limit = Contender::new("raw limit", options.events, Kind::Limit { clients: 1 });
    for round in 0..options.rounds {
        // Each round begins with another one, so that nobody always runs right after the same neighbour.
        let count = contenders.len();
        for place in 0..count {
            let contender = &mut contenders[(place + round as usize) % count];
            eprintln!("round {} of {}: {}", round + 1, options.rounds, contender.name);
            // A machine that others use is fast and slow by turns, so each has a limit of its own, measured a moment before.
            let before = drain(desk, &limit, &[], deadline).context("the limit")?;
            let run = drain(desk, contender, &contender.settings(&options.set), deadline)
                .with_context(|| contender.name.to_owned())?;
            contender.shares.push(run.rate() / before.rate());
            contender.runs.push(run);
        }
        for (at, rate) in RATES.into_iter().enumerate().filter(|_| options.latency > 0) {
            for contender in contenders.iter_mut().filter(|contender| contender.is_measured_for_latency()) {
                eprintln!("round {} of {}: {}, {rate} events a second", round + 1, options.rounds, contender.name);
                let worker = contender.kind.start(desk, &options.set)?;
                let measured = latency::measure(desk, &worker, rate, options.latency, deadline);
                let spread = measured.with_context(|| worker.log())?;
                worker.stop()?;
                desk.clear()?;
                contender.latencies[at].push(spread);
            }
        }
    }
    let rows = contenders.iter().map(|contender| Row::new(contender.name, &contender.runs, &contender.shares));
    let rows = rows.collect::<Option<Vec<Row>>>().context("a row without a run")?;
    let latencies = RATES.into_iter().enumerate().flat_map(|(at, rate)| {
        let of = move |contender: &Contender| {
            Some(Latency { name: contender.name, rate, spread: Spread::median(&contender.latencies[at])? })
        };
        contenders.iter().filter_map(of)
    });
    let latencies = latencies.collect();
    let (rounds, settings, server) = (options.rounds, options.set.clone(), desk.version()?);
    let metrics_cpu_s_per_million = telling::cpu_s_per_million()?;
    Ok(Report { rounds, load, server, settings, rows, latencies, metrics_cpu_s_per_million })
}

/// One run: the worker is there and waits, the whole backlog appears at once, and the run ends when nothing is left of it.
fn drain(desk: &Desk<'_>, contender: &Contender, set: &[String], deadline: &Deadline) -> anyhow::Result<Run> {
    let worker = contender.kind.start(desk, set)?;
    let backlog = Backlog::lay_ready(desk, contender.events)?;
    desk.wait_until_somebody_waits(deadline).with_context(|| worker.log())?;
    let idle_kib = worker.memory()?.map(|memory| memory.now_kib);
    let (worker_before, server_before) = (worker.time()?, desk.server_cpu()?);

    let began = Instant::now();
    backlog.appear()?;
    backlog.wait_until_drained(deadline).with_context(|| worker.log())?;
    let took = began.elapsed();

    let (worker_after, server_after) = (worker.time()?, desk.server_cpu()?);
    let peak_kib = worker.memory()?.map(|memory| memory.peak_kib);
    ensure!(desk.dead_letters()? == 0, "events became dead letters: this measured something else than meant");
    worker.check(contender.events)?;
    worker.stop()?;
    desk.clear()?;
    Ok(Run {
        events: contender.events,
        took,
        worker_cpu: worker_after.since(worker_before).cpu,
        server_cpu: server_after.saturating_sub(server_before),
        idle_kib,
        peak_kib,
    })
}
