//! What a browser missed, from the ledger.
//!
//! Owns: a thread that reads the ledger, how far back it looks, and how much is told.
//! Never: a look at the ledger on the thread that answers probes; a connection to it that is kept while nobody asks.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;

use super::now_ms;
use crate::domain::id::{EntryId, UserId};
use crate::domain::notice::Form;
use crate::ledger::error::LedgerError;
use crate::ledger::location::Location;
use crate::ledger::reader::LedgerReader;
use crate::ledger::report::UserEvent;

/// The most events that are told afterwards.
const MOST: u32 = 500;
/// Workers tell of what they did each on its own, so an event can be told a little after one that was applied later. So much is told
/// twice rather than not at all; versions show it.
const OVERLAP_MS: u64 = 5_000;
/// So long the ledger stays open for further questions: after a gap everybody who watches has one.
const KEPT: Duration = Duration::from_secs(2);

/// The way to what was missed.
#[derive(Debug, Clone)]
pub(super) struct History {
    questions: SyncSender<Question>,
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
    /// Whether more may have happened than is told.
    pub(super) more: bool,
}

#[derive(Debug)]
struct Question {
    user: UserId,
    since: Since,
    answer: oneshot::Sender<CaughtUp>,
}

/// Answers one question after the other.
struct Desk {
    ledger: Location,
    form: Form,
    reader: Option<LedgerReader>,
}

impl History {
    /// Starts the thread that reads `ledger`; it ends when nobody can ask any more. Up to `waiting` questions wait for it.
    pub(super) fn start(ledger: Location, form: Form, waiting: usize) -> io::Result<Self> {
        let (questions, asked) = mpsc::sync_channel(waiting);
        let desk = Desk { ledger, form, reader: None };
        Builder::new().name("live-ledger".to_owned()).spawn(move || desk.answer(&asked))?;
        Ok(Self { questions })
    }

    /// What happened to the orders of `user`. Of a ledger that cannot be read nothing is known, and more may have happened.
    pub(super) async fn since(&self, user: UserId, since: Since) -> CaughtUp {
        let (answer, answered) = oneshot::channel();
        // It is never full: nobody has two questions, and so many may watch.
        let asked = self.questions.try_send(Question { user, since, answer }).is_ok();
        let answer = if asked { answered.await.ok() } else { None };
        answer.unwrap_or(CaughtUp { notices: Vec::new(), more: true })
    }
}

impl Desk {
    fn answer(mut self, asked: &Receiver<Question>) {
        loop {
            let question = match &self.reader {
                Some(_) => asked.recv_timeout(KEPT),
                None => asked.recv().map_err(RecvTimeoutError::from),
            };
            match question {
                // Whoever asked may have left by now.
                Ok(question) if question.answer.is_closed() => {}
                Ok(Question { user, since, answer }) => drop(answer.send(self.look(&user, since))),
                Err(RecvTimeoutError::Timeout) => self.reader = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self, user: &UserId, since: Since) -> CaughtUp {
        let kept = self.reader.is_some();
        let mut events = self.events(user, since);
        if kept && events.is_err() {
            // The connection may have been lost since it was last used.
            events = self.events(user, since);
        }
        let events = events.unwrap_or_else(|error| {
            tracing::warn!(%error, "what a browser missed could not be read");
            (Vec::new(), true)
        });
        let (events, more) = events;
        let notices = events.into_iter().map(|UserEvent { order, row }| {
            let notice = row.notice(user.clone(), order);
            (notice.entry, self.form.text(&notice))
        });
        CaughtUp { notices: notices.collect(), more }
    }

    /// At most so many events as are told, and whether there are more.
    fn events(&mut self, user: &UserId, since: Since) -> Result<(Vec<UserEvent>, bool), LedgerError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => LedgerReader::open(&self.ledger)?,
        };
        let (time, told) = match since {
            Since::Entry(entry) => {
                let applied = reader.applied_at(user, entry)?;
                (applied.map_or(entry.ms, |at| at.saturating_sub(OVERLAP_MS)), Some(entry))
            }
            Since::Time(time) => (time, None),
        };
        let mut events = reader.events_of(user, time.min(now_ms()), MOST + 1)?;
        self.reader = Some(reader);
        let more = events.len() > MOST as usize;
        events.drain(..events.len().saturating_sub(MOST as usize));
        events.retain(|event| Some(event.row.entry) != told);
        Ok((events, more))
    }
}
