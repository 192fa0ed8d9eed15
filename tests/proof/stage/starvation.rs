//! Whether the machine let run whoever was ready to.
//!
//! Owns: noting when it did not: a thread that only sleeps and looks at its watch, and what the kernel says of the processes of the run.
//! Never: a look at Redis or the ledger: what keeps those waiting may be what is judged.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::journal::{Journal, now};
use super::sampler::{Beside, EVERY};
use crate::checker::record::What;

/// A wait that is worth a note: nearly the time between two renewals of a lease.
const LONG: Duration = Duration::from_millis(300);

/// Notes each long wait until it is stopped.
pub(crate) fn watch(journal: &Journal) -> Beside {
    let journal = journal.clone();
    Beside::start(move || {
        let (mut last, mut waited) = (Instant::now(), HashMap::new());
        move || {
            let late = last.elapsed().saturating_sub(EVERY);
            let longest = longest_wait(&mut waited).max(late);
            if longest >= LONG {
                let ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
                journal.note_at(now().saturating_sub(ms), What::Starved { ms });
            }
            last = Instant::now();
        }
    })
}

/// The longest that a thread of a child has waited for a processor since the last look. A wait counts when it is over.
fn longest_wait(waited: &mut HashMap<PathBuf, Duration>) -> Duration {
    let mut longest = Duration::ZERO;
    let mut seen = HashMap::new();
    for thread in children().iter().flat_map(|child| folders(&format!("/proc/{child}/task"))) {
        // It may have ended in this moment.
        let Some(all) = waited_by(&thread) else { continue };
        let before = waited.get(&thread).copied().unwrap_or(all);
        longest = longest.max(all.saturating_sub(before));
        seen.insert(thread, all);
    }
    *waited = seen;
    longest
}

/// The processes that this one has started.
fn children() -> Vec<String> {
    let threads = folders("/proc/self/task").into_iter();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// How long a thread has waited for a processor in its life.
fn waited_by(thread: &Path) -> Option<Duration> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().nth(1)?.parse().ok()?))
}

fn folders(path: &str) -> Vec<PathBuf> {
    fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}
