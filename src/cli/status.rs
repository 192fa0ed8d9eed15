//! `orderd status`: how the stream, its groups and their consumers stand.
//!
//! Owns: what is shown of a survey, as tables and as JSON. What nobody knows is called unknown.
//! Never: a change of anything; a question that costs Redis more the longer the stream is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Cli;
use super::exit::Exit;
use super::table::{count, lines, printable, table};
use crate::broker::Broker;
use crate::broker::error::BrokerError;
use crate::broker::name::ConsumerInfo;
use crate::broker::survey::{GroupSurvey, Survey};
use crate::domain::id::{EntryId, GroupName};
use crate::domain::trim::SafePoint;
use crate::settings::Settings;
use crate::settings::keys::time_text;
use crate::task::reaper::instance_of;

/// So many of the newest dead letters are sorted by their reason.
const LETTERS: usize = 100;
/// So many consumers of a group are shown.
const CONSUMERS: usize = 200;

/// Shows how the stream and its groups stand
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// Everything that is shown.
struct Status {
    survey: Survey,
    /// The consumers of each group, in the order of the survey.
    consumers: Vec<Consumers>,
    safe_point: Option<SafePoint>,
    /// The newest dead letters by reason, and how many those are.
    reasons: BTreeMap<String, u64>,
    sorted: u64,
}

/// The consumers of one group.
struct Consumers {
    /// Each with whether its process is alive.
    shown: Vec<(ConsumerInfo, bool)>,
    hidden: usize,
}

/// Looks, and prints what it saw.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    let status = super::with_broker(&settings, async |broker| Ok(look(broker).await?))?;
    let text = if args.json { format!("{}\n", object(&status, &settings)) } else { text(&status, &settings) };
    super::print(&text)?;
    Ok(Exit::Success)
}

async fn look(broker: &Broker) -> Result<Status, BrokerError> {
    let survey = broker.survey().await?;
    let mut consumers = Vec::with_capacity(survey.groups.len());
    for group in &survey.groups {
        let mut shown = broker.consumers_of(&group.group).await?;
        let hidden = shown.len().saturating_sub(CONSUMERS);
        shown.sort_by(|a, b| b.pending.cmp(&a.pending).then_with(|| a.name.cmp(&b.name)));
        shown.truncate(CONSUMERS);
        let instances: Vec<&str> = shown.iter().map(|consumer| instance_of(&consumer.name)).collect();
        let alive = broker.living(&group.group, &instances).await?;
        consumers.push(Consumers { shown: shown.into_iter().zip(alive).collect(), hidden });
    }
    let newest = broker.newest_letters(LETTERS).await?.letters;
    let mut reasons = BTreeMap::new();
    for letter in &newest {
        *reasons.entry(letter.reason.clone()).or_default() += 1;
    }
    let safe_point = survey.safe_point(&broker.keys().group);
    Ok(Status { survey, consumers, safe_point, reasons, sorted: newest.len() as u64 })
}

fn text(status: &Status, settings: &Settings) -> String {
    let Status { survey, safe_point, .. } = status;
    let stream = printable(settings.stream.key.as_str());
    let mut text = format!("{stream}: {}", count(survey.length, "entry", "entries"));
    let over = survey.length.saturating_sub(settings.tuning.trimmer.max_len);
    if over > 0 {
        let _ = write!(text, ", {over} over trimmer.max_len");
    }
    text += "\n";
    match safe_point {
        Some(_) if survey.groups.iter().all(|group| group.pending == 0 && group.oldest_undelivered.is_none()) => {
            text += "all of it is settled by every group\n";
        }
        Some(point) => {
            let group = printable(point.held_by().as_str());
            let _ =
                writeln!(text, "everything below {} is settled; the group '{group}' is furthest behind", point.id());
        }
        None => {
            let group = printable(settings.stream.group.as_str());
            let _ = writeln!(text, "there is no group '{group}': nothing is trimmed");
        }
    }
    let _ = writeln!(text, "{}{}", count(survey.dead, "dead letter", "dead letters"), reasons(status));
    if !survey.groups.is_empty() {
        text += "\n";
        text += &groups_table(survey);
        text += "\n";
        text += &consumers_table(status);
    }
    text
}

/// `: permanent 3, bad-amount 1`, and how many were looked at where that is not all.
fn reasons(status: &Status) -> String {
    if status.reasons.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> =
        status.reasons.iter().map(|(reason, count)| format!("{} {count}", printable(reason))).collect();
    let of =
        if status.sorted < status.survey.dead { format!(" of the newest {}", status.sorted) } else { String::new() };
    format!(":{of} {}", reasons.join(", "))
}

fn groups_table(survey: &Survey) -> String {
    let mut table =
        table(&["group", "consumers", "pending", "not delivered", "oldest pending", "oldest not delivered"]);
    for group in &survey.groups {
        let age = |id: Option<EntryId>| id.map_or_else(|| "-".to_owned(), |id| age_text(survey.age(id)));
        table.add_row([
            printable(group.group.as_str()),
            group.consumers.to_string(),
            group.pending.to_string(),
            group.lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string()),
            age(group.oldest_pending),
            age(group.oldest_undelivered),
        ]);
    }
    lines(&table)
}

fn consumers_table(status: &Status) -> String {
    let mut table = table(&["consumer", "group", "worker", "pending", "idle"]);
    let mut hidden = 0;
    for (GroupSurvey { group, .. }, consumers) in status.survey.groups.iter().zip(&status.consumers) {
        hidden += consumers.hidden;
        for (consumer, alive) in &consumers.shown {
            table.add_row([
                printable(consumer.name.as_str()),
                printable(group.as_str()),
                alive_text(*alive).to_owned(),
                consumer.pending.to_string(),
                age_text(consumer.idle),
            ]);
        }
    }
    let rest = if hidden > 0 { format!("and {hidden} more with less pending\n") } else { String::new() };
    lines(&table) + &rest
}

/// Whether a worker of that name holds its lock. A consumer of another program never does.
fn alive_text(alive: bool) -> &'static str {
    if alive { "alive" } else { "gone" }
}

/// In whole seconds from one second on: nobody needs more of an age.
fn age_text(age: Duration) -> String {
    time_text(if age.as_secs() > 0 {
        Duration::from_secs(age.as_secs())
    } else {
        Duration::from_millis(age.subsec_millis().into())
    })
}

fn object(status: &Status, settings: &Settings) -> Value {
    let Status { survey, consumers, safe_point, reasons, sorted } = status;
    let groups: Vec<Value> =
        survey.groups.iter().zip(consumers).map(|(group, consumers)| group_object(survey, group, consumers)).collect();
    json!({
        "stream": settings.stream.key.as_str(),
        "group": settings.stream.group.as_str(),
        "length": survey.length,
        "max_len": settings.tuning.trimmer.max_len,
        "trim_floor": safe_point.as_ref().map(|point| point.id().to_string()),
        "trim_floor_held_by": safe_point.as_ref().map(SafePoint::held_by).map(GroupName::as_str),
        "dead_letters": survey.dead,
        "dead_letters_newest": sorted,
        "dead_letters_newest_by_reason": reasons,
        "groups": groups,
    })
}

fn group_object(survey: &Survey, group: &GroupSurvey, consumers: &Consumers) -> Value {
    let age = |id: Option<EntryId>| id.map(|id| survey.age(id).as_secs_f64());
    let consumer = |(consumer, alive): &(ConsumerInfo, bool)| {
        json!({
            "name": consumer.name.as_str(),
            "alive": alive,
            "pending": consumer.pending,
            "idle_seconds": consumer.idle.as_secs_f64(),
        })
    };
    json!({
        "group": group.group.as_str(),
        "pending": group.pending,
        "lag": group.lag,
        "last_delivered": group.last_delivered.to_string(),
        "oldest_pending": group.oldest_pending.map(|id| id.to_string()),
        "oldest_pending_age_seconds": age(group.oldest_pending),
        "oldest_undelivered": group.oldest_undelivered.map(|id| id.to_string()),
        "oldest_undelivered_age_seconds": age(group.oldest_undelivered),
        "consumers": consumers.shown.iter().map(consumer).collect::<Vec<_>>(),
        "consumers_not_shown": consumers.hidden,
    })
}
