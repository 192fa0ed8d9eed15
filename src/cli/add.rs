//! `orderd add`: adds events to the stream.
//!
//! Owns: the arguments, the pace, the progress bar, and the line at the end.
//! Never: how the stream is reached (that is `broker`); whether an event makes sense, for adding nonsense is how one sees what
//! becomes of it.

use std::fmt;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::Interval;

use super::Cli;
use super::draft::Draft;
use super::exit::Exit;
use super::plausible::{Plausible, Recipe};
use crate::broker::Broker;
use crate::domain::decode::FieldNames;
use crate::domain::entry::Field;
use crate::domain::id::EntryId;

/// How many orders are under way at once where nothing else is asked for.
const ORDERS: usize = 300;
/// The most events in one batch to Redis.
const BATCH: u32 = 500;
/// At a given rate, so many batches a second: often enough to look even.
const BATCHES_A_SECOND: u32 = 20;

/// Adds order events to the stream: one that is given, or many that are made up
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What happened: created, paid, shipped, delivered, cancelled, refunded, or another word
    #[arg(long, required_unless_present = "count", requires = "order")]
    action: Option<String>,

    /// The order that it happened to
    #[arg(long, required_unless_present = "count", requires = "action")]
    order: Option<String>,

    /// How much money it is about, such as 49.99
    #[arg(long, requires = "action", conflicts_with = "count")]
    amount: Option<String>,

    /// Whose order it is
    #[arg(long, requires = "action", conflicts_with = "count")]
    user: Option<String>,

    /// A further field of the event; may be given more than once
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = key_and_value)]
    #[arg(requires = "action", conflicts_with = "count")]
    fields: Vec<(String, String)>,

    /// Makes up so many plausible events: orders that are created, paid, shipped, delivered, some cancelled or refunded
    #[arg(long, conflicts_with = "action")]
    count: Option<u64>,

    /// At most so many events a second [default: as fast as it goes]
    #[arg(long, requires = "count", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// So many orders are under way at the same time [default: 300]
    #[arg(long, requires = "count")]
    orders: Option<usize>,

    /// The same seed makes the same events; it is part of the order ids [default: by the clock]
    #[arg(long, requires = "count")]
    seed: Option<u64>,
}

/// Adds what `args` ask for, and prints the id of the event, or a summary.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    let names = &settings.event;
    let said = super::with_broker(&settings, async |broker| match args.count {
        Some(count) => add_many(args.recipe(count), Pace::of(args.rate), names, broker).await,
        None => {
            let ids = broker.add(&[draft(args).fields(names)]).await?;
            Ok(ids.iter().map(ToString::to_string).collect())
        }
    })?;
    super::print(&format!("{said}\n"))?;
    Ok(Exit::Success)
}

impl Args {
    fn recipe(&self, count: u64) -> Recipe {
        Recipe { count, orders: self.orders.unwrap_or(ORDERS), seed: self.seed.unwrap_or_else(seed_by_the_clock) }
    }
}

/// Makes up and adds the events of `recipe`; returns what to say of it.
async fn add_many(recipe: Recipe, pace: Pace, names: &FieldNames, broker: &Broker) -> anyhow::Result<String> {
    let started = Instant::now();
    let mut events = Plausible::new(recipe);
    let mut ticks = pace.ticks();
    let mut ends: Option<(EntryId, EntryId)> = None;
    let bar = progress_bar(recipe.count)?;
    loop {
        let batch: Vec<Vec<Field>> =
            events.by_ref().take(pace.batch as usize).map(|event| event.fields(names)).collect();
        if batch.is_empty() {
            break;
        }
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let ids = broker.add(&batch).await;
        let ids = ids.with_context(|| format!("{} of {} events were added before", bar.position(), recipe.count))?;
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            ends = Some((ends.map_or(*first, |(first, _)| first), *last));
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    let range = ends.map_or(String::new(), |(first, last)| format!(", {first} to {last}"));
    let seconds = started.elapsed().as_secs_f64();
    let (count, orders, seed) = (recipe.count, events.orders_made(), recipe.seed);
    Ok(format!("added {count} events of {orders} orders in {seconds:.1} s (seed {seed}{range})"))
}

fn draft(args: &Args) -> Draft {
    Draft {
        action: args.action.clone().unwrap_or_default(),
        order: args.order.clone().unwrap_or_default(),
        amount: args.amount.clone(),
        user: args.user.clone(),
        extra: args.fields.clone(),
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Another one with each run, so that two runs do not write to the same orders.
fn seed_by_the_clock() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() * 1000 + u64::from(since.subsec_millis()))
}

/// Shown to a person only: there is no bar where the errors do not go to a terminal.
pub(super) fn progress_bar(count: u64) -> anyhow::Result<ProgressBar> {
    let template = "{prefix}{bar:40} {human_pos} of {human_len} events, {rate} a second, {eta} left";
    let rate = |state: &ProgressState, line: &mut dyn fmt::Write| {
        // Where this cannot be written, the bar is a little shorter.
        let _ = write!(line, "{:.0}", state.per_sec());
    };
    let style = ProgressStyle::with_template(template)?.with_key("rate", rate);
    Ok(ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr()).with_style(style))
}

/// How many events go out at once, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    batch: u32,
    every: Option<Duration>,
}

impl Pace {
    fn of(rate: Option<u32>) -> Self {
        let Some(rate) = rate else { return Self { batch: BATCH, every: None } };
        let batch = (rate / BATCHES_A_SECOND).clamp(1, BATCH);
        Self { batch, every: Some(Duration::from_secs(u64::from(batch)) / rate.max(1)) }
    }

    /// Ticks that were missed are made up for, so that the rate holds on the whole.
    fn ticks(self) -> Option<Interval> {
        self.every.map(tokio::time::interval)
    }
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

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Line::try_parse_from(format!("add {line}").split_whitespace()).map(|line| line.args)
    }

    #[test]
    fn one_event_needs_an_action_and_an_order() {
        Line::command().debug_assert();
        let args =
            parse("--action created --order o-1 --amount 49.99 --user u --field a=1 --field a=x=y --field b=").unwrap();
        let pairs = [("a", "1"), ("a", "x=y"), ("b", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = Draft {
            action: "created".into(),
            order: "o-1".into(),
            amount: Some("49.99".into()),
            user: Some("u".into()),
            extra: pairs.to_vec(),
        };
        assert_eq!(draft(&args), expected);
        for line in [
            "",
            "--action paid",
            "--order o",
            "--action paid --order o --field a",
            "--action paid --order o --field =a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn many_events_and_one_event_are_not_asked_for_together() {
        assert_eq!(parse("--count 10 --rate 5 --orders 2 --seed 1").unwrap().count, Some(10));
        for line in
            ["--count 10 --action paid --order o", "--count 10 --user u", "--rate 5", "--seed 1", "--count 10 --rate 0"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_pace_comes_to_the_rate_that_was_asked_for() {
        for rate in [1, 3, 19, 20, 1_000, 9_999, 1_000_000] {
            let Pace { batch, every } = Pace::of(Some(rate));
            let comes_to = f64::from(batch) / every.unwrap().as_secs_f64();
            assert!((comes_to / f64::from(rate) - 1.0).abs() < 0.01, "{rate} became {comes_to}");
            assert!((1..=BATCH).contains(&batch));
        }
        assert_eq!(Pace::of(None), Pace { batch: BATCH, every: None });
    }
}
