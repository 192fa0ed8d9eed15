//! The second witness: what each worker was told, in a file of its own, against the ledger.
//!
//! Owns: contradiction, and duplicated as the workers saw it.
//! Never: a look at the ledger itself: both are read from files.

use std::collections::{HashMap, HashSet};

use super::history::History;
use super::record::{Id, Witnessed};
use super::{Class, Violation};

pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    if !history.run.witnessed {
        return;
    }
    let mut say = |class, entry, what: String| found.push(Violation { class, entry: Some(entry), what });
    let pending: HashSet<Id> =
        history.end.groups.iter().flat_map(|group| &group.pending).map(|pending| pending.id).collect();
    let told: HashSet<Id> = history.witness.iter().map(|line| line.entry).collect();
    for id in told.iter().filter(|id| !history.index.applied.contains_key(id)) {
        let line = history.witness.iter().find(|line| line.entry == *id);
        let worker = line.map(|line| line.worker.as_str()).unwrap_or_default();
        say(
            Class::Contradiction,
            *id,
            format!("{worker} was told that it is applied, and the ledger does not have it"),
        );
    }
    // Nobody acknowledges what he was not told of.
    let untold = history.index.applied.keys().filter(|id| !told.contains(id) && !pending.contains(id));
    for id in untold.filter(|id| !history.is_excused(**id)) {
        say(
            Class::Contradiction,
            *id,
            "it was acknowledged, and no worker was ever told that it is applied".to_owned(),
        );
    }
    let mut fresh: HashMap<Id, Vec<&Witnessed>> = HashMap::new();
    for line in history.witness.iter().filter(|line| line.fresh) {
        fresh.entry(line.entry).or_default().push(line);
    }
    for (id, lines) in fresh.iter().filter(|(_, lines)| lines.len() > 1) {
        let workers: Vec<&str> = lines.iter().map(|line| line.worker.as_str()).collect();
        say(Class::Duplicated, *id, format!("it was applied anew, as these workers were told: {}", workers.join(", ")));
    }
}
