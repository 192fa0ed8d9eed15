//! The lanes at work: handle, judge, settle, one event of an order at a time.
//!
//! Owns: everything that is in hand, from its admission until it is settled or handed back. One task holds it all, so no event passes
//! a lock or a channel of its own; what takes time (a handler's call, an ack) is a future beside it.
//! Never: a rule (which event may run: `domain::lanes`; what follows from a failure: `domain::retry`); a read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use self::call::{CallEnd, Running, Suspect};
use self::early::Looked;
use self::job::{Admission, Job, Letter};
use self::settle::{AckBatch, Settling};
use crate::broker::Broker;
use crate::broker::delivery::Delivery;
use crate::broker::error::{BrokerError, Unsettled};
use crate::broker::settle::{Buried, Receipt, Settled};
use crate::domain::batch::Source;
use crate::domain::id::EntryId;
use crate::domain::lanes::{Item as _, Lanes, Run};
use crate::domain::notice::Notice;
use crate::handler::{Handler, Limits};
use crate::supervisor::TaskError;
use crate::supervisor::backoff::Backoff;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::task::notifier::Outbox;
use crate::task::nudge::Nudge;
use crate::task::tuning::Tuned;
use crate::telemetry::Telemetry;
use crate::telemetry::event::Levels;
use crate::witness::Witness;

mod call;
mod early;
pub mod job;
mod judge;
mod lease;
mod settle;
mod stop;

/// How events are run (the `[lanes]`, `[dead]` and `[handler]` tables of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many lanes there are: at most so many orders are handled at the same time.
    pub count: usize,
    /// After this time a call of the handler is given up.
    pub timeout: Duration,
    /// So many dead letters are kept.
    pub max_letters: u64,
}

/// The lanes look around at least so often.
const TICK: Duration = Duration::from_secs(1);

/// What is brought to the lanes.
#[derive(Debug)]
pub enum Arrival {
    /// Entries, in the order of the stream.
    Admission(Admission),
    /// Which of these entries are not in hand here?
    Unknown {
        /// The entries.
        ids: Vec<EntryId>,
        /// Those that are not in hand.
        answer: oneshot::Sender<Vec<EntryId>>,
    },
    /// Does so much of what is in hand wait for entries that are not that these need room in any case?
    IsStuck(oneshot::Sender<bool>),
}

/// What the lanes work with.
#[derive(Clone)]
pub struct Parts {
    /// How events are run.
    pub options: Options,
    /// How often leases are renewed.
    pub renew_every: Duration,
    /// What follows from a failure, and the size of the window, for the metrics.
    pub tuning: Tuned,
    /// What gives events their effect.
    pub handler: Arc<dyn Handler>,
    /// Where entries are settled.
    pub broker: Arc<Broker>,
    /// Closed while the handler cannot work.
    pub gate: watch::Sender<Gate>,
    /// Told how many entries were settled.
    pub settled: Nudge,
    /// Where notices of settled events go.
    pub outbox: Outbox,
    /// Where everything that happens is told.
    pub telemetry: Telemetry,
}

/// Whether reading makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It does.
    Open,
    /// What the handler depends on is away, for this reason.
    Closed(String),
}

/// The lanes, and everything that is in hand.
pub struct LaneTask {
    parts: Parts,
    limits: Limits,
    source: Arc<Source>,
    lanes: Lanes<Job>,
    running: HashMap<u64, Running>,
    /// What takes time. Each step has a number, under which the entries that it holds are noted.
    steps: FuturesUnordered<BoxFuture<'static, Step>>,
    in_flight: HashMap<u64, Vec<EntryId>>,
    number: u64,
    acks: Settling<AckBatch>,
    letters: Settling<VecDeque<Letter>>,
    outage: Option<Outage>,
    beginning: usize,
    /// Whether an event is under way that has to run alone.
    suspect: Suspect,
    /// Whether an event may wait that is suspected of killing workers.
    has_deadly: bool,
    witness: Witness,
    begin_again: Backoff,
    no_begin_before: Instant,
    renewed: Instant,
    renewing: bool,
    watch: early::Watch,
    looked_around: Instant,
}

/// What the handler depends on is away.
struct Outage {
    since: Instant,
    probe_at: Instant,
    backoff: Backoff,
}

/// The end of something that took time.
enum Step {
    /// A try of entries that were taken up was begun at Redis.
    Begun(u64, Begun),
    /// A call of the handler came back.
    Called(u64, CallEnd),
    /// Entries were acknowledged.
    Acked(u64, (Settled, Receipt<Vec<Notice>>), AckBatch),
    /// They could not be.
    NotAcked(u64, Unsettled<Vec<Delivery>>, AckBatch),
    /// An entry was buried.
    Buried(u64, EntryId, Buried),
    /// It could not be.
    NotBuried(u64, Letter, BrokerError),
    /// A retry record was written, or not.
    Parked(EntryId, Result<bool, BrokerError>),
    /// Leases were renewed, or not.
    Renewed(usize, Result<Vec<EntryId>, BrokerError>),
    /// It was looked how far the others are.
    Looked(Looked),
}

struct Begun {
    run: Run<Job>,
    result: Result<Vec<EntryId>, BrokerError>,
}

impl LaneTask {
    /// Lanes without anything in hand. Whoever takes entries up holds `taking_up` meanwhile.
    pub fn new(parts: Parts, taking_up: Arc<Mutex<()>>) -> Self {
        let keys = parts.broker.keys();
        let source = Arc::new(Source { stream: keys.stream.clone(), group: keys.group.clone() });
        let now = Instant::now();
        Self {
            limits: parts.handler.limits(),
            source,
            lanes: Lanes::new(parts.options.count),
            running: HashMap::new(),
            steps: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            number: 0,
            acks: Settling::new(now),
            letters: Settling::new(now),
            outage: None,
            beginning: 0,
            suspect: Suspect::None,
            has_deadly: false,
            witness: Witness::new(),
            begin_again: settle::backoff(),
            no_begin_before: now,
            renewed: now,
            renewing: false,
            watch: early::Watch::new(taking_up, now),
            looked_around: now,
            parts,
        }
    }

    /// Runs until nobody can bring anything more and everything in hand is settled or handed back.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Arrival>,
        shutdown: Shutdown,
        heartbeat: Heartbeat,
    ) -> Result<(), TaskError> {
        let mut open = true;
        loop {
            heartbeat.beat();
            let now = Instant::now();
            self.advance(now);
            if !open && self.is_finished() {
                break;
            }
            let wake_at = self.wake_at(now);
            tokio::select! {
                biased;
                () = shutdown.abandoning().cancelled() => break,
                Some(step) = self.steps.next(), if !self.steps.is_empty() => match step {
                    Step::Looked(looked) => self.looked(looked, &mut inbox),
                    step => self.take_step(step),
                },
                arrival = inbox.recv(), if open => match arrival {
                    Some(arrival) => self.arrived(arrival),
                    None => open = false,
                },
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
        }
        inbox.close();
        while let Ok(arrival) = inbox.try_recv() {
            self.arrived(arrival);
        }
        self.hand_back().await;
        Ok(())
    }

    /// Starts everything that can be started now.
    fn advance(&mut self, now: Instant) {
        self.lanes.release(now);
        self.start_calls(now);
        self.start_ack(now);
        self.start_burial(now);
        self.start_renewal(now);
        self.start_look(now);
        if now.duration_since(self.looked_around) >= TICK {
            self.looked_around = now;
            self.tell_levels();
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Admission(Admission { jobs, waiting, letters }) => {
                self.has_deadly |= jobs.iter().chain(waiting.iter().map(|(job, _)| job)).any(|job| job.life.deadly);
                jobs.into_iter().for_each(|job| self.lanes.admit(job));
                waiting.into_iter().for_each(|(job, due)| self.lanes.block(job, due));
                self.letters.waiting.extend(letters);
            }
            Arrival::Unknown { mut ids, answer } => {
                let held = self.held_ids();
                ids.retain(|id| !held.contains(id));
                // Who asked may be gone; then nobody wants to know.
                let _ = answer.send(ids);
            }
            Arrival::IsStuck(answer) => drop(answer.send(self.is_stuck())),
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Begun(number, begun) => self.begun(number, begun),
            Step::Called(number, end) => self.called(number, end),
            Step::Acked(number, (settled, receipt), batch) => self.acked(number, settled, receipt, &batch),
            Step::NotAcked(number, unsettled, batch) => self.not_acked(number, unsettled, batch),
            Step::Buried(number, id, buried) => self.buried(number, id, buried),
            Step::NotBuried(number, letter, error) => self.not_buried(number, letter, &error),
            Step::Parked(id, result) => self.parked(id, result),
            Step::Renewed(count, result) => self.renewed(count, result),
            Step::Looked(_) => {}
        }
    }

    /// When there is something to do even if nothing happens.
    fn wake_at(&self, now: Instant) -> Instant {
        let renewal = self.renewed + self.parts.renew_every;
        let times = [
            self.lanes.next_due(),
            self.outage.as_ref().map(|outage| outage.probe_at),
            self.acks.wake_at(),
            self.letters.wake_at(),
            (!self.renewing).then_some(renewal),
            self.look_at(),
            (self.lanes.queued() > 0 && self.no_begin_before > now).then_some(self.no_begin_before),
        ];
        let next = times.into_iter().flatten().filter(|time| *time > now).min();
        next.map_or(now + TICK, |next| next.min(now + TICK))
    }

    /// A number for a step, under which the entries that it takes along are noted.
    fn note_in_flight(&mut self, ids: Vec<EntryId>) -> u64 {
        self.number += 1;
        self.in_flight.insert(self.number, ids);
        self.number
    }

    fn held_ids(&self) -> std::collections::HashSet<EntryId> {
        let running = self.running.values().flat_map(Running::ids);
        let letters = self.letters.waiting.iter().map(|letter| letter.delivery.id());
        let acks = self.acks.waiting.deliveries.iter().map(Delivery::id);
        let in_flight = self.in_flight.values().flatten().copied();
        self.lanes.iter().map(Job::id).chain(running).chain(letters).chain(acks).chain(in_flight).collect()
    }

    fn tell_levels(&self) {
        let running: usize = self.running.values().map(Running::len).sum();
        let settling = self.acks.waiting.deliveries.len() + self.letters.waiting.len();
        let in_flight: usize = self.in_flight.values().map(Vec::len).sum();
        let parked = self.lanes.blocked();
        let in_hand = self.lanes.queued() + parked + running + settling + in_flight;
        self.parts.telemetry.emit(Levels { in_hand, parked, window: self.parts.tuning.borrow().in_flight });
    }
}
