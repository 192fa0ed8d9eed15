//! `orderd listen`: prints what is published, as it comes.
//!
//! Owns: the two forms of a line, and what is said of gaps.
//! Never: the end of listening because Redis went away; a control character of a message on the terminal.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::exit::Exit;
use super::{Cli, run};
use crate::broker::connect::Connector;
use crate::broker::error::{BrokerError, Trouble};
use crate::broker::pubsub::{Message, Topics};
use crate::domain::versions::{Skipped, Versions};
use crate::ledger::error::LedgerError;
use crate::ledger::reader::LedgerReader;
use crate::ledger::report::{HistoryRow, OrderRow};
use crate::settings::Settings;
use crate::task::listener::{Heard, Listener, Missed, QUEUE};
use crate::telemetry::Telemetry;

/// For so many orders it is remembered which version was heard last.
const ORDERS: usize = 10_000;
/// A ledger that could not be read is looked for again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Listens to channels and patterns until Ctrl-C, and prints every message as it comes
///
/// Redis keeps no message for a subscriber that is away. So each gap is told: after a connection was lost, when messages come faster
/// than they can be printed, and when an order's version shows that one was skipped. What was skipped is read from the ledger, where
/// the configuration names one that can be reached.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Channels, by their names
    #[arg(value_name = "CHANNEL", required_unless_present = "patterns")]
    channels: Vec<String>,

    /// Channels whose names match, such as 'notifications:user:*'; can be repeated
    #[arg(long = "pattern", value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Print JSON: one object a line, also for gaps
    #[arg(long)]
    json: bool,
}

/// Listens until it is told to stop, or until nobody reads what it prints.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    // Printing may block this thread. The socket is read on another.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let stop = run::told_to_stop()?;
        tokio::select! {
            ended = listen(&settings, args) => ended,
            () = stop => Ok(Exit::Success),
        }
    })
}

async fn listen(settings: &Settings, args: &Args) -> anyhow::Result<Exit> {
    let connector = Arc::new(Connector::new(settings.redis.clone(), "cli", Telemetry::new()?)?);
    let topics = Topics { channels: args.channels.clone(), patterns: args.patterns.clone() };
    let mut listener = Listener::new(connector, topics, QUEUE);
    let mut versions = Versions::new(ORDERS);
    let mut late = Late { settings, not_before: Instant::now() };
    let mut listening = false;
    loop {
        let heard = listener.next().await;
        listening |= heard == Heard::Listening;
        // What was skipped is older than what showed it.
        let skipped = match &heard {
            // What will not mend itself is better told at once; later on it may be a change of passwords under way.
            Heard::Away(error) if !listening && is_hopeless(error) => return Err(error.clone().into()),
            Heard::Message(message) => versions.note_message(&message.payload),
            _ => None,
        };
        let filled = skipped.map_or_else(Vec::new, |skipped| late.fill(skipped));
        for line in filled.into_iter().chain([Line::Heard(heard)]) {
            match tell(&line, args.json) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Success),
                told => told?,
            }
        }
    }
}

/// Something to print.
enum Line {
    Heard(Heard),
    Skipped(Skipped),
    /// What was skipped, as the ledger has it: the channel, and the message.
    Found(String, String),
}

/// The ledger that the configuration names, where it can be reached from here.
struct Late<'s> {
    settings: &'s Settings,
    not_before: Instant,
}

impl Late<'_> {
    /// What was skipped, where all of it is in the ledger; else the word that it was skipped.
    fn fill(&mut self, skipped: Skipped) -> Vec<Line> {
        // Most who listen have no ledger at hand, and looking for it in vain can take its time.
        if Instant::now() < self.not_before {
            return vec![Line::Skipped(skipped)];
        }
        // A reader waits on a runtime of its own, which asks for a thread that may block.
        let (order, history) = match tokio::task::block_in_place(|| self.read(&skipped)) {
            Ok(Some(found)) => found,
            Ok(None) => return vec![Line::Skipped(skipped)],
            Err(_) => {
                self.not_before = Instant::now() + LOOK_AGAIN;
                return vec![Line::Skipped(skipped)];
            }
        };
        let form = &self.settings.notify.form;
        let rows = history.into_iter().filter(|row| skipped.versions.contains(&row.version));
        let notices = rows.map(|row| row.notice(order.order.user.clone(), order.id.clone()));
        let found: Vec<Line> = notices.map(|notice| Line::Found(form.channel(&notice), form.text(&notice))).collect();
        let all = skipped.versions.end() - skipped.versions.start() + 1;
        if found.len() as u64 == all { found } else { vec![Line::Skipped(skipped)] }
    }

    fn read(&self, skipped: &Skipped) -> Result<Option<(OrderRow, Vec<HistoryRow>)>, LedgerError> {
        LedgerReader::open(&self.settings.ledger)?.order(&skipped.order.as_str().into())
    }
}

fn is_hopeless(error: &BrokerError) -> bool {
    matches!(error.trouble, Trouble::Denied(_) | Trouble::NoPermission(_) | Trouble::Refused(_))
}

/// Messages go to the standard output, and so does everything else where a program reads it; a person reads it beside them.
fn tell(line: &Line, as_json: bool) -> io::Result<()> {
    let (text, aside) = if as_json { (json_line(line), false) } else { text_line(line) };
    if aside {
        // Nobody is left to tell when this cannot be written.
        let _ = writeln!(io::stderr().lock(), "{text}");
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// The line, and whether it is no message.
fn text_line(line: &Line) -> (String, bool) {
    let text = match line {
        Line::Heard(Heard::Message(Message { channel, pattern, payload })) => {
            let pattern = pattern.as_ref().map_or_else(String::new, |pattern| format!("[{}] ", printable(pattern)));
            let text = String::from_utf8_lossy(payload);
            return (format!("{pattern}[{}] {}", printable(channel), printable(&text)), false);
        }
        Line::Found(channel, text) => {
            return (format!("[{}] {} (late, from the ledger)", printable(channel), printable(text)), false);
        }
        Line::Heard(Heard::Listening) => "orderd: listening; Ctrl-C ends it".to_owned(),
        Line::Heard(Heard::Missed(missed)) => format!("orderd: messages may have been missed: {}", reason(missed)),
        Line::Heard(Heard::Away(error)) => format!("orderd: not listening, trying again: {error}"),
        Line::Skipped(Skipped { order, versions }) => {
            format!(
                "orderd: messages were missed: order {}, versions {} to {}",
                printable(order),
                versions.start(),
                versions.end()
            )
        }
    };
    (text, true)
}

fn json_line(line: &Line) -> String {
    let object = match line {
        Line::Heard(Heard::Message(Message { channel, pattern, payload })) => {
            json!({ "channel": channel, "pattern": pattern, "message": String::from_utf8_lossy(payload) })
        }
        Line::Found(channel, text) => json!({ "channel": channel, "late": true, "message": text }),
        Line::Heard(Heard::Listening) => json!({ "listening": true }),
        Line::Heard(Heard::Missed(missed)) => json!({ "missed": missed_json(*missed) }),
        Line::Heard(Heard::Away(error)) => json!({ "away": error.to_string() }),
        Line::Skipped(Skipped { order, versions }) => {
            json!({ "missed": { "order": order, "from_version": versions.start(), "to_version": versions.end() } })
        }
    };
    object.to_string()
}

fn reason(missed: &Missed) -> String {
    match missed {
        Missed::Away(time) => format!("there was no connection for {:.1} s", time.as_secs_f64()),
        Missed::TooSlow(count) => format!("{count} came faster than they were printed"),
    }
}

fn missed_json(missed: Missed) -> Value {
    match missed {
        Missed::Away(time) => json!({ "away_seconds": time.as_secs_f64() }),
        Missed::TooSlow(count) => json!({ "too_slow": count }),
    }
}

/// Text without anything that a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
