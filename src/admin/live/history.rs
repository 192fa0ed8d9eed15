//! What a browser missed, from the ledger.
//!
//! Owns: how far back is looked, and how much is told.
//! Never: a look at the ledger on the thread that answers probes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::id::{EntryId, UserId};
use crate::domain::notice::Form;
use crate::ledger::error::LedgerError;
use crate::ledger::report::UserEvent;
use crate::ledger::sqlite::reader::SqliteReader;

/// The most events that are told afterwards.
const MOST: u32 = 500;
/// Workers tell of what they did each on its own, so an event can be told a little after one that was applied later. So much is told
/// twice rather than not at all; versions show it.
const OVERLAP_MS: u64 = 5_000;

/// The way to what was missed.
#[derive(Debug, Clone)]
pub(super) struct History {
    known: Arc<(PathBuf, Form)>,
}

/// From where on something was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// After this entry was told.
    Entry(EntryId),
    /// Since this time, in milliseconds since the Unix epoch.
    Time(u64),
}

/// What was missed.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    /// Entries and notices, oldest first.
    pub(super) notices: Vec<(EntryId, String)>,
    /// Whether there were more than are told.
    pub(super) more: bool,
}

impl History {
    pub(super) fn new(ledger: PathBuf, form: Form) -> Self {
        Self { known: Arc::new((ledger, form)) }
    }

    /// What happened to the orders of `user`. Of a ledger that cannot be read nothing is known, and more may have happened.
    pub(super) async fn since(&self, user: UserId, since: Since) -> CaughtUp {
        let known = Arc::clone(&self.known);
        let read = tokio::task::spawn_blocking(move || {
            let (ledger, form) = &*known;
            let events = events(ledger, &user, since)?;
            let more = events.len() > MOST as usize;
            let surplus = events.len().saturating_sub(MOST as usize);
            let notices = events.into_iter().skip(surplus).map(|UserEvent { order, row }| {
                let notice = row.notice(user.clone(), order);
                (notice.entry, form.text(&notice))
            });
            Ok::<CaughtUp, LedgerError>(CaughtUp { notices: notices.collect(), more })
        });
        match read.await {
            Ok(Ok(caught_up)) => caught_up,
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!(%error, "what a browser missed could not be read");
                }
                CaughtUp { notices: Vec::new(), more: true }
            }
        }
    }
}

/// One more than is told, if there are so many.
fn events(ledger: &std::path::Path, user: &UserId, since: Since) -> Result<Vec<UserEvent>, LedgerError> {
    let reader = SqliteReader::open_read_only(ledger)?;
    let (time, told) = match since {
        Since::Entry(entry) => {
            (reader.applied_at(user, entry)?.map_or(entry.ms, |at| at.saturating_sub(OVERLAP_MS)), Some(entry))
        }
        Since::Time(time) => (time, None),
    };
    let mut events = reader.events_of(user, time, MOST + 1)?;
    events.retain(|event| Some(event.row.entry) != told);
    Ok(events)
}
