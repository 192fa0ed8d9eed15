//! Which dead letters are meant.
//!
//! Owns: filters and ids, and finding what they name page by page.
//! Never: a guess: an id that names two different letters is sent back.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use jiff::fmt::friendly::SpanParser;

use crate::broker::Broker;
use crate::broker::dead::DeadLetter;
use crate::broker::error::BrokerError;
use crate::cli::table::{self, printable};
use crate::domain::decode::{FieldNames, order_of};
use crate::domain::id::EntryId;

/// So many letters are shown of a larger number.
const SHOWN: usize = 50;

/// Which letters to look at.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// Only letters with this reason, such as permanent or bad-amount
    #[arg(long)]
    reason: Option<String>,

    /// Only letters of this order
    #[arg(long)]
    order: Option<String>,

    /// Only letters since then: a time such as 2026-01-31T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "DURATION|TIMESTAMP")]
    since: Option<Since>,

    /// Letters of the other groups of the stream, too
    #[arg(long)]
    pub(super) all_groups: bool,
}

/// From when on.
#[derive(Debug, Clone, Copy)]
enum Since {
    At(Timestamp),
    Ago(Duration),
}

/// A letter, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Either(EntryId),
    Letter(EntryId),
    Entry(EntryId),
}

/// A list of letters.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) letters: Vec<DeadLetter>,
    /// Whether there are more.
    pub(super) more: bool,
    /// Entries of that stream that are no letters.
    pub(super) odd: Vec<EntryId>,
}

/// Letters that something is to be done with.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Their ids, in the sequence in which their events first came.
    pub(super) ids: Vec<EntryId>,
    /// The first of them.
    pub(super) shown: Vec<DeadLetter>,
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let ago = SpanParser::new().parse_unsigned_duration(text).map(Self::Ago);
        ago.map_err(|_| "neither a time such as 2026-01-31T12:00:00Z nor a duration such as 2h".to_owned())
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |text: &str| text.parse().map_err(|error: crate::domain::id::BadEntryId| error.to_string());
        match text.split_once(':') {
            None => id(text).map(Self::Either),
            Some(("letter", text)) => id(text).map(Self::Letter),
            Some(("entry", text)) => id(text).map(Self::Entry),
            Some(_) => Err("write it as ID, letter:ID or entry:ID".to_owned()),
        }
    }
}

impl Wanted {
    fn is(self, letter: &DeadLetter) -> bool {
        match self {
            Self::Either(id) => Self::Letter(id).is(letter) || Self::Entry(id).is(letter),
            Self::Letter(id) => letter.id == id,
            // Of a replay that failed again, people remember the first id.
            Self::Entry(id) => letter.entry.id == id || letter.origin() == id,
        }
    }

    fn id(self) -> EntryId {
        let (Self::Either(id) | Self::Letter(id) | Self::Entry(id)) = self;
        id
    }
}

/// The first `limit` letters that `filter` leaves.
pub(super) async fn list(
    broker: &Broker,
    filter: &Filter,
    names: &FieldNames,
    limit: u32,
) -> Result<List, BrokerError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut list = List::default();
    let mut lowest = Some(filter.lowest(broker).await?);
    while let Some(from) = lowest
        && list.letters.len() <= limit
    {
        let page = broker.letters(from).await?;
        list.letters.extend(page.letters.into_iter().filter(|letter| filter.keeps(broker, names, letter)));
        list.odd.extend(page.odd);
        lowest = page.next;
    }
    list.more = list.letters.len() > limit;
    list.letters.truncate(limit);
    Ok(list)
}

/// All letters that `filter` leaves.
pub(super) async fn all(broker: &Broker, filter: &Filter, names: &FieldNames) -> Result<Chosen, BrokerError> {
    let mut found: Vec<(EntryId, EntryId)> = Vec::new();
    let mut shown = Vec::new();
    let mut lowest = Some(filter.lowest(broker).await?);
    while let Some(from) = lowest {
        let page = broker.letters(from).await?;
        for letter in page.letters.into_iter().filter(|letter| filter.keeps(broker, names, letter)) {
            found.push((letter.origin(), letter.id));
            if shown.len() < SHOWN {
                shown.push(letter);
            }
        }
        lowest = page.next;
    }
    found.sort_unstable();
    shown.sort_by_key(|letter| (letter.origin(), letter.id));
    Ok(Chosen { ids: found.into_iter().map(|(_, id)| id).collect(), shown })
}

/// The letters with these ids, in the sequence in which their events first came. Each id has to name one entry that was given up.
pub(super) async fn by_ids(broker: &Broker, wanted: &[Wanted], all_groups: bool) -> anyhow::Result<Vec<DeadLetter>> {
    let mut found: Vec<DeadLetter> = Vec::new();
    let mut lowest = Some(EntryId::MIN);
    while let Some(from) = lowest {
        let page = broker.letters(from).await?;
        let ours = page.letters.into_iter().filter(|letter| all_groups || letter.group == broker.keys().group);
        found.extend(ours.filter(|letter| wanted.iter().any(|wanted| wanted.is(letter))));
        lowest = page.next;
    }
    let missing: Vec<String> = wanted
        .iter()
        .filter(|wanted| !found.iter().any(|letter| wanted.is(letter)))
        .map(|wanted| wanted.id().to_string())
        .collect();
    if !missing.is_empty() {
        let group = printable(broker.keys().group.as_str());
        let whose = if all_groups { String::new() } else { format!(" of the group '{group}'") };
        let letter = if missing.len() == 1 { "dead letter" } else { "dead letters" };
        bail!("no {letter}{whose}: {}", missing.join(", "));
    }
    for wanted in wanted {
        let mut named = found.iter().filter(|letter| wanted.is(letter));
        if let Some(first) = named.next()
            && let Some(other) = named.find(|other| other.origin() != first.origin())
        {
            let id = wanted.id();
            bail!(
                "{id} is the id of a letter and of an entry with another letter ({} of {}, {} of {}): \
                 write letter:{id} or entry:{id}",
                first.id,
                first.entry.id,
                other.id,
                other.entry.id
            );
        }
    }
    found.sort_by_key(|letter| (letter.origin(), letter.id));
    Ok(found)
}

impl Chosen {
    /// These letters.
    pub(super) fn of(letters: Vec<DeadLetter>) -> Self {
        Self { ids: letters.iter().map(|letter| letter.id).collect(), shown: letters }
    }

    /// How many there are, in words.
    pub(super) fn count(&self) -> String {
        table::count(self.ids.len() as u64, "dead letter", "dead letters")
    }
}

impl Filter {
    /// Where to begin. The ids of letters are of the server's clock, so that is asked how late it is.
    async fn lowest(&self, broker: &Broker) -> Result<EntryId, BrokerError> {
        let ms = match self.since {
            None => return Ok(EntryId::MIN),
            Some(Since::At(at)) => u64::try_from(at.as_millisecond()).unwrap_or_default(),
            Some(Since::Ago(ago)) => {
                let then = broker.server_now().await?.saturating_sub(ago);
                u64::try_from(then.as_millis()).unwrap_or(u64::MAX)
            }
        };
        Ok(EntryId::new(ms, 0))
    }

    fn keeps(&self, broker: &Broker, names: &FieldNames, letter: &DeadLetter) -> bool {
        (self.all_groups || letter.group == broker.keys().group)
            && self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && self
                .order
                .as_ref()
                .is_none_or(|wanted| order_of(&letter.entry, names).is_some_and(|order| order.as_str() == wanted))
    }
}
