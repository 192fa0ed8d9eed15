//! What came of it: a table for people, JSON for machines.
//!
//! Owns: medians, ratios, and how they are written.
//! Never: measuring.

use std::fmt;

use serde::Serialize;

use super::latency::Spread;
use super::machine;
use super::table::{count, grouped, markdown};
use super::worker::Run;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rounds: u32,
    /// Of the machine, before anything was measured.
    pub(crate) load: f64,
    pub(crate) server: String,
    /// Settings besides the defaults.
    pub(crate) settings: Vec<String>,
    /// The first is the limit.
    pub(crate) rows: Vec<Row>,
    /// At each rate the first is the limit.
    pub(crate) latencies: Vec<Latency>,
    pub(crate) metrics_cpu_s_per_million: f64,
}

/// How long events took, with one who was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) name: &'static str,
    /// Events a second.
    pub(crate) rate: u64,
    /// Medians of all rounds.
    pub(crate) spread: Spread,
}

/// The medians of one who was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    events: u64,
    rate: f64,
    of_limit: f64,
    slowest: f64,
    fastest: f64,
    worker_cpu_s_per_million: f64,
    server_cpu_s_per_million: f64,
    idle_mib: Option<f64>,
    peak_mib: Option<f64>,
}

impl Row {
    /// `None` where there were no runs. `shares` are their rates, of that of the limit.
    pub(crate) fn new(name: &'static str, runs: &[Run], shares: &[f64]) -> Option<Self> {
        let sorted = |mut values: Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let median =
            |value: &dyn Fn(&Run) -> f64| sorted(runs.iter().map(value).collect()).get(runs.len() / 2).copied();
        let million = |run: &Run| count(run.events) / 1e6;
        let mib = |kib: u64| count(kib) / 1024.0;
        let rates = sorted(runs.iter().map(Run::rate).collect());
        Some(Self {
            name,
            events: runs.first()?.events,
            rate: median(&Run::rate)?,
            of_limit: sorted(shares.to_vec()).get(shares.len() / 2).copied()?,
            slowest: rates.first().copied()?,
            fastest: rates.last().copied()?,
            worker_cpu_s_per_million: median(&|run| run.worker_cpu.as_secs_f64() / million(run))?,
            server_cpu_s_per_million: median(&|run| run.server_cpu.as_secs_f64() / million(run))?,
            idle_mib: runs.first()?.idle_kib.and_then(|_| median(&|run| run.idle_kib.map_or(0.0, mib))),
            peak_mib: runs.first()?.peak_kib.and_then(|_| median(&|run| run.peak_kib.map_or(0.0, mib))),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = machine::cores();
        let settings = if self.settings.is_empty() { "the defaults".to_owned() } else { self.settings.join(", ") };
        let Self { rounds, load, server, .. } = self;
        writeln!(
            f,
            "\n{server}, {cores} cores (load {load:.1} before), median of {rounds}; settings of orderd: {settings}\n"
        )?;
        let mut table = markdown(&[
            "",
            "events",
            "events/s",
            "slowest to fastest",
            "of the limit",
            "worker CPU s/M",
            "server CPU s/M",
            "idle MiB",
            "peak MiB",
        ]);
        let mib = |value: Option<f64>| value.map_or_else(String::new, |mib| format!("{mib:.1}"));
        for row in &self.rows {
            table.add_row([
                row.name.to_owned(),
                grouped(count(row.events)),
                grouped(row.rate),
                format!("{} to {}", grouped(row.slowest), grouped(row.fastest)),
                format!("{:.1} %", 100.0 * row.of_limit),
                format!("{:.2}", row.worker_cpu_s_per_million),
                format!("{:.2}", row.server_cpu_s_per_million),
                mib(row.idle_mib),
                mib(row.peak_mib),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(f, "\nTelling the metrics of a drain, by itself: {:.4} CPU s/M", self.metrics_cpu_s_per_million)?;
        if self.latencies.is_empty() {
            return Ok(());
        }
        let mut table = markdown(&[
            "XADD to XACK",
            "events/s",
            "events a round",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "p50 of the limit",
            "p99 of the limit",
            "without a core",
        ]);
        for Latency { name, rate, spread } in &self.latencies {
            let limit = self.latencies.iter().find(|limit| limit.rate == *rate).map_or(spread, |limit| &limit.spread);
            let numbers = [*rate, spread.events as u64, spread.p50_us, spread.p99_us, spread.p999_us, spread.max_us];
            let numbers = numbers.map(|number| grouped(count(number)));
            let times = |of: fn(&Spread) -> u64| format!("{:.2}", count(of(spread)) / count(of(limit)));
            let ratios = [times(|spread| spread.p50_us), times(|spread| spread.p99_us)];
            let in_line = [format!("{:.1} %", 100.0 * spread.in_line)];
            table.add_row(std::iter::once((*name).to_owned()).chain(numbers).chain(ratios).chain(in_line));
        }
        writeln!(f, "\n{table}")
    }
}
