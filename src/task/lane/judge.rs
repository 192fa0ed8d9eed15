//! What follows from the outcomes of a call.
//!
//! Owns: carrying the verdicts out: to the acks, to the dead letters, back into the lanes.
//! Never: the verdicts themselves (`domain::retry`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::job::{Job, Turn, epoch_ms};
use super::{Gate, LaneTask, Outage, Step};
use crate::broker::error::BrokerError;
use crate::broker::hold::Held;
use crate::crash;
use crate::domain::id::EntryId;
use crate::domain::lanes::Item as _;
use crate::domain::notice::Notice;
use crate::domain::outcome::{Effect, Failure, FailureClass, Outcome};
use crate::domain::retry::{RetryRecord, Verdict};
use crate::supervisor::backoff::Backoff;
use crate::telemetry::event::{EventFailed, HandlerAway, HandlerBack};

const PROBE_MIN: Duration = Duration::from_millis(200);
const PROBE_MAX: Duration = Duration::from_secs(2);

impl LaneTask {
    pub(super) fn judge(&mut self, outcomes: impl Iterator<Item = (Job, Outcome)>) {
        let mut worked = false;
        let mut away = None;
        for (job, outcome) in outcomes {
            match outcome {
                Outcome::Applied => {
                    worked = true;
                    self.applied(job, None);
                }
                Outcome::AppliedTo(effect) => {
                    worked = true;
                    self.applied(job, Some(&effect));
                }
                Outcome::Ignored => {
                    worked = true;
                    self.acks.waiting.push(job, true);
                }
                Outcome::Duplicate => {
                    worked = true;
                    self.acks.waiting.push(job, false);
                }
                Outcome::NotReached => self.lanes.put_back(job),
                Outcome::Failed(failure) => {
                    if failure.class() == FailureClass::Unavailable {
                        away = Some(failure.message().to_owned());
                    } else {
                        worked = true;
                    }
                    self.failed(job, &failure);
                }
            }
        }
        match away {
            Some(message) => self.handler_away(message),
            None if worked => self.handler_works(),
            None => {}
        }
    }

    fn applied(&mut self, job: Job, effect: Option<&Effect>) {
        if self.parts.outbox.is_open() {
            self.acks.waiting.notices.extend(Notice::of(&job.event, effect, epoch_ms(SystemTime::now())));
        }
        self.acks.waiting.push(job, true);
    }

    fn failed(&mut self, mut job: Job, failure: &Failure) {
        let first_in_line = job.life.turn == Turn::First;
        let jitter = fastrand::f64();
        let verdict = self.parts.tuning.borrow().retry.judge(failure, job.life.failures, first_in_line, jitter);
        let (entry, class, message) = (job.id(), failure.class(), failure.message());
        let next = if let Verdict::Retry(pause) | Verdict::Hold(pause) = verdict { Some(pause) } else { None };
        self.parts.telemetry.emit(EventFailed { entry, class, message, next });
        match verdict {
            Verdict::Wait => self.lanes.put_back(job),
            Verdict::Dead(reason) => {
                job.life.failures = job.life.failures.saturating_add(1);
                self.letters.waiting.push_back(job.into_letter(reason, message.to_owned()));
            }
            Verdict::Retry(pause) | Verdict::Hold(pause) => {
                if let Verdict::Retry(_) = verdict {
                    job.life.failures = job.life.failures.saturating_add(1);
                }
                job.life.recorded = true;
                if job.life.deadly {
                    job.delivery.acquit();
                }
                job.life.turn = match job.life.turn {
                    Turn::First if failure.is_early() => Turn::First,
                    _ if failure.is_early() => Turn::Early,
                    _ => Turn::Own,
                };
                self.watch.any_early |= failure.is_early();
                // Whoever takes over what came too early has what it waits for, too, or may find it done: it is due at once.
                let due_ms = if failure.is_early() { 0 } else { epoch_ms(SystemTime::now() + pause) };
                let record = RetryRecord { failures: job.life.failures, due_ms, error: message.to_owned() };
                self.start_park(&job, record);
                job.event.keep();
                self.lanes.block(job, Instant::now() + pause);
            }
        }
    }

    /// Writes the retry record, for whoever may have to take the entry over. Where that fails, the count lives on in memory.
    fn start_park(&mut self, job: &Job, record: RetryRecord) {
        let broker = Arc::clone(&self.parts.broker);
        let (consumer, held) = (job.delivery.consumer().clone(), Held::from(&job.delivery));
        self.steps.push(Box::pin(async move {
            let result = broker.park(&consumer, held, &record).await;
            crash::point("after-parking");
            Step::Parked(held.id, result)
        }));
    }

    pub(super) fn parked(&mut self, id: EntryId, result: Result<bool, BrokerError>) {
        match result {
            Ok(true) => {}
            Ok(false) => self.lost(&[id]),
            Err(error) => tracing::debug!(entry = %id, %error, "the retry record was not written"),
        }
    }

    fn handler_away(&mut self, message: String) {
        let now = Instant::now();
        if self.outage.is_none() {
            self.parts.telemetry.emit(HandlerAway { message: &message });
            self.parts.gate.send_replace(Gate::Closed(message));
        }
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: now,
            probe_at: now,
            backoff: Backoff::new(PROBE_MIN, PROBE_MAX),
        });
        outage.probe_at = now + outage.backoff.failed();
    }

    fn handler_works(&mut self) {
        if let Some(outage) = self.outage.take() {
            self.parts.telemetry.emit(HandlerBack { after: outage.since.elapsed() });
            self.parts.gate.send_replace(Gate::Open);
        }
    }
}
