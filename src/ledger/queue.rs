//! The way to a ledger's writer and back, whatever it writes to.
//!
//! Owns: the queue, what goes through it, the writer's thread, and the word that it can never write again.
//! Never: a database.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, mpsc as std_mpsc};
use std::thread::{Builder, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::chore::{Prune, Pruned};
use super::error::LedgerError;
use crate::domain::batch::{Batch, Source};
use crate::domain::mark::Mark;
use crate::domain::outcome::{Failure, Outcome};

/// So many requests may wait for the writer; whoever brings one more waits with it.
const QUEUE: usize = 64;

/// With so many events in hand no further batch is taken into the transaction.
pub(super) const FULL: usize = 4096;

/// What a ledger answers some time later.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A batch on its way to the writer, and where the outcomes go.
pub(super) struct Waiting {
    /// The events.
    pub(super) batch: Batch,
    /// Whether to say where the orders stand after them.
    pub(super) effects: bool,
    /// The way back.
    pub(super) reply: oneshot::Sender<Vec<Outcome>>,
}

/// What the writer does besides applying events, each with the way back.
pub(super) enum Chore {
    /// Forgets one step.
    Prune(Prune, oneshot::Sender<Result<Pruned, LedgerError>>),
    /// Says how far the ledger has come.
    Standing(Arc<Source>, oneshot::Sender<Result<Mark, LedgerError>>),
}

/// What goes through the writer's hands in one go.
#[derive(Default)]
pub(super) struct Group {
    /// Batches, for one transaction.
    pub(super) batches: Vec<Waiting>,
    /// What comes after it.
    pub(super) chores: Vec<Chore>,
    events: usize,
}

enum Request {
    Batch(Waiting),
    Chore(Chore),
}

/// The end of the queue at which requests come in. It has the writer's thread, too.
#[derive(Debug)]
pub(super) struct Queue {
    // Both are `Some` until the ledger is closed.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    broken: Arc<OnceLock<String>>,
    effects: bool,
}

/// The end of the queue at which the writer stands.
pub(super) struct Desk {
    requests: mpsc::Receiver<Request>,
    ready: std_mpsc::Sender<Result<(), LedgerError>>,
    broken: Arc<OnceLock<String>>,
}

impl Queue {
    /// Starts a thread for `write`, and waits until it says that it has opened its ledger.
    pub(super) fn start(write: impl FnOnce(Desk) + Send + 'static) -> Result<Self, LedgerError> {
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (ready, opened) = std_mpsc::channel();
        let broken = Arc::default();
        let desk = Desk { requests: waiting, ready, broken: Arc::clone(&broken) };
        let thread = Builder::new().name("ledger".to_owned()).spawn(move || write(desk));
        let writer = thread.map_err(|error| LedgerError::WriterStopped { why: error.to_string() })?;
        let queue = Self { requests: Some(requests), writer: Some(writer), broken, effects: false };
        let died = || LedgerError::WriterStopped { why: "it died while it opened the ledger".to_owned() };
        opened.recv().map_err(|_| died())??;
        Ok(queue)
    }

    /// From now on, outcomes say where the orders stand.
    pub(super) fn tell_effects(&mut self) {
        self.effects = true;
    }

    /// Lets nothing in any more, waits for the writer to end, and says whether it lived to the end.
    pub(super) fn close(&mut self) -> Result<(), LedgerError> {
        self.requests = None;
        let ended = self.writer.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| LedgerError::WriterStopped { why: "it panicked".to_owned() })
    }

    /// Has `batch` applied.
    pub(super) fn apply(&self, batch: Batch) -> Answer<'_, Vec<Outcome>> {
        Box::pin(async move {
            let events = batch.len();
            let (reply, answer) = oneshot::channel();
            let outcomes = match self.send(Request::Batch(Waiting { batch, effects: self.effects, reply })).await {
                Some(()) => answer.await.ok(),
                None => None,
            };
            let no_writer = || vec![Outcome::Failed(Failure::unavailable("the ledger's writer has stopped")); events];
            outcomes.unwrap_or_else(no_writer)
        })
    }

    /// Has a step forgotten.
    pub(super) fn prune(&self, request: Prune) -> Answer<'_, Result<Pruned, LedgerError>> {
        Box::pin(self.chore(|reply| Chore::Prune(request, reply)))
    }

    /// Asks how far the ledger has come.
    pub(super) fn standing(&self, source: Arc<Source>) -> Answer<'_, Result<Mark, LedgerError>> {
        Box::pin(self.chore(|reply| Chore::Standing(source, reply)))
    }

    /// Completes, with the reason, when the writer has ended: not before this is closed, unless it died. Nothing is applied from then on.
    pub(super) fn broken(&self) -> Answer<'_, String> {
        Box::pin(async {
            if let Some(requests) = &self.requests {
                requests.closed().await;
            }
            self.broken.get().map_or_else(|| "the ledger's writer has stopped".to_owned(), Clone::clone)
        })
    }

    async fn chore<T>(
        &self,
        chore: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Chore,
    ) -> Result<T, LedgerError> {
        let no_writer = || LedgerError::WriterStopped { why: "it has ended".to_owned() };
        let (reply, answer) = oneshot::channel();
        self.send(Request::Chore(chore(reply))).await.ok_or_else(no_writer)?;
        answer.await.map_err(|_| no_writer())?
    }

    async fn send(&self, request: Request) -> Option<()> {
        self.requests.as_ref()?.send(request).await.ok()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the ledger was not closed in good order");
        }
    }
}

impl Desk {
    /// Says how opening went. Whoever opens the ledger waits for this word; if it is gone, then so are the requests.
    pub(super) fn opened(&self, how: Result<(), LedgerError>) {
        let _ = self.ready.send(how);
    }

    /// Says why the ledger can never be written again.
    pub(super) fn broke(&self, reason: String) {
        let _ = self.broken.set(reason);
    }

    /// Waits for a request, and takes what waits behind it. `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Group> {
        let first = self.requests.recv().await?;
        Some(self.group(first))
    }

    /// The same, outside of a runtime.
    pub(super) fn next_blocking(&mut self) -> Option<Group> {
        let first = self.requests.blocking_recv()?;
        Some(self.group(first))
    }

    fn group(&mut self, first: Request) -> Group {
        let mut group = Group::default();
        group.add(first);
        while group.events < FULL
            && let Ok(request) = self.requests.try_recv()
        {
            group.add(request);
        }
        // Nobody waits for these any more: their events will come again, perhaps after something that must come first.
        group.batches.retain(|waiting| !waiting.reply.is_closed());
        group
    }
}

impl Group {
    fn add(&mut self, request: Request) {
        match request {
            Request::Batch(waiting) => {
                self.events += waiting.batch.len();
                self.batches.push(waiting);
            }
            Request::Chore(chore) => self.chores.push(chore),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::domain::batch::{Context, Work};
    use crate::domain::entry::{Entry, Fields};
    use crate::domain::event::{Action, OrderEvent, SharedEvent};
    use crate::domain::id::EntryId;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn batch(events: u64) -> Batch {
        let source = Arc::new(Source { stream: "s".into(), group: "g".into() });
        let work = |ms| Work {
            event: SharedEvent::from(OrderEvent {
                order: "o".into(),
                user: None,
                action: Action::Shipped,
                amount: None,
                replay_of: None,
                event_id: None,
                entry: Entry { id: EntryId::new(ms, 0), fields: Fields::default() },
            }),
            context: Context { source: Arc::clone(&source), attempt: 1 },
        };
        Arc::new((0..events).map(work).collect())
    }

    #[test]
    fn a_writer_that_panics_is_noticed_and_nobody_waits_for_it() {
        let mut queue = Queue::start(|mut desk| {
            desk.opened(Ok(()));
            let _held = desk.next_blocking();
            panic!("on purpose");
        })
        .unwrap();
        block_on(async {
            let stopped = Outcome::Failed(Failure::unavailable("the ledger's writer has stopped"));
            assert_eq!(queue.apply(batch(1)).await, std::slice::from_ref(&stopped), "the batch that was in its hands");
            assert_eq!(queue.broken().await, "the ledger's writer has stopped");
            assert_eq!(queue.apply(batch(1)).await, [stopped], "a batch that comes later");
        });
        assert_eq!(queue.close().unwrap_err().to_string(), "the ledger's writer has stopped: it panicked");
    }

    #[test]
    fn batches_that_wait_come_together_up_to_a_bound_and_without_those_that_nobody_waits_for() {
        let filled = Arc::new(Barrier::new(2));
        let (start, (groups, seen)) = (Arc::clone(&filled), std_mpsc::channel());
        let queue = Queue::start(move |mut desk| {
            desk.opened(Ok(()));
            start.wait();
            while let Some(group) = desk.next_blocking() {
                groups.send(group.batches.iter().map(|waiting| waiting.batch.len()).collect::<Vec<_>>()).unwrap();
            }
        })
        .unwrap();
        block_on(async {
            let requests = queue.requests.as_ref().unwrap();
            let mut answers = Vec::new();
            for events in [2000, 1, 2001, 2002, 7] {
                let (reply, answer) = oneshot::channel();
                // Whoever brought the batch of one event has gone away.
                answers.extend((events > 1).then_some(answer));
                let waiting = Waiting { batch: batch(events), effects: false, reply };
                requests.send(Request::Batch(waiting)).await.unwrap();
            }
            filled.wait();
            drop(queue);
        });
        let groups: Vec<Vec<usize>> = seen.iter().collect();
        assert_eq!(groups, [vec![2000, 2001, 2002], vec![7]], "no further batch once {FULL} events are in hand");
    }
}
