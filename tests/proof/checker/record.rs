//! What a run leaves behind: the form of its files, one JSON object a line.
//!
//! Owns: the names of the files and what stands in them. Bytes are written as text in which each character is one byte, so that what
//! is no UTF-8 survives.
//! Never: a type of the program that is judged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the run was about: one object.
pub(crate) const RUN: &str = "run.json";
/// Every entry that the producer tried to add: [`Added`].
pub(crate) const ADDED: &str = "added.jsonl";
/// Every row of the ledger's history: [`Applied`].
pub(crate) const HISTORY: &str = "history.jsonl";
/// Every order of the ledger: [`OrderRow`].
pub(crate) const ORDERS: &str = "orders.jsonl";
/// Every dead letter: [`Letter`].
pub(crate) const LETTERS: &str = "letters.jsonl";
/// What was done to the system, and what it did by itself: [`Fact`].
pub(crate) const FACTS: &str = "facts.jsonl";
/// The state of the stream, twenty times a second: [`Sample`].
pub(crate) const SAMPLES: &str = "samples.jsonl";
/// What each worker was told by its handler, written by the worker itself before it acknowledged: [`Witnessed`].
pub(crate) const WITNESS: &str = "witness.jsonl";
/// The state of the stream at the end: one [`Stream`].
pub(crate) const END: &str = "end.json";

/// The id of an entry, and the life of the stream in which it was given out: a stream that is deleted and made again may give out its
/// ids again. Written as Redis writes it, with the life behind it where it is not the first: `5-1@2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Id {
    pub life: u64,
    pub ms: u64,
    pub n: u64,
}

/// What a run was about.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and a name in the file")]
pub(crate) struct Run {
    pub name: String,
    pub seed: u64,
    /// The group whose work is judged; the others only have a claim to the entries.
    pub group: String,
    /// Never more than one worker lived at a time, so the order of each order's events is promised.
    pub one_at_a_time: bool,
    /// Nothing was done that makes a takeover right.
    pub calm: bool,
    /// Every worker could reach Redis whenever it ran, so a lease that changes hands twice was stolen.
    pub leases: bool,
    /// The workers kept a record of their own.
    #[serde(default)]
    pub witnessed: bool,
    /// What has to have happened, and how often at least: else the run shows nothing.
    pub needs: Vec<(String, u64)>,
}

/// An entry that the producer tried to add.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Added {
    pub at: u64,
    /// What Redis answered; nothing when the outcome is not known.
    pub id: Option<Id>,
    pub fields: Vec<(String, String)>,
    /// What is to become of it.
    pub fate: Fate,
}

/// What is to become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Applied,
    Buried,
}

/// A row of the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub seq: i64,
    pub entry: Id,
    pub order: String,
    pub action: String,
    pub amount: Option<String>,
    pub version: u64,
    pub at: u64,
}

/// An order as it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderRow {
    pub order: String,
    pub refunded: String,
    pub version: u64,
}

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub fields: Vec<(String, String)>,
    /// The life of the stream from which it was buried, which its fields do not say: found by what was added.
    #[serde(skip)]
    pub life: u64,
}

/// The stream at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub length: u64,
    pub first: Option<Id>,
    pub last_generated: Id,
    pub groups: Vec<Group>,
}

/// A group at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    pub name: String,
    pub last_delivered: Id,
    pub pending: Vec<Held>,
}

/// An entry that is pending.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub id: Id,
    pub owner: String,
    pub count: u64,
}

/// The stream at one moment, and how far the ledger had come a moment later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub at: u64,
    pub stream: Stream,
    /// The last `seq` of the history, read after the stream.
    pub mark: i64,
}

/// A worker was told that the effect of an entry is in place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Witnessed {
    pub worker: String,
    pub entry: Id,
    /// Whether it was put there then; else it was found there.
    pub fresh: bool,
    /// What the event said, as the worker understood it.
    pub order: String,
    pub action: String,
    pub amount: Option<String>,
}

/// Something that was done to the system, or that it did by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub at: u64,
    #[serde(flatten)]
    pub what: What,
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum What {
    /// A worker was started.
    Started { worker: String },
    /// A worker was killed, with so many entries in its hand.
    Killed { worker: String, in_flight: u64 },
    /// A worker killed itself at a crash point, as it was told to.
    Crashed {
        worker: String,
        /// The name of the point.
        #[serde(default)]
        place: String,
    },
    /// A worker ended that nobody had told to.
    Died { worker: String, status: String },
    /// A worker was frozen, with so many entries in its hand.
    Frozen { worker: String, in_flight: u64 },
    /// It goes on.
    Thawed { worker: String },
    /// A worker was asked to stop, and did. `mark` was read before what was left pending under its names.
    Stopped { worker: String, ok: bool, mark: i64, left: Vec<Id> },
    /// Redis was killed and started again, or another took its place: the newest entry that it knows of those that were added before.
    ServerRestarted { last_generated: Id },
    /// Somebody else deleted these entries.
    Deleted { ids: Vec<Id> },
    /// Somebody else deleted these dead letters, which had been rightly there.
    LettersDeleted { letters: Vec<Letter> },
    /// The group was removed.
    GroupLost,
    /// These entries are in the hand of a consumer that the harness plays, until the end.
    HeldOnPurpose { ids: Vec<Id> },
    /// Something else that is only counted.
    Injected { kind: String },
    /// The same, so many times: of what can be counted only afterwards.
    Counted { kind: String, count: u64 },
    /// For so long the machine did not let run whoever was ready to.
    Starved { ms: u64 },
    /// The workers did not come to an end of their work in time.
    NotDrained,
}

impl Fact {
    /// The worker that it is about.
    pub(crate) fn worker(&self) -> Option<&str> {
        match &self.what {
            What::Started { worker }
            | What::Killed { worker, .. }
            | What::Crashed { worker, .. }
            | What::Died { worker, .. }
            | What::Frozen { worker, .. }
            | What::Thawed { worker }
            | What::Stopped { worker, .. } => Some(worker),
            _ => None,
        }
    }
}

impl Letter {
    /// The value of the last field of this name: what was added when it was buried stands at the end.
    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The entry that was buried.
    pub(crate) fn entry(&self) -> Option<Id> {
        let id: Id = self.fact("_id")?.parse().ok()?;
        Some(id.in_life(self.life))
    }
}

impl Id {
    /// The same id in another life of the stream.
    pub(crate) fn in_life(self, life: u64) -> Self {
        Self { life, ..self }
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, life) = text.split_once('@').unwrap_or((text, "0"));
        let parsed = id
            .split_once('-')
            .and_then(|(ms, n)| Some(Self { life: life.parse().ok()?, ms: ms.parse().ok()?, n: n.parse().ok()? }));
        parsed.ok_or_else(|| format!("{text:?} is not the id of an entry"))
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)?;
        if self.life > 0 { write!(f, "@{}", self.life) } else { Ok(()) }
    }
}
