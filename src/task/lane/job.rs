//! A job: an event in hand, with the duty to settle its entry.
//!
//! Owns: from what was received to what can be run, or be buried at once.
//! Never: Redis.

use std::time::{Duration, Instant, SystemTime};

use crate::broker::delivery::{Delivery, Origin, Received};
use crate::broker::settle::Obituary;
use crate::domain::decode::{DecodeError, FieldNames, Undecodable, decode_onto};
use crate::domain::entry::Entry;
use crate::domain::event::{OrderEvent, SharedEvent};
use crate::domain::id::{EntryId, OrderId};
use crate::domain::lanes::Item;
use crate::domain::retry::{DeadReason, RetryPolicy, TakeUp};

/// An event in hand.
#[derive(Debug)]
pub struct Job {
    /// The duty to settle it.
    pub delivery: Delivery,
    /// What it says.
    pub event: SharedEvent,
    /// What is known of its life so far.
    pub life: Life,
}

/// What is known of the life of an entry so far.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// How often it failed.
    pub failures: u32,
    /// Whether there is a retry record of it.
    pub recorded: bool,
    /// Whether it is suspected of killing workers or of failing whole calls, and has to run alone.
    pub alone: bool,
    /// Whether it is suspected of killing workers.
    pub deadly: bool,
    /// Whether it has come too early.
    pub turn: Turn,
}

/// Whether an event has come too early, and what is known of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It waits for no other event.
    Own,
    /// It came too early, and earlier entries may be in other hands.
    Early,
    /// It came too early, and no earlier entry is in other hands any more.
    First,
}

/// An entry that is to become a dead letter.
#[derive(Debug)]
pub struct Letter {
    /// The duty to settle it.
    pub delivery: Delivery,
    /// What it says.
    pub entry: Entry,
    /// Why.
    pub obituary: Obituary,
}

/// What came of one read, ready for the lanes.
#[derive(Debug, Default)]
pub struct Admission {
    /// Events to run.
    pub jobs: Vec<Job>,
    /// Events to run later: when each is due.
    pub waiting: Vec<(Job, Instant)>,
    /// Entries to bury.
    pub letters: Vec<Letter>,
}

/// All of a job but the event.
struct Duty {
    delivery: Delivery,
    life: Life,
    /// For how long it still has to wait.
    pause: Option<Duration>,
}

impl Item for Job {
    fn id(&self) -> EntryId {
        self.delivery.id()
    }

    fn order(&self) -> &OrderId {
        &self.event.order
    }

    fn alone(&self) -> bool {
        self.life.alone
    }
}

impl Admission {
    /// Decodes what was received, and looks at the past of what was taken up.
    pub fn of(received: Vec<Received>, names: &FieldNames, policy: &RetryPolicy) -> Self {
        let mut admission = Self { jobs: Vec::with_capacity(received.len()), ..Self::default() };
        let (mut events, mut duties) = (Vec::with_capacity(received.len()), Vec::with_capacity(received.len()));
        for received in received {
            duties.extend(admission.sort(received, &mut events, names, policy));
        }
        for (event, Duty { delivery, life, pause }) in SharedEvent::each(events).zip(duties) {
            let mut job = Job { delivery, event, life };
            match pause {
                Some(pause) => {
                    job.event.keep();
                    admission.waiting.push((job, Instant::now() + pause));
                }
                None => admission.jobs.push(job),
            }
        }
        admission
    }

    /// Puts the event behind `events` and says what is to be done with it, unless it is one to bury.
    fn sort(
        &mut self,
        received: Received,
        events: &mut Vec<OrderEvent>,
        names: &FieldNames,
        policy: &RetryPolicy,
    ) -> Option<Duty> {
        let Received { delivery, entry, record, withheld } = received;
        let taken_up = match delivery.origin() {
            Origin::Read => TakeUp::Run,
            Origin::TakenUp => policy.take_up(delivery.deliveries()),
        };
        let failures = record.as_ref().map_or(0, |record| record.failures);
        let deadly = taken_up == TakeUp::RunAlone;
        let life = Life { failures, recorded: record.is_some(), alone: deadly, deadly, turn: Turn::Own };
        let decoded = match withheld {
            None => decode_onto(events, entry, names),
            Some(size) => Err(Undecodable { entry, error: DecodeError::entry_too_large(size) }),
        };
        if let Err(Undecodable { entry, error }) = decoded {
            let obituary = obituary(&delivery, life, DeadReason::Undecodable(error.reason()), error.to_string());
            self.letters.push(Letter { delivery, entry: entry.on_its_own(), obituary });
            return None;
        }
        if let TakeUp::Dead(reason) = taken_up {
            let event = events.pop()?;
            let error = format!("{} workers died with it in hand", delivery.deliveries());
            let obituary = obituary(&delivery, life, reason, error);
            self.letters.push(Letter { delivery, entry: event.entry.on_its_own(), obituary });
            return None;
        }
        let pause = record.and_then(|record| policy.left(record.due_ms, epoch_ms(SystemTime::now())));
        Some(Duty { delivery, life, pause })
    }
}

impl Job {
    /// Gives it up, for this reason.
    pub fn into_letter(self, reason: DeadReason, error: String) -> Letter {
        let obituary = obituary(&self.delivery, self.life, reason, error);
        Letter { delivery: self.delivery, entry: self.event.entry.on_its_own(), obituary }
    }
}

fn obituary(delivery: &Delivery, life: Life, reason: DeadReason, error: String) -> Obituary {
    let now = epoch_ms(SystemTime::now());
    let in_hand = u64::try_from(delivery.since().elapsed().as_millis()).unwrap_or(u64::MAX);
    Obituary {
        reason,
        error,
        failures: life.failures,
        crashes: delivery.crashes(),
        first_seen_ms: now.saturating_sub(in_hand),
        dead_at_ms: now,
    }
}

/// Milliseconds since the Unix epoch.
pub fn epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
