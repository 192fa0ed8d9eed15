//! What an audit has found.
//!
//! Owns: the classes of findings and what each means.
//! Never: how they are shown.

use crate::domain::id::{EntryId, GroupName};

/// So many entries of each finding are named.
pub(super) const NAMED: usize = 10;

/// What should not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Acknowledged, and neither in the ledger nor among the dead letters, although the ledger goes on above it.
    NotApplied,
    /// Acknowledged, and above everything that the ledger has.
    LedgerBehind,
    /// Deleted by name while a group still needed it.
    Lost,
    /// Cut from the front of the stream while a group still needed it.
    UnsafeTrim,
    /// Among the dead letters, without the record by which a letter is known.
    NoRecord,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) class: Class,
    /// The group that it is about.
    pub(super) group: GroupName,
    pub(super) count: u64,
    /// The first of the entries, where they are known.
    pub(super) entries: Vec<EntryId>,
}

/// What was looked at, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Entries of the stream.
    pub(super) entries: u64,
    /// Of these, entries that the group has acknowledged.
    pub(super) acknowledged: u64,
    /// Entries that some group has pending.
    pub(super) pending: u64,
    /// Dead letters.
    pub(super) letters: u64,
    pub(super) findings: Vec<Finding>,
    /// What could not be told, and what is worth knowing.
    pub(super) notes: Vec<String>,
}

impl Class {
    pub(super) const ALL: [Self; 5] =
        [Self::NotApplied, Self::LedgerBehind, Self::Lost, Self::UnsafeTrim, Self::NoRecord];

    /// The name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotApplied => "acknowledged_not_in_ledger",
            Self::LedgerBehind => "ledger_behind_group",
            Self::Lost => "entries_lost",
            Self::UnsafeTrim => "unsafe_trims",
            Self::NoRecord => "dead_letters_without_record",
        }
    }

    /// The same for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::NotApplied => "acknowledged and not in the ledger",
            Self::LedgerBehind => "ledger behind the group",
            Self::Lost => "entries lost",
            Self::UnsafeTrim => "unsafe trims",
            Self::NoRecord => "dead letters without record",
        }
    }

    /// What it means, and what may be behind it.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::NotApplied => {
                "acknowledged, and neither applied nor a dead letter: somebody else acknowledged it, its letter was discarded, \
                 or the ledger has lost it"
            }
            Self::LedgerBehind => {
                "acknowledged, not among the dead letters, and newer than everything in the ledger: it is an older copy, or another \
                 ledger"
            }
            Self::Lost => "deleted by name (XDEL) while the group still needed it",
            Self::UnsafeTrim => {
                "cut from the front of the stream while the group still needed it, by a MAXLEN of somebody else's"
            }
            Self::NoRecord => "among the dead letters, and not written by orderd: it cannot be replayed",
        }
    }
}

impl Report {
    /// Adds a finding, if there is anything in it.
    pub(super) fn add(&mut self, class: Class, group: &GroupName, entries: &[EntryId]) {
        self.add_counted(class, group, entries.len() as u64, entries);
    }

    /// The same where not every entry is known by its id.
    pub(super) fn add_counted(&mut self, class: Class, group: &GroupName, count: u64, entries: &[EntryId]) {
        if count > 0 {
            let mut entries = entries.to_vec();
            entries.sort_unstable();
            entries.truncate(NAMED);
            self.findings.push(Finding { class, group: group.clone(), count, entries });
        }
    }

    pub(super) fn count(&self, class: Class) -> u64 {
        self.findings.iter().filter(|finding| finding.class == class).map(|finding| finding.count).sum()
    }
}
