//! Calls of the handler.
//!
//! Owns: what runs now, with its time limit, and the catch under a handler that panics.
//! Never: what follows from the outcomes (`judge`).

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;

use super::job::{Job, Life};
use super::{Begun, LaneTask, Step};
use crate::broker::delivery::{Delivery, Origin};
use crate::broker::error::Unsettled;
use crate::bug;
use crate::crash;
use crate::domain::batch::{Batch, Context, Work};
use crate::domain::event::OrderEvent;
use crate::domain::id::EntryId;
use crate::domain::lanes::{Item as _, Run};
use crate::domain::outcome::{Failure, Outcome};
use crate::supervisor::panic_text;
use crate::telemetry::event::{BatchHandled, HandlerPanicked, HandlerTimedOut, LeaseLost};

/// The most events in a call with some that were taken up. All of these are under suspicion if the worker dies again, and suspects run
/// one by one: the fewer, the sooner that is over.
const TAKEN_UP_BATCH: usize = 32;

/// A call of the handler that has not come back.
pub(super) struct Running {
    pub(super) duties: Vec<(Delivery, Life)>,
    batch: Batch,
    lanes: Vec<usize>,
    started: Instant,
}

/// Whether an event is under way that has to run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspect {
    None,
    /// It may make its call fail, so it has one for itself.
    OfFailing,
    /// It may kill this worker, so nothing runs beside it.
    OfKilling,
}

/// How a call ended.
pub(super) enum CallEnd {
    Outcomes(Vec<Outcome>),
    Panicked(Box<dyn Any + Send>),
    TimedOut,
}

impl Running {
    pub(super) fn ids(&self) -> impl Iterator<Item = EntryId> {
        self.duties.iter().map(|(delivery, _)| delivery.id())
    }

    pub(super) fn len(&self) -> usize {
        self.duties.len()
    }
}

impl LaneTask {
    /// Calls the handler with what may run now, as often as it allows.
    pub(super) fn start_calls(&mut self, now: Instant) {
        while self.running.len() + self.beginning < self.limits.calls && self.no_begin_before <= now {
            let most = match &self.outage {
                None => self.limits.batch,
                // One probe at a time, with one event.
                Some(outage) if outage.probe_at <= now && self.running.is_empty() && self.beginning == 0 => 1,
                Some(_) => return,
            };
            if self.waits_for_stillness() {
                return;
            }
            // Two suspects at the same time, and an innocent one would be found beside the body.
            let Some(mut run) = self.lanes.take(most, self.suspect == Suspect::None) else { return };
            if let Some(job) = run.items.iter().find(|job| job.alone()) {
                self.suspect = if job.life.deadly { Suspect::OfKilling } else { Suspect::OfFailing };
            }
            if run.items.iter().any(|job| job.delivery.origin() == Origin::TakenUp) {
                let rest = run.items.split_off(run.items.len().min(TAKEN_UP_BATCH));
                rest.into_iter().for_each(|job| self.lanes.put_back(job));
                self.start_begin(run);
            } else {
                self.start_call(run);
            }
        }
    }

    /// Whether nothing may begin now, since an event that may kill this worker runs, or is to run next. Whatever ran beside it when the
    /// worker died would be as guilty as it is, and only its own deaths are counted. What was applied and not yet acknowledged would be
    /// taken for one that died, too.
    fn waits_for_stillness(&mut self) -> bool {
        if self.suspect == Suspect::OfKilling {
            return true;
        }
        if !self.has_deadly {
            return false;
        }
        self.has_deadly = self.lanes.iter().any(|job| job.life.deadly);
        let is_still = self.running.is_empty() && self.beginning == 0 && self.is_acknowledged();
        self.lanes.prefer(|job| job.life.deadly) && !is_still
    }

    /// A run with these events is over.
    fn is_over<'l>(&mut self, mut lives: impl Iterator<Item = &'l Life>) {
        if lives.any(|life| life.alone) {
            self.suspect = Suspect::None;
        }
    }

    /// Tells Redis that a try of entries that were taken up begins, so that a crash of this one is counted.
    fn start_begin(&mut self, run: Run<Job>) {
        let number = self.note_in_flight(run.items.iter().map(Job::id).collect());
        self.beginning += 1;
        let broker = Arc::clone(&self.parts.broker);
        self.steps.push(Box::pin(async move {
            let (fresh, taken): (Vec<Job>, Vec<Job>) =
                run.items.into_iter().partition(|job| job.delivery.origin() == Origin::Read);
            let (deliveries, rest): (Vec<Delivery>, Vec<_>) =
                taken.into_iter().map(|job| (job.delivery, (job.event, job.life))).unzip();
            let (deliveries, result) = match broker.begin(deliveries).await {
                Ok((deliveries, lost)) => (deliveries, Ok(lost)),
                Err(Unsettled { what, error }) => (what, Err(error)),
            };
            let taken = deliveries.into_iter().zip(rest);
            let mut items: Vec<Job> = fresh;
            items.extend(taken.map(|(delivery, (event, life))| Job { delivery, event, life }));
            items.sort_by_key(Job::id);
            Step::Begun(number, Begun { run: Run { items, lanes: run.lanes }, result })
        }));
    }

    pub(super) fn begun(&mut self, number: u64, Begun { mut run, result }: Begun) {
        self.in_flight.remove(&number);
        self.beginning -= 1;
        crash::point("after-begin");
        match result {
            Ok(lost) => {
                self.begin_again.succeeded();
                let (kept, gone): (Vec<Job>, Vec<Job>) =
                    run.items.into_iter().partition(|job| !lost.contains(&job.id()));
                self.is_over(gone.iter().map(|job| &job.life));
                gone.into_iter().for_each(|job| self.let_go_of_lost(job.delivery));
                run.items = kept;
                if run.items.is_empty() {
                    self.lanes.finish(&run.lanes);
                } else {
                    self.start_call(run);
                }
            }
            Err(_) => {
                self.no_begin_before = Instant::now() + self.begin_again.failed();
                self.is_over(run.items.iter().map(|job| &job.life));
                run.items.into_iter().for_each(|job| self.lanes.put_back(job));
                self.lanes.finish(&run.lanes);
            }
        }
    }

    pub(super) fn let_go_of_lost(&self, delivery: Delivery) {
        self.parts.telemetry.emit(LeaseLost { entry: delivery.id() });
        delivery.let_go();
    }

    fn start_call(&mut self, run: Run<Job>) {
        let mut duties = Vec::with_capacity(run.items.len());
        let mut works = Vec::with_capacity(run.items.len());
        for Job { delivery, event, life } in run.items {
            let context = Context { source: Arc::clone(&self.source), attempt: life.failures.saturating_add(1) };
            duties.push((delivery, life));
            works.push(Work { event, context });
        }
        let batch: Batch = Arc::new(works);
        self.number += 1;
        let number = self.number;
        let running = Running { duties, batch: Arc::clone(&batch), lanes: run.lanes, started: Instant::now() };
        self.running.insert(number, running);
        let handler = Arc::clone(&self.parts.handler);
        let timeout = self.parts.options.timeout;
        let too_soon = bug::is("ack-before-commit").then(|| Arc::clone(&self.parts.broker));
        self.steps.push(Box::pin(async move {
            crash::handling(batch.iter().map(|work| work.event.order.as_str()));
            if let Some(broker) = too_soon {
                let ids: Vec<EntryId> = batch.iter().map(|work| work.event.id()).collect();
                // As the mistake goes, nobody looks at the answer.
                let _ = broker.ack_gone(&ids).await;
            }
            let call = AssertUnwindSafe(async move { handler.handle(batch).await }).catch_unwind();
            Step::Called(
                number,
                match tokio::time::timeout(timeout, call).await {
                    Ok(Ok(outcomes)) => CallEnd::Outcomes(outcomes),
                    Ok(Err(panic)) => CallEnd::Panicked(panic),
                    Err(_) => CallEnd::TimedOut,
                },
            )
        }));
    }

    pub(super) fn called(&mut self, number: u64, end: CallEnd) {
        let Some(Running { duties, batch, lanes, started }) = self.running.remove(&number) else { return };
        self.is_over(duties.iter().map(|(_, life)| life));
        let events = batch.len();
        let handler = self.parts.handler.name();
        let outcomes = match end {
            CallEnd::Outcomes(outcomes) if outcomes.len() == events => Ok(outcomes),
            CallEnd::Outcomes(outcomes) => {
                Err(format!("the handler answered {} outcomes for {events} events", outcomes.len()))
            }
            CallEnd::Panicked(panic) => {
                let message = panic_text(&*panic);
                self.parts.telemetry.emit(HandlerPanicked { handler, events, message });
                Err(format!("the handler panicked: {message}"))
            }
            CallEnd::TimedOut => {
                let after = self.parts.options.timeout;
                self.parts.telemetry.emit(HandlerTimedOut { after });
                Err(format!("the handler took longer than {after:?}"))
            }
        };
        // A call that failed as a whole accuses none of its events as long as there are several: each is tried again by itself.
        let (outcomes, apart) = match outcomes {
            Ok(outcomes) => (outcomes, false),
            Err(_) if events > 1 => (vec![Outcome::NotReached; events], true),
            Err(text) => (vec![Outcome::Failed(Failure::transient(text)); events], false),
        };
        self.parts.telemetry.emit(BatchHandled { handler, events, took: started.elapsed() });
        // A handler that was left behind may still hold the batch; then it keeps it, and the events are copied.
        let works = Arc::try_unwrap(batch).unwrap_or_else(|batch| batch.to_vec());
        self.witness.say(works.iter().zip(&outcomes).filter_map(|(work, outcome)| match outcome {
            Outcome::Applied | Outcome::AppliedTo(_) => Some((work.event.origin(), true, text_of(&work.event))),
            Outcome::Duplicate => Some((work.event.origin(), false, text_of(&work.event))),
            _ => None,
        }));
        let jobs = duties.into_iter().zip(works);
        let jobs = jobs.map(|((delivery, life), work)| Job {
            delivery,
            event: work.event,
            life: Life { alone: life.alone || apart, ..life },
        });
        self.judge(jobs.zip(outcomes));
        self.lanes.finish(&lanes);
    }
}

/// What an event says, for the witness.
fn text_of(OrderEvent { order, action, amount, .. }: &OrderEvent) -> String {
    let amount = amount.map_or_else(|| "-".to_owned(), |amount| amount.to_string());
    format!("{order} {} {amount}", action.as_str())
}
