//! Replaying and discarding.
//!
//! Owns: the question before it, the pace, the progress bar, and the line at the end.
//! Never: how a letter is moved (that is one step inside Redis: `broker::dead`).

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::choose::{self, Chosen};
use super::{Which, show};
use crate::broker::Broker;
use crate::broker::dead::Replayed;
use crate::cli::exit::Exit;
use crate::cli::table;
use crate::domain::decode::FieldNames;
use crate::domain::id::EntryId;

/// What is to be done with letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Add their events to the stream again, one `every` so often.
    Replay { every: Option<Duration> },
    /// Delete them.
    Discard,
}

/// What came of one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acted {
    Done,
    /// Somebody else was quicker.
    Gone,
    /// It holds no fields, and an entry without any is no event.
    Empty,
}

/// How many letters came to what.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    gone: u64,
    empty: u64,
}

/// Whether to go on.
enum Answer {
    Yes,
    No,
    NobodyToAsk,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Discard => "discard",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replayed",
            Self::Discard => "discarded",
        }
    }
}

/// Finds the letters that are meant, asks, and does it.
pub(super) async fn carry_out(broker: &Broker, names: &FieldNames, which: &Which, act: Act) -> anyhow::Result<Exit> {
    let chosen = if which.all {
        choose::all(broker, &which.filter, names).await?
    } else {
        Chosen::of(choose::by_ids(broker, &which.ids, which.filter.all_groups).await?)
    };
    if chosen.ids.is_empty() {
        super::super::print("no dead letters\n")?;
        return Ok(Exit::Success);
    }
    let verb = act.verb();
    if which.dry_run {
        let rest = chosen.ids.len() - chosen.shown.len();
        let rest = if rest > 0 { format!("and {rest} more\n") } else { String::new() };
        let text = format!("{}{rest}would {verb} {}\n", show::table_of(&chosen.shown, names), chosen.count());
        super::super::print(&text)?;
        return Ok(Exit::Success);
    }
    let answer = if which.yes { Answer::Yes } else { ask(&format!("{verb} {}?", chosen.count()))? };
    match answer {
        Answer::Yes => {}
        Answer::No => {
            super::super::print("nothing was changed\n")?;
            return Ok(Exit::Success);
        }
        Answer::NobodyToAsk => {
            let mut err = io::stderr().lock();
            writeln!(err, "orderd: would {verb} {}; there is nobody to ask here: say --yes", chosen.count())?;
            return Ok(Exit::Usage);
        }
    }
    let Tally { done, gone, empty } = each(broker, &chosen, act).await?;
    let mut text = format!("{} {}", act.done(), table::count(done, "dead letter", "dead letters"));
    if gone > 0 {
        // A string takes everything.
        let _ = write!(text, "; {gone} were gone already: somebody else has replayed or discarded them");
    }
    if empty > 0 {
        let which = table::count(empty, "letter has no fields", "letters have no fields");
        let _ = write!(
            text,
            "; {which}, for the entry was too large to be fetched: that cannot be replayed, only discarded"
        );
    }
    super::super::print(&format!("{text}\n"))?;
    if empty > 0 {
        return Ok(Exit::Failure);
    }
    // Who named a letter wants to know that it was not there; of all that there are, the rest is simply less.
    Ok(if gone > 0 && !which.all { Exit::Failure } else { Exit::Success })
}

async fn each(broker: &Broker, chosen: &Chosen, act: Act) -> anyhow::Result<Tally> {
    let total = chosen.ids.len() as u64;
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} letters, {per_sec}, {eta} left")?;
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style);
    let mut ticks = match act {
        Act::Replay { every } => every.map(tokio::time::interval),
        Act::Discard => None,
    };
    let mut tally = Tally::default();
    for id in &chosen.ids {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let acted = match act {
            Act::Replay { .. } => replay(broker, *id).await,
            Act::Discard => {
                let discarded = broker.discard(*id).await.map_err(anyhow::Error::from);
                discarded.map(|there| if there { Acted::Done } else { Acted::Gone })
            }
        };
        let verb = act.done();
        match acted.with_context(|| format!("{} of {total} dead letters were {verb} before", tally.done))? {
            Acted::Done => tally.done += 1,
            Acted::Gone => tally.gone += 1,
            Acted::Empty => tally.empty += 1,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(tally)
}

async fn replay(broker: &Broker, id: EntryId) -> anyhow::Result<Acted> {
    let Some(letter) = broker.letter(id).await? else { return Ok(Acted::Gone) };
    if letter.entry.fields.is_empty() {
        return Ok(Acted::Empty);
    }
    match broker.replay(&letter).await? {
        Replayed::Done(_) => Ok(Acted::Done),
        Replayed::Gone => Ok(Acted::Gone),
        Replayed::NoStream => bail!("there is no stream {} to add them to", broker.keys().stream),
    }
}

fn ask(question: &str) -> io::Result<Answer> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Answer::NobodyToAsk);
    }
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(if matches!(answer.trim(), "y" | "Y" | "yes") { Answer::Yes } else { Answer::No })
}
