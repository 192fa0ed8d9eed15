//! What came of it: a table for people, JSON for machines.
//!
//! Owns: the median of each number over the rounds, and the bound beside it.
//! Never: measuring.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::machine;
use super::table::{count, grouped, markdown};

/// One number of one round.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    what: &'static str,
    unit: Unit,
    value: f64,
    bound: Option<f64>,
    note: String,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Milliseconds,
    Percent,
    Count,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rounds: u32,
    /// Of the machine, before anything was measured.
    pub(crate) load: f64,
    pub(crate) server: String,
    pub(crate) rows: Vec<Row>,
}

/// One number over all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    case: &'static str,
    what: &'static str,
    unit: Unit,
    median: f64,
    lowest: f64,
    highest: f64,
    bound: Option<f64>,
    /// What is known of the highest.
    note: String,
}

impl Measure {
    pub(crate) fn time(what: &'static str, took: Duration) -> Self {
        Self::new(what, Unit::Milliseconds, took.as_secs_f64() * 1e3)
    }

    pub(crate) fn share(what: &'static str, part: Duration, whole: Duration) -> Self {
        Self::new(what, Unit::Percent, 100.0 * part.as_secs_f64() / whole.as_secs_f64())
    }

    pub(crate) fn count(what: &'static str, number: u64) -> Self {
        Self::new(what, Unit::Count, count(number))
    }

    /// The number should not be above this.
    pub(crate) fn at_most(self, bound: f64) -> Self {
        Self { bound: Some(bound), ..self }
    }

    pub(crate) fn noted(self, note: String) -> Self {
        Self { note, ..self }
    }

    fn new(what: &'static str, unit: Unit, value: f64) -> Self {
        Self { what, unit, value, bound: None, note: String::new() }
    }
}

impl Row {
    /// The rows of a case, from what each round has measured, in the same order each time.
    pub(crate) fn of(case: &'static str, rounds: &[Vec<Measure>]) -> Vec<Self> {
        let columns = rounds.first().map_or(0, Vec::len);
        let column = |at: usize| rounds.iter().filter_map(move |round| round.get(at));
        (0..columns).filter_map(|at| Self::over(case, column(at).collect())).collect()
    }

    fn over(case: &'static str, mut measures: Vec<&Measure>) -> Option<Self> {
        measures.sort_by(|one, other| one.value.total_cmp(&other.value));
        let (lowest, highest) = (measures.first()?, measures.last()?);
        let Measure { what, unit, value: median, bound, .. } = measures.get(measures.len() / 2)?;
        Some(Self {
            case,
            what,
            unit: *unit,
            median: *median,
            lowest: lowest.value,
            highest: highest.value,
            bound: *bound,
            note: highest.note.clone(),
        })
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value < 1.0 => format!("{:.0} µs", 1e3 * value),
            Self::Milliseconds if value < 100.0 => format!("{value:.1} ms"),
            Self::Milliseconds => format!("{} ms", grouped(value)),
            Self::Percent => format!("{value:.2} %"),
            Self::Count => grouped(value),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, load, server, rows } = self;
        let cores = machine::cores();
        writeln!(f, "\n{server}, {cores} cores (load {load:.1} before), median of {rounds}\n")?;
        let mut table = markdown(&["", "median", "lowest to highest", "bound"]);
        let mut last = "";
        for row in rows {
            let Row { case, what, unit, median, lowest, highest, bound, note } = row;
            if *case != last {
                table.add_row([format!("**{case}**")]);
                last = case;
            }
            let bound = bound.map_or_else(String::new, |bound| {
                let exceeded = if *median > bound { ": exceeded" } else { "" };
                unit.write(bound) + exceeded
            });
            let what = if note.is_empty() { (*what).to_owned() } else { format!("{what} ({note})") };
            let range = format!("{} to {}", unit.write(*lowest), unit.write(*highest));
            table.add_row([what, unit.write(*median), range, bound]);
        }
        writeln!(f, "{table}")
    }
}
