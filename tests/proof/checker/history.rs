//! A run, read from its files and sorted.
//!
//! Owns: reading, and finding what belongs to an entry.
//! Never: a judgement.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::lives;
use super::record::{self, Added, Applied, Fact, Id, Letter, OrderRow, Run, Sample, Stream, What, Witnessed};

/// Everything that is known of a run.
pub(crate) struct History {
    pub run: Run,
    pub added: Vec<Added>,
    /// In the order of `seq`.
    pub applied: Vec<Applied>,
    pub orders: Vec<OrderRow>,
    pub letters: Vec<Letter>,
    pub facts: Vec<Fact>,
    pub samples: Vec<Sample>,
    pub witness: Vec<Witnessed>,
    pub end: Stream,
    pub index: Index,
}

/// What belongs to an entry, as places in the lists of the history.
#[derive(Default)]
pub(crate) struct Index {
    pub added: HashMap<Id, usize>,
    pub applied: HashMap<Id, Vec<usize>>,
    pub letters: HashMap<Id, Vec<usize>>,
    /// Entries that somebody else deleted.
    pub deleted: HashSet<Id>,
    /// Entries that Redis answered and did not know any more after it was killed.
    pub forgotten: HashSet<Id>,
    /// Entries that the harness held until the end.
    pub held: HashSet<Id>,
}

impl History {
    /// Reads the files in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let mut history = Self {
            run: object(&folder.join(record::RUN))?,
            added: lines(&folder.join(record::ADDED))?,
            applied: lines(&folder.join(record::HISTORY))?,
            orders: lines(&folder.join(record::ORDERS))?,
            letters: lines(&folder.join(record::LETTERS))?,
            facts: lines(&folder.join(record::FACTS))?,
            samples: lines(&folder.join(record::SAMPLES))?,
            witness: lines(&folder.join(record::WITNESS))?,
            end: object(&folder.join(record::END))?,
            index: Index::default(),
        };
        history.applied.sort_by_key(|row| row.seq);
        for fact in &history.facts {
            if let What::LettersDeleted { letters } = &fact.what {
                history.letters.extend_from_slice(letters);
            }
        }
        lives::tell_apart(&mut history);
        history.index = Index::of(&history);
        Ok(history)
    }

    /// Every entry that Redis answered with an id, in the order of the ids.
    pub(crate) fn answered(&self) -> Vec<(Id, &Added)> {
        let answered = self.added.iter().filter_map(|added| Some((added.id?, added)));
        let mut answered: Vec<(Id, &Added)> = answered.collect();
        answered.sort_by_key(|(id, _)| *id);
        answered
    }

    /// The seq under which an entry was applied first.
    pub(crate) fn seq(&self, id: Id) -> Option<i64> {
        self.index.applied.get(&id).and_then(|rows| rows.first()).map(|row| self.applied[*row].seq)
    }

    /// Whether an entry was applied or buried.
    pub(crate) fn is_settled(&self, id: Id) -> bool {
        self.index.applied.contains_key(&id) || self.index.letters.contains_key(&id)
    }

    /// Whether nobody can be blamed for what became of an entry.
    pub(crate) fn is_excused(&self, id: Id) -> bool {
        let Index { deleted, forgotten, held, .. } = &self.index;
        deleted.contains(&id) || forgotten.contains(&id) || held.contains(&id)
    }
}

impl Index {
    fn of(history: &History) -> Self {
        let mut index = Self::default();
        for (at, added) in history.added.iter().enumerate() {
            index.added.extend(added.id.map(|id| (id, at)));
        }
        for (at, row) in history.applied.iter().enumerate() {
            index.applied.entry(row.entry).or_default().push(at);
        }
        for (at, letter) in history.letters.iter().enumerate() {
            if let Some(id) = letter.entry() {
                index.letters.entry(id).or_default().push(at);
            }
        }
        for fact in &history.facts {
            match &fact.what {
                What::Deleted { ids } => index.deleted.extend(ids),
                What::HeldOnPurpose { ids } => index.held.extend(ids),
                What::ServerRestarted { last_generated } => {
                    let before = history.added.iter().filter_map(|added| added.id).filter(|id| id.ms <= fact.at);
                    index.forgotten.extend(before.filter(|id| id > last_generated));
                }
                _ => {}
            }
        }
        index
    }
}

fn object<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_str(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, String> {
    let text = text(path)?;
    let parsed = text.lines().zip(1..).map(|(line, number)| {
        serde_json::from_str(line).map_err(|error| format!("{}:{number}: {error}", path.display()))
    });
    parsed.collect()
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
