//! Settling, as seen from the lanes: one thing of a kind under way at a time, and what comes meanwhile is gathered.
//!
//! Owns: what waits for its ack or its burial, and trying again when Redis was away.
//! Never: forgetting any of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Job, Letter};
use super::{LaneTask, Step};
use crate::broker::delivery::Delivery;
use crate::broker::error::{BrokerError, Unsettled};
use crate::broker::settle::{Buried, Receipt, Settled};
use crate::crash;
use crate::domain::id::EntryId;
use crate::domain::notice::Notice;
use crate::supervisor::backoff::Backoff;
use crate::telemetry::event::{AckMissed, DeadLettered, DeadLettersCut, EventsSettled, LeaseLost};

/// Something to be settled, one step at a time.
pub(super) struct Settling<T> {
    /// What waits.
    pub(super) waiting: T,
    /// Whether a step is under way.
    under_way: bool,
    /// After a failure, not before this time.
    not_before: Instant,
    backoff: Backoff,
}

/// Entries whose effect is in place.
#[derive(Default)]
pub(super) struct AckBatch {
    pub(super) deliveries: Vec<Delivery>,
    applied: usize,
    duplicate: usize,
    oldest: Option<Instant>,
    /// Entries that have a retry record.
    recorded: Vec<EntryId>,
    /// What is to be told once they are acknowledged. Empty where nobody is to be told anything.
    pub(super) notices: Vec<Notice>,
}

impl<T> Settling<T>
where
    T: Default,
{
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: T::default(), under_way: false, not_before: now, backoff: backoff() }
    }

    /// When a step can be tried again that failed.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        (!self.under_way).then_some(self.not_before)
    }

    fn may_start(&self, now: Instant) -> bool {
        !self.under_way && self.not_before <= now
    }

    fn done(&mut self) {
        self.under_way = false;
        self.backoff.succeeded();
    }

    fn failed(&mut self) {
        self.under_way = false;
        self.not_before = Instant::now() + self.backoff.failed();
    }
}

/// The pauses after a step that failed because Redis was away: short, for Redis is to be used again as soon as it is back.
pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(1))
}

impl AckBatch {
    pub(super) fn push(&mut self, job: Job, applied: bool) {
        if applied {
            self.applied += 1;
        } else {
            self.duplicate += 1;
        }
        if job.life.recorded {
            self.recorded.push(job.delivery.id());
        }
        let since = job.delivery.since();
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
        self.deliveries.push(job.delivery);
    }

    fn merge(&mut self, other: Self) {
        self.deliveries.extend(other.deliveries);
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
        self.recorded.extend(other.recorded);
        // The other batch is the older one: what it tells comes first.
        let newer = std::mem::replace(&mut self.notices, other.notices);
        self.notices.extend(newer);
    }
}

impl LaneTask {
    /// Acknowledges everything that waits for it, in one go.
    pub(super) fn start_ack(&mut self, now: Instant) {
        if !self.acks.may_start(now) || self.acks.waiting.deliveries.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.acks.waiting);
        let number = self.note_in_flight(batch.deliveries.iter().map(Delivery::id).collect());
        self.acks.under_way = true;
        let (broker, outbox) = (Arc::clone(&self.parts.broker), self.parts.outbox.clone());
        let along = outbox.along(&batch.notices);
        self.steps.push(Box::pin(async move {
            crash::point("before-ack");
            let count = batch.notices.len();
            let notices = std::mem::take(&mut batch.notices);
            match broker.ack_then(std::mem::take(&mut batch.deliveries), notices, along.as_ref()).await {
                Ok(settled) => {
                    crash::point("after-ack");
                    if !batch.recorded.is_empty()
                        && let Err(error) = broker.forget_records(&batch.recorded).await
                    {
                        tracing::debug!(%error, "retry records of settled entries were not removed");
                    }
                    Step::Acked(number, settled, batch)
                }
                Err(Unsettled { what: (deliveries, notices), error }) => {
                    batch.notices = notices.unwrap_or_else(|| {
                        outbox.lost(count);
                        Vec::new()
                    });
                    Step::NotAcked(number, Unsettled { what: deliveries, error }, batch)
                }
            }
        }));
    }

    pub(super) fn acked(&mut self, number: u64, settled: Settled, receipt: Receipt<Vec<Notice>>, batch: &AckBatch) {
        self.in_flight.remove(&number);
        self.acks.done();
        if settled.missed > 0 {
            self.parts.telemetry.emit(AckMissed { count: settled.missed });
        }
        let oldest_wait = batch.oldest.map(|oldest| oldest.elapsed()).unwrap_or_default();
        let (applied, duplicate) = (batch.applied, batch.duplicate);
        self.parts.telemetry.emit(EventsSettled { applied, duplicate, oldest_wait });
        self.parts.settled.add(settled.count);
        self.parts.outbox.put(receipt);
    }

    /// Some of the batch may be acknowledged already; acknowledging twice is harmless.
    pub(super) fn not_acked(&mut self, number: u64, unsettled: Unsettled<Vec<Delivery>>, mut batch: AckBatch) {
        self.in_flight.remove(&number);
        self.acks.failed();
        batch.deliveries = unsettled.what;
        self.acks.waiting.merge(batch);
    }

    /// Buries the first of what is to be buried.
    pub(super) fn start_burial(&mut self, now: Instant) {
        if !self.letters.may_start(now) {
            return;
        }
        let Some(Letter { delivery, entry, obituary }) = self.letters.waiting.pop_front() else { return };
        let id = delivery.id();
        let number = self.note_in_flight(vec![id]);
        self.letters.under_way = true;
        let (broker, telemetry) = (Arc::clone(&self.parts.broker), self.parts.telemetry.clone());
        let keep = self.parts.options.max_letters;
        self.steps.push(Box::pin(async move {
            crash::point("before-burial");
            match broker.bury(delivery, &entry, &obituary, keep).await {
                Ok(buried) => {
                    crash::point("after-burial");
                    if let Buried::Done { cut } = buried {
                        telemetry.emit(DeadLettered { entry: id, reason: obituary.reason, detail: &obituary.error });
                        if cut > 0 {
                            telemetry.emit(DeadLettersCut { count: cut, keep });
                        }
                    }
                    Step::Buried(number, id, buried)
                }
                Err(Unsettled { what: delivery, error }) => {
                    Step::NotBuried(number, Letter { delivery, entry, obituary }, error)
                }
            }
        }));
    }

    pub(super) fn buried(&mut self, number: u64, id: EntryId, buried: Buried) {
        self.in_flight.remove(&number);
        self.letters.done();
        match buried {
            Buried::Done { .. } => self.parts.settled.add(1),
            Buried::NotOurs => self.parts.telemetry.emit(LeaseLost { entry: id }),
        }
    }

    /// It stays pending, under a lease that is renewed, and is tried again: out of memory, Redis still does everything else.
    pub(super) fn not_buried(&mut self, number: u64, letter: Letter, error: &BrokerError) {
        tracing::debug!(entry = %letter.delivery.id(), %error, "a dead letter was not added; it is tried again");
        self.in_flight.remove(&number);
        self.letters.failed();
        self.letters.waiting.push_front(letter);
    }

    /// Whether nothing waits for its ack, and none is under way.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acks.waiting.deliveries.is_empty() && !self.acks.under_way
    }

    /// Whether nothing waits for its ack, and nothing that can be buried for its burial.
    pub(super) fn is_settled(&self) -> bool {
        let given_up = self.letters.backoff.failures() > 1;
        self.acks.waiting.deliveries.is_empty() && (self.letters.waiting.is_empty() || given_up)
    }
}

impl Settling<VecDeque<Letter>> {
    /// Takes what was not buried.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Letter> {
        std::mem::take(&mut self.waiting).into_iter()
    }
}
