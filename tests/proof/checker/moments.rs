//! What could be seen on the way, and at each end of a worker.
//!
//! Owns: premature ack, unsafe trim, needless redelivery, stolen lease, bad end.
//! Never: a guess between two samples.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::history::History;
use super::record::{Group, Held, Id, Sample, Stream, What};
use super::{Class, Violation};

/// A fact is noted a little before or after it is true.
const BLUR_MS: u64 = 500;

/// So long before a lease changes hands its holder has failed to renew it: `claim_after`, and the time of a sweep.
const LEASE_MS: u64 = 2_000;

/// Returns how often a lease changed hands needlessly while the machine did not let run whoever was ready to. Of those nobody can say
/// whose fault they are.
pub(crate) fn check(history: &History, found: &mut Vec<Violation>) -> usize {
    premature_acks(history, found);
    unsafe_trims(history, found);
    let mut moved = Vec::new();
    if history.run.calm {
        moved.extend(needless_redeliveries(history));
    }
    if history.run.leases {
        moved.extend(stolen_leases(history));
    }
    let (starved, needless): (Vec<_>, Vec<_>) = moved.into_iter().partition(|(at, _)| is_starved(history, *at));
    found.extend(needless.into_iter().map(|(_, violation)| violation));
    ends(history, found);
    starved.len()
}

/// Whether the machine kept somebody waiting before a lease changed hands at `at`.
fn is_starved(history: &History, moved: u64) -> bool {
    history.facts.iter().any(|fact| match fact.what {
        What::Starved { ms } => fact.at <= moved + BLUR_MS && fact.at + ms + LEASE_MS >= moved,
        _ => false,
    })
}

/// The instance that a consumer belongs to.
pub(crate) fn instance(owner: &str) -> &str {
    owner.rsplit_once('-').map_or(owner, |(instance, _)| instance)
}

fn group_of<'s>(stream: &'s Stream, name: &str) -> Option<&'s Group> {
    stream.groups.iter().find(|group| group.name == name)
}

/// What a sample shows as delivered and not pending was applied by the time the ledger was looked at, a moment later.
fn premature_acks(history: &History, found: &mut Vec<Violation>) {
    let answered: Vec<Id> = history.answered().into_iter().map(|(id, _)| id).collect();
    let mut open: BTreeSet<Id> = BTreeSet::new();
    let mut next = 0;
    let mut blamed: HashSet<Id> = HashSet::new();
    for sample in &history.samples {
        while let Some(id) = answered.get(next).filter(|id| **id <= sample.stream.last_generated) {
            if !history.is_excused(*id) && !history.index.letters.contains_key(id) {
                open.insert(*id);
            }
            next += 1;
        }
        open.retain(|id| history.seq(*id).is_none_or(|seq| seq > sample.mark));
        let Some(group) = group_of(&sample.stream, &history.run.group) else { continue };
        let pending: HashSet<Id> = group.pending.iter().map(|held| held.id).collect();
        for id in open.range(..=group.last_delivered).filter(|id| !pending.contains(id)) {
            if blamed.insert(*id) {
                let what = format!("at {} it was acknowledged, and the ledger did not have it", sample.at);
                found.push(Violation { class: Class::PrematureAck, entry: Some(*id), what });
            }
        }
    }
}

/// What a group has pending, or has not been given yet, is on the stream.
fn unsafe_trims(history: &History, found: &mut Vec<Violation>) {
    let answered: Vec<Id> = history.answered().into_iter().map(|(id, _)| id).collect();
    let mut blamed: HashSet<Id> = HashSet::new();
    let end = Sample { at: u64::MAX, stream: history.end.clone(), mark: i64::MAX };
    for Sample { at, stream, mark } in history.samples.iter().chain([&end]) {
        // A group that was made again begins below what it had settled, and what was rightly cut then.
        let is_done =
            |id: Id| history.index.letters.contains_key(&id) || history.seq(id).is_some_and(|seq| seq <= *mark);
        let is_cut = |id: Id| stream.first.is_none_or(|first| id < first) && !history.is_excused(id);
        for group in &stream.groups {
            let pending = group.pending.iter().map(|held| held.id).filter(|id| history.index.added.contains_key(id));
            let from = answered.partition_point(|id| *id <= group.last_delivered);
            let to = answered.partition_point(|id| *id <= stream.last_generated).max(from);
            let undelivered =
                answered[from..to].iter().copied().take_while(|id| stream.first.is_none_or(|first| *id < first));
            let undelivered = undelivered.filter(|id| is_cut(*id));
            let undelivered = undelivered.filter(|id| group.name != history.run.group || !is_done(*id));
            let cut: Vec<Id> = pending.filter(|id| is_cut(*id)).chain(undelivered).collect();
            for id in cut {
                if blamed.insert(id) {
                    let what = format!("at {at} it was gone, and group {} still needed it", group.name);
                    found.push(Violation { class: Class::UnsafeTrim, entry: Some(id), what });
                }
            }
        }
    }
}

/// In a calm run every entry is delivered once, to one worker.
fn needless_redeliveries(history: &History) -> Vec<(u64, Violation)> {
    let mut found = Vec::new();
    let mut seen: HashMap<Id, &Held> = HashMap::new();
    let mut blamed: HashSet<Id> = HashSet::new();
    for (at, held) in pending(history) {
        let first = *seen.entry(held.id).or_insert(held);
        let moved = instance(&first.owner) != instance(&held.owner);
        if (moved || held.count > 1) && blamed.insert(held.id) {
            let what =
                format!("first with {} ({}), then with {} ({})", first.owner, first.count, held.owner, held.count);
            found.push((at, Violation { class: Class::NeedlessRedelivery, entry: Some(held.id), what }));
        }
    }
    found
}

/// An entry that a second worker has taken over does not go back to the first while the second is alive.
fn stolen_leases(history: &History) -> Vec<(u64, Violation)> {
    let mut found = Vec::new();
    let mut lives: HashMap<Id, Vec<(u64, &str)>> = HashMap::new();
    for (at, held) in pending(history) {
        let life = lives.entry(held.id).or_default();
        let owner = instance(&held.owner);
        if life.last().is_none_or(|(_, last)| *last != owner) {
            life.push((at, owner));
        }
    }
    for (id, life) in lives {
        for steps in life.windows(3) {
            let [(_, first), (taken, second), (back, third)] = steps else { continue };
            let excuse = history
                .facts
                .iter()
                .any(|fact| fact.worker() == Some(second) && fact.at + BLUR_MS >= *taken && fact.at <= *back + BLUR_MS);
            if first == third && !excuse {
                let what = format!("{second} had it from {taken} on, and at {back} it was back with {first}");
                found.push((*back, Violation { class: Class::StolenLease, entry: Some(id), what }));
                break;
            }
        }
    }
    found
}

/// A worker that is told to stop leaves nothing that it has done, and no worker ends by itself.
fn ends(history: &History, found: &mut Vec<Violation>) {
    let mut say = |class, entry, what| found.push(Violation { class, entry, what });
    for fact in &history.facts {
        match &fact.what {
            What::Stopped { worker, ok, mark, left } => {
                if !ok {
                    say(Class::BadEnd, None, format!("{worker} was asked to stop at {}, and failed", fact.at));
                }
                // What an earlier life applied and could not acknowledge is this one's inheritance, not its fault.
                let born = history.facts.iter().filter(|other| {
                    other.at < fact.at && matches!(&other.what, What::Started { worker: name } if name == worker)
                });
                let born = born.map(|other| other.at).max().unwrap_or(0);
                for id in left.iter().filter(|id| applied_between(history, **id, born, *mark)) {
                    let what = format!("{worker} had applied it when it stopped, and left it pending");
                    say(Class::NeedlessRedelivery, Some(*id), what);
                }
            }
            What::Died { worker, status } => {
                say(Class::BadEnd, None, format!("{worker} ended by itself at {}: {status}", fact.at));
            }
            What::NotDrained => {
                say(Class::UnackedAtTheEnd, None, "the work was not done in time".to_owned());
            }
            _ => {}
        }
    }
}

/// Whether an entry was applied after the time `born`, and not after the seq `mark`.
fn applied_between(history: &History, id: Id, born: u64, mark: i64) -> bool {
    let rows = history.index.applied.get(&id).into_iter().flatten().map(|row| &history.applied[*row]);
    rows.into_iter().any(|row| row.at >= born && row.seq <= mark)
}

/// Everything that any sample shows as pending in the group that is judged.
pub(crate) fn pending(history: &History) -> impl Iterator<Item = (u64, &Held)> {
    history.samples.iter().flat_map(|sample| {
        let group = group_of(&sample.stream, &history.run.group);
        group.into_iter().flat_map(|group| &group.pending).map(|held| (sample.at, held))
    })
}
