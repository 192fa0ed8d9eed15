//! What became of each event: counted, not believed.
//!
//! Owns: the comparison of what was added with what stands in the ledger and among the dead letters, entry by entry.
//! Never: the worker's own word for it (its log, its metrics).

use std::collections::{BTreeMap, BTreeSet};

use super::{Added, Stage};
use crate::broker::dead::DeadLetter;
use crate::domain::id::EntryId;
use crate::ledger::sqlite::reader::SqliteReader;

/// What was added, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Events that were added and can be applied.
    pub(super) events: usize,
    /// How many of them were applied exactly once.
    pub(super) once: usize,
    /// Those that were applied more often.
    pub(super) more_often: Vec<EntryId>,
    /// Those that were never applied.
    pub(super) never: Vec<EntryId>,
    /// What was applied, and is none of them.
    pub(super) foreign: Vec<EntryId>,
    /// Entries that cannot be decoded, and are not a dead letter exactly once.
    pub(super) unburied: Vec<EntryId>,
    /// Events that can be applied, and are dead letters.
    pub(super) buried_alive: Vec<EntryId>,
    /// The dead letters.
    pub(super) letters: Vec<DeadLetter>,
    /// Entries that are still pending, or were not delivered.
    pub(super) unsettled: u64,
}

impl Account {
    /// Looks at the stream and the ledger.
    pub(super) async fn take(added: &Added, stage: &Stage, reader: &SqliteReader) -> anyhow::Result<Self> {
        let mut letters: Vec<DeadLetter> = Vec::new();
        let mut lowest = Some(EntryId::MIN);
        while let Some(from) = lowest {
            let page = stage.broker.letters(from).await?;
            letters.extend(page.letters);
            lowest = page.next;
        }
        let survey = stage.broker.survey().await?;
        let group = survey.groups.iter().find(|found| found.group == stage.settings.stream.group);
        let waiting = group.map(|group| group.pending + u64::from(group.oldest_undelivered.is_some()));
        let applied = reader.applied(&stage.settings.stream.key)?;
        Ok(Self { unsettled: waiting.unwrap_or(survey.length), ..Self::compare(added, &applied, letters) })
    }

    fn compare(added: &Added, applied: &[EntryId], letters: Vec<DeadLetter>) -> Self {
        let mut times: BTreeMap<EntryId, usize> = BTreeMap::new();
        applied.iter().for_each(|id| *times.entry(*id).or_default() += 1);
        let times_applied = |id: &EntryId| times.get(id).copied().unwrap_or_default();
        let which = |keep: &dyn Fn(usize) -> bool| -> Vec<EntryId> {
            added.events.iter().copied().filter(|id| keep(times_applied(id))).collect()
        };
        let events: BTreeSet<EntryId> = added.events.iter().copied().collect();
        let letters_of = |id: &EntryId| letters.iter().filter(|letter| letter.entry.id == *id).count();
        Self {
            events: added.events.len(),
            once: which(&|times| times == 1).len(),
            more_often: which(&|times| times > 1),
            never: which(&|times| times == 0),
            foreign: times.keys().copied().filter(|id| !events.contains(id)).collect(),
            unburied: added.planted.iter().copied().filter(|id| letters_of(id) != 1).collect(),
            buried_alive: letters.iter().map(|letter| letter.entry.id).filter(|id| events.contains(id)).collect(),
            letters,
            unsettled: 0,
        }
    }

    /// What is wrong, one sentence each. Empty when every event was applied exactly once.
    pub(super) fn complaints(&self) -> Vec<String> {
        let lists = [
            ("events were never applied", &self.never),
            ("events were applied more than once", &self.more_often),
            ("entries were applied that nobody added as events", &self.foreign),
            ("entries that cannot be decoded are not among the dead letters once", &self.unburied),
            ("events became dead letters that could be applied", &self.buried_alive),
        ];
        let complaint = |(what, ids): (&str, &Vec<EntryId>)| {
            let first = ids.first()?;
            Some(format!("{} {what}, the first of them {first}", ids.len()))
        };
        let unsettled = (self.unsettled > 0).then(|| "the group has entries that are not settled".to_owned());
        lists.into_iter().filter_map(complaint).chain(unsettled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entry::{Entry, Fields};

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    /// Events 1 to 3 were added, and 9, which cannot be decoded.
    fn complaints(applied: &[u64], letters: &[u64]) -> Vec<String> {
        let added = Added { events: [1, 2, 3].map(id).to_vec(), planted: vec![id(9)], orders: 1 };
        let applied: Vec<EntryId> = applied.iter().copied().map(id).collect();
        let letter = |entry: &u64| DeadLetter {
            id: id(100),
            entry: Entry { id: id(*entry), fields: Fields::default() },
            group: "g".into(),
            consumer: "w-0".into(),
            deliveries: 1,
            failures: 0,
            crashes: 0,
            reason: "bad-amount".to_owned(),
            error: String::new(),
            first_seen_ms: 0,
            dead_at_ms: 0,
        };
        Account::compare(&added, &applied, letters.iter().map(letter).collect()).complaints()
    }

    #[test]
    fn there_is_nothing_to_complain_of_when_each_event_was_applied_once() {
        assert_eq!(complaints(&[2, 1, 3], &[9]), [""; 0]);
    }

    #[test]
    fn each_way_to_be_wrong_is_a_complaint_of_its_own() {
        for (applied, letters, complaint) in [
            (&[1, 3][..], &[9][..], "1 events were never applied, the first of them 2-0"),
            (&[1, 2, 3, 3], &[9], "1 events were applied more than once, the first of them 3-0"),
            (&[1, 2, 3, 9], &[9], "1 entries were applied that nobody added as events, the first of them 9-0"),
            (
                &[1, 2, 3],
                &[],
                "1 entries that cannot be decoded are not among the dead letters once, the first of them 9-0",
            ),
            (
                &[1, 2, 3],
                &[9, 9],
                "1 entries that cannot be decoded are not among the dead letters once, the first of them 9-0",
            ),
            (&[1, 2, 3], &[9, 1], "1 events became dead letters that could be applied, the first of them 1-0"),
        ] {
            assert_eq!(complaints(applied, letters), [complaint]);
        }
        let unsettled = Account { unsettled: 1, ..Account::default() };
        assert_eq!(unsettled.complaints(), ["the group has entries that are not settled"]);
    }
}
