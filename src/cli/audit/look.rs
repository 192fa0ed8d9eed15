//! The looks of an audit, and the order they are taken in.
//!
//! Owns: that order. Redis first, then the dead letters, then the ledger: an effect is durable before its entry is acknowledged, so what was
//! acknowledged then has to be there now, however much work goes on meanwhile.
//! Never: a command that looks at more than a page.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Runtime;

use super::report::{Class, Report};
use crate::broker::Broker;
use crate::broker::audit::{GroupLandmarks, Landmarks};
use crate::broker::error::BrokerError;
use crate::broker::group::Start;
use crate::domain::batch::Source;
use crate::domain::decode::decode;
use crate::domain::entry::Entry;
use crate::domain::id::EntryId;
use crate::domain::inbox::Digest;
use crate::domain::replay::replayed;
use crate::ledger::reader::LedgerReader;
use crate::ledger::report::Identity;
use crate::settings::Settings;

/// An audit under way.
pub(super) struct Audit<'a> {
    settings: &'a Settings,
    ledger: Option<&'a LedgerReader>,
    runtime: Runtime,
    broker: Broker,
    source: Source,
    from: EntryId,
    limit: u64,
    bar: ProgressBar,
    report: Report,
}

/// What has to be known of an acknowledged entry.
enum Record {
    /// Nothing: its action is one that leaves no trace.
    None,
    /// It is in the ledger or among the dead letters.
    Event(Identity),
    /// It is among the dead letters, for it is no event.
    Letter,
}

/// Entries that were acknowledged and are not in the ledger, by the entry that carried each event first, and whether they are events.
type Missing = HashMap<EntryId, bool>;

impl<'a> Audit<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        ledger: Option<&'a LedgerReader>,
        from: Option<EntryId>,
        limit: u64,
    ) -> anyhow::Result<Self> {
        let source = Source { stream: settings.stream.key.clone(), group: settings.stream.group.clone() };
        let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} entries, {eta} left")?;
        Ok(Self {
            settings,
            ledger,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            broker: crate::cli::broker_for(settings)?,
            source,
            from: from.unwrap_or(EntryId::MIN),
            limit,
            bar: ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style),
            report: Report::default(),
        })
    }

    /// Takes all looks.
    pub(super) fn run(mut self) -> anyhow::Result<Report> {
        let Some(marks) = self.ask(self.broker.landmarks())? else {
            self.note("there is no stream, and nothing to look at".to_owned());
            return Ok(self.report);
        };
        let pending: u64 = marks.groups.iter().map(|group| group.pending.min(self.limit)).sum();
        self.bar.set_length(marks.length.min(self.limit) + pending);
        let group = self.source.group.clone();
        match marks.groups.iter().find(|found| found.group == group) {
            Some(own) => self.settled(own)?,
            None => self.note(format!("there is no group '{group}': nothing was acknowledged")),
        }
        for group in &marks.groups {
            self.cut_ahead_of(group, &marks);
            self.gone(group, &marks)?;
        }
        self.bar.finish_and_clear();
        Ok(self.report)
    }

    /// What `own` has acknowledged against the dead letters and the ledger.
    fn settled(&mut self, own: &GroupLandmarks) -> anyhow::Result<()> {
        let mut missing = self.acknowledged(own)?;
        let all = self.letters(&mut missing)?;
        self.replays(own, &mut missing)?;
        let now = self.ask(self.broker.landmarks())?;
        let now = now.and_then(|now| now.groups.into_iter().find(|group| group.group == own.group));
        if now.is_none_or(|now| now.last_delivered < own.last_delivered) {
            bail!("the group '{}' was lost while it was looked at: look again once it is there", own.group);
        }
        let Some(ledger) = self.ledger else {
            self.note("nothing was held against a ledger: handler.kind is not `ledger`".to_owned());
            return Ok(());
        };
        if !all {
            let what =
                "there are more dead letters than were looked at (--limit): what was acknowledged was not judged";
            self.note(what.to_owned());
            return Ok(());
        }
        let extent = ledger.extent(&self.source)?;
        // A group that begins with what is new was never given what lay there before: the first that was applied is the first there is.
        if self.settings.stream.start == Start::New {
            missing.retain(|id, _| extent.is_none_or(|(lowest, _)| *id >= lowest));
        }
        let (events, letters): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(_, is_event)| *is_event);
        let is_above = |id: &EntryId| extent.is_none_or(|(_, highest)| *id > highest);
        let events = events.into_iter().map(|(id, _)| id);
        let (above, below): (Vec<EntryId>, Vec<EntryId>) = events.partition(is_above);
        self.report.add(Class::NotApplied, &own.group, &below);
        self.report.add(Class::LedgerBehind, &own.group, &above);
        if !letters.is_empty() {
            self.note(format!(
                "acknowledged, no events, and not among the dead letters: {} (their letters were discarded, or bounded by dead.max_len)",
                letters.len()
            ));
        }
        Ok(())
    }

    /// What was acknowledged and is not in the ledger, newest pages first.
    fn acknowledged(&mut self, own: &GroupLandmarks) -> anyhow::Result<Missing> {
        let lowest = match self.settings.stream.start {
            Start::After(id) => self.from.max(id.next().unwrap_or(EntryId::MAX)),
            Start::Beginning | Start::New => self.from,
        };
        let (mut missing, mut repeated) = (Missing::new(), HashSet::new());
        let mut below = own.last_delivered.next().unwrap_or(EntryId::MAX);
        loop {
            if self.report.entries >= self.limit {
                self.note(format!("entries below {below} were not looked at (--limit)"));
                break;
            }
            let page = self.ask(self.broker.page_back(below, lowest))?;
            let Some(next) = page.lowest else { break };
            below = next;
            self.bar.inc(page.count);
            self.report.entries += page.count;
            self.report.acknowledged += page.acknowledged.len() as u64;
            self.hold_against_the_ledger(page.acknowledged, &mut missing)?;
            repeated.extend(page.pending.iter().filter_map(repeats));
        }
        missing.retain(|id, _| !repeated.contains(id));
        Ok(missing)
    }

    fn hold_against_the_ledger(&self, entries: Vec<Entry>, missing: &mut Missing) -> anyhow::Result<()> {
        let Some(ledger) = self.ledger else { return Ok(()) };
        let mut asked = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = entry.id;
            match self.record_of(entry) {
                Record::None => {}
                Record::Event(identity) => asked.push(identity),
                Record::Letter => {
                    missing.insert(id, false);
                }
            }
        }
        let answers = ledger.holds(&self.source, &asked)?;
        missing.extend(asked.iter().zip(answers).filter(|(_, held)| !held).map(|(identity, _)| (identity.id, true)));
        Ok(())
    }

    fn record_of(&self, entry: Entry) -> Record {
        match decode(entry, &self.settings.event) {
            Ok(event) if self.settings.rules.ignores(&event.action) => Record::None,
            Ok(event) => {
                let digest = Digest::of(&event.entry.fields);
                Record::Event(Identity { id: event.origin(), digest, event_id: event.event_id })
            }
            Err(_) => Record::Letter,
        }
    }

    /// Strikes out what is among the dead letters. Whether all of them were looked at.
    fn letters(&mut self, missing: &mut Missing) -> anyhow::Result<bool> {
        let mut odd = Vec::new();
        let mut lowest = Some(EntryId::MIN);
        while let Some(from) = lowest.filter(|_| self.report.letters < self.limit) {
            let page = self.ask(self.broker.letters(from))?;
            self.report.letters += (page.letters.len() + page.odd.len()) as u64;
            odd.extend(page.odd);
            for letter in page.letters.iter().filter(|letter| letter.group == self.source.group) {
                missing.remove(&letter.entry.id);
                missing.remove(&letter.origin());
            }
            lowest = page.next;
        }
        let group = self.source.group.clone();
        self.report.add(Class::NoRecord, &group, &odd);
        Ok(lowest.is_none())
    }

    /// Strikes out what was put back on the stream from the dead letters since then.
    fn replays(&mut self, own: &GroupLandmarks, missing: &mut Missing) -> anyhow::Result<()> {
        let Some(lowest) = own.last_delivered.next().filter(|_| !missing.is_empty()) else { return Ok(()) };
        let (mut below, mut looked_at) = (EntryId::MAX, 0);
        while looked_at < self.limit {
            let page = self.ask(self.broker.page_back(below, lowest))?;
            strike_out(missing, page.acknowledged.iter().chain(&page.pending));
            let Some(next) = page.lowest else { break };
            (below, looked_at) = (next, looked_at + page.count);
        }
        Ok(())
    }

    /// What was cut before `group` was even given it, as far as the server counts that.
    fn cut_ahead_of(&mut self, group: &GroupLandmarks, marks: &Landmarks) {
        let is_behind = group.last_delivered < marks.last;
        if let Some(deleted) = marks.deleted.filter(|deleted| *deleted > group.last_delivered) {
            self.report.add(Class::Lost, &group.group, &[deleted]);
            return;
        }
        // Everything that is left was not given to it, and is less than what it was not given.
        if is_behind && marks.first.is_none_or(|first| first > group.last_delivered) {
            match marks.added.zip(group.read) {
                Some((added, read)) => {
                    let cut = added.saturating_sub(read).saturating_sub(marks.length);
                    self.report.add_counted(Class::UnsafeTrim, &group.group, cut, &[]);
                }
                None => self.note(format!(
                    "whether something was cut before the group '{}' was given it cannot be told: the server does not count",
                    group.group
                )),
            }
        }
    }

    /// What `group` has pending although it is gone.
    fn gone(&mut self, group: &GroupLandmarks, marks: &Landmarks) -> anyhow::Result<()> {
        let mut gone = Vec::new();
        let mut lowest = Some(self.from);
        let mut looked_at = 0;
        while let Some(from) = lowest {
            if looked_at >= self.limit {
                self.note(format!(
                    "what the group '{}' has pending from {from} on was not looked at (--limit)",
                    group.group
                ));
                break;
            }
            let page = self.ask(self.broker.pending_and_gone(&group.group, from))?;
            self.bar.inc(page.count);
            looked_at += page.count;
            gone.extend(page.gone);
            lowest = page.next;
        }
        self.report.pending += looked_at;
        let is_cut = |id: &EntryId| marks.first.is_none_or(|first| *id < first);
        let (cut, deleted): (Vec<EntryId>, Vec<EntryId>) = gone.into_iter().partition(is_cut);
        self.report.add(Class::Lost, &group.group, &deleted);
        self.report.add(Class::UnsafeTrim, &group.group, &cut);
        Ok(())
    }

    fn ask<T>(&self, question: impl Future<Output = Result<T, BrokerError>>) -> anyhow::Result<T> {
        Ok(self.runtime.block_on(question)?)
    }

    fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }
}

fn strike_out<'e>(missing: &mut Missing, entries: impl Iterator<Item = &'e Entry>) {
    for id in entries.filter_map(repeats) {
        missing.remove(&id);
    }
}

/// The entry whose event `entry` repeats.
fn repeats(entry: &Entry) -> Option<EntryId> {
    replayed(entry).ok().flatten()
}
