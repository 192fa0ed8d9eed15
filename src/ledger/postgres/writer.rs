//! The writer: one thread, one connection, one transaction for all that waits.
//!
//! Owns: what goes into a transaction, and what is done when one does not go through: the same again where that may help, in parts
//! where an event is to blame, and looking it up where a commit was not answered.
//! Never: an answer before the commit; an answer by guess.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::address::Address;
use super::book::{Book, Entered, Terms};
use super::chores;
use super::error::PostgresError;
use super::fault::Fault;
use super::hook::{self, Hook};
use super::link::{self, Link};
use super::sheet::Event;
use crate::domain::batch::Work;
use crate::domain::id::{EventId, OrderId};
use crate::domain::outcome::{Failure, Outcome};
use crate::ledger::Parts;
use crate::ledger::error::LedgerError;
use crate::ledger::queue::{Chore, Desk, Waiting};
use crate::telemetry::event::GenerationBegan;

/// So long a group may take at most, with every attempt.
const PATIENCE: Duration = Duration::from_secs(12);

/// So often a transaction is begun anew.
const MOST_ATTEMPTS: u32 = 8;
/// The longest pause before that. The shortest is none: two who were in each other's way should not meet again.
const PAUSE: Duration = Duration::from_millis(25);

/// Where the ledger is, and who joins its transactions.
pub(super) struct Place {
    /// The database.
    pub(super) at: Address,
    /// The hook.
    pub(super) hook: Option<Arc<dyn Hook>>,
}

/// Writes to one ledger.
pub(super) struct Writer {
    place: Place,
    parts: Parts,
    patience: Duration,
    session: Option<Session>,
}

/// A connection with what was prepared on it.
struct Session {
    link: Link,
    book: Book,
}

impl Writer {
    /// A writer that is connected, or one that will connect when there is something to write, where the server is away.
    ///
    /// A batch may wait behind another one, and both have to be answered before a call of the handler is given up, which is after
    /// `call_timeout`: an outage must not look like a failure of the events.
    pub(super) async fn open(place: Place, parts: Parts, call_timeout: Duration) -> Result<Self, PostgresError> {
        let session = match Session::open(&place).await {
            Ok(session) => Some(session),
            Err(away @ PostgresError::Unreachable { .. }) => {
                tracing::warn!(reason = %away, "the ledger is away; orderd waits for it");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { place, parts, patience: PATIENCE.min(call_timeout.mul_f64(0.4)), session })
    }

    /// Writes until `closed`. Then nobody waits for what is in its hands: it is left to come again.
    pub(super) async fn run(mut self, desk: &mut Desk, closed: oneshot::Receiver<()>) {
        let write = async {
            while let Some(group) = desk.next().await {
                self.write(group.batches).await;
                for chore in group.chores {
                    self.chore(chore).await;
                }
            }
        };
        tokio::select! {
            () = write => {}
            _ = closed => {}
        }
        if let Some(session) = self.session {
            session.link.close().await;
        }
    }

    /// Writes a group and answers each batch.
    async fn write(&mut self, group: Vec<Waiting>) {
        let batches = group.iter().enumerate();
        let events: Vec<Event<'_>> = batches
            .flat_map(|(batch, Waiting { batch: works, effects, .. })| {
                works.iter().map(move |work| Event { batch, work, effects: *effects })
            })
            .collect();
        let mut outcomes = self.settle(&events).await.into_iter();
        let answers: Vec<Vec<Outcome>> =
            group.iter().map(|waiting| outcomes.by_ref().take(waiting.batch.len()).collect()).collect();
        for (waiting, outcomes) in group.into_iter().zip(answers) {
            // Who has gone away in the meantime gets the events again, and learns then that they are in place.
            let _ = waiting.reply.send(outcomes);
        }
    }

    /// Does a chore and answers. Who has gone away in the meantime asks again.
    async fn chore(&mut self, chore: Chore) {
        match chore {
            Chore::Prune(request, reply) => {
                let pruned = self.in_session("prune", async |client| chores::prune(client, &request, now()).await);
                let _ = reply.send(pruned.await);
            }
            Chore::Standing(source, reply) => {
                let standing = self.in_session("read", async |client| chores::standing(client, &source).await);
                let _ = reply.send(standing.await);
            }
        }
    }

    /// Does something on the connection. After an error it is cut, and nothing of an open transaction is left.
    async fn in_session<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, LedgerError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.place).await?,
        };
        // Behind a chore, a batch may wait, which has to be answered in its time.
        let patience = self.patience / 4;
        let silent = || PostgresError::Unreachable {
            at: Box::new(self.place.at.clone()),
            why: format!("it does not answer (waited {patience:?})"),
        };
        let done = tokio::time::timeout(patience, work(&session.link.client)).await.map_err(|_| silent())?;
        let done = done.map_err(|error| link::failed(doing, &self.place.at, &error))?;
        self.session = Some(session);
        Ok(done)
    }

    /// One outcome for each event.
    async fn settle(&mut self, events: &[Event<'_>]) -> Vec<Outcome> {
        let deadline = Instant::now() + self.patience;
        let mut outcomes = Vec::with_capacity(events.len());
        let mut failed = HashSet::new();
        let mut away = None;
        // What is still to be done, the first part last. A part with an event that Postgres does not take is halved until that
        // event stands alone, so that it fails alone.
        let mut parts: Vec<Range<usize>> = storable(events).into_iter().rev().collect();
        while let Some(part) = parts.pop() {
            let here = &events[part.clone()];
            let done = match (&away, here) {
                (Some(fault), _) => Err(Fault::clone(fault)),
                (None, [event]) if !is_storable(event.work) => unstorable(event, &failed),
                (None, _) => self.attempt(here, &failed, deadline).await,
            };
            match done {
                Ok(done) => outcomes.extend(done),
                Err(Fault::Refused { .. } | Fault::Declined(_)) if here.len() > 1 => {
                    let middle = part.start + here.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                    continue;
                }
                Err(fault @ (Fault::Refused { .. } | Fault::Declined(_))) => {
                    outcomes.push(Outcome::Failed(failure(&fault)));
                }
                Err(fault) => {
                    outcomes.extend(here.iter().map(|_| Outcome::Failed(failure(&fault))));
                    away = Some(fault);
                }
            }
            let bad = here.iter().zip(&outcomes[part.start..]).filter(|(_, out)| matches!(out, Outcome::Failed(_)));
            failed.extend(bad.map(|(event, _)| (event.batch, &event.work.event.order)));
        }
        outcomes
    }

    /// Enters `events` in one transaction, again and again until it goes through or there is no point in it.
    async fn attempt<'w>(
        &mut self,
        events: &[Event<'w>],
        failed: &HashSet<(usize, &'w OrderId)>,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, Fault> {
        let (mut in_doubt, mut alone) = (false, false);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let entered = tokio::time::timeout_at(deadline, self.enter(events, failed, alone)).await;
            let fault = match entered {
                Ok(Ok(entered)) => {
                    self.tell_begun(&entered);
                    let outcomes = entered.outcomes;
                    return Ok(if in_doubt { confirmed(outcomes) } else { outcomes });
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::Away(format!("it does not answer (waited {:?})", self.patience)),
            };
            self.clean_up(&fault).await;
            in_doubt |= matches!(fault, Fault::InDoubt(_));
            alone |= fault == Fault::Alone;
            let again = matches!(fault, Fault::Crossed(_) | Fault::Alone | Fault::Lost(_) | Fault::InDoubt(_));
            if !again || attempts == MOST_ATTEMPTS || Instant::now() >= deadline {
                return Err(fault);
            }
            tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
        }
    }

    async fn enter<'w>(
        &mut self,
        events: &[Event<'w>],
        failed: &HashSet<(usize, &'w OrderId)>,
        alone: bool,
    ) -> Result<Entered, Fault> {
        if self.session.is_none() {
            let opened = Session::open(&self.place).await;
            self.session = Some(opened.map_err(|error| Fault::Away(error.to_string()))?);
        }
        let Some(Session { link, book }) = &mut self.session else {
            return Err(Fault::Away("there is no connection".to_owned()));
        };
        book.enter(&link.client, events, Terms { rules: &self.parts.rules, failed, now: now(), alone }).await
    }

    fn tell_begun(&self, entered: &Entered) {
        for (begun, highest) in &entered.begun {
            let stream = begun.source.stream.as_str();
            let (entry, generation, highest) = (begun.entry, begun.generation, *highest);
            self.parts.telemetry.emit(GenerationBegan { stream, entry, generation, highest });
        }
    }

    /// Leaves nothing of a transaction that did not go through.
    async fn clean_up(&mut self, fault: &Fault) {
        let Some(session) = self.session.take() else { return };
        // With any other fault the connection is gone, or a new one may find another server or other rights.
        if matches!(fault, Fault::Crossed(_) | Fault::Alone | Fault::Refused { .. } | Fault::Declined(_)) {
            let undone =
                tokio::time::timeout(Duration::from_secs(1), session.link.client.batch_execute("ROLLBACK")).await;
            if matches!(undone, Ok(Ok(()))) {
                self.session = Some(session);
            }
        }
    }
}

impl Session {
    async fn open(Place { at, hook }: &Place) -> Result<Self, PostgresError> {
        let link = Link::for_writing(at).await?;
        let prepare = async {
            if let Some(hook) = hook {
                hook::prepare(&**hook, &link.client).await?;
            }
            Book::new(&link.client, hook.clone()).await
        };
        let book = prepare.await.map_err(|error| link::failed("prepare", at, &error))?;
        Ok(Self { link, book })
    }
}

/// The events in parts that Postgres can take, and alone those that it cannot. Mostly that is one part.
fn storable(events: &[Event<'_>]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, _) in events.iter().enumerate().filter(|(_, event)| !is_storable(event.work)) {
        parts.extend([begin..at, at..at + 1]);
        begin = at + 1;
    }
    parts.push(begin..events.len());
    parts.retain(|part| !part.is_empty());
    parts
}

/// What becomes of an event that is not storable.
fn unstorable(event: &Event<'_>, failed: &HashSet<(usize, &OrderId)>) -> Result<Vec<Outcome>, Fault> {
    if failed.contains(&(event.batch, &event.work.event.order)) {
        return Ok(vec![Outcome::NotReached]);
    }
    Err(Fault::Refused { code: SqlState::CHARACTER_NOT_IN_REPERTOIRE.code().to_owned(), by_rule: false })
}

/// Postgres has no character 0 in its texts.
fn is_storable(work: &Work) -> bool {
    let event = &work.event;
    let source = &work.context.source;
    let user = event.user.as_ref().map_or("", |user| user.as_str());
    let id = event.event_id.as_ref().map_or("", EventId::as_str);
    let texts = [event.order.as_str(), user, event.action.as_str(), id, source.stream.as_str(), source.group.as_str()];
    !texts.iter().any(|text| text.contains('\0'))
}

/// The outcomes of an attempt that came after a commit in doubt. What the inbox knew then was in that commit, or has been applied
/// by another worker since; either way it is in place.
fn confirmed(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let confirm = |outcome| if outcome == Outcome::Duplicate { Outcome::Applied } else { outcome };
    outcomes.into_iter().map(confirm).collect()
}

fn failure(fault: &Fault) -> Failure {
    match fault {
        Fault::Declined(failure) => failure.clone(),
        Fault::Refused { by_rule: false, .. } => Failure::permanent(fault.sentence()),
        Fault::Refused { by_rule: true, .. } => Failure::transient(fault.sentence()),
        _ => Failure::unavailable(format!("the ledger cannot be written: {}", fault.sentence())),
    }
}

/// The time of a transaction, in whole milliseconds as on every other ledger.
fn now() -> SystemTime {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}
