//! The road: lanes, consumers and reaper of one life, under one name.
//!
//! Owns: their order. The group is made sure of, the name taken, what an earlier life left is taken up oldest first, and only then is
//! anything new read; on the way out, the lanes finish last. When the lanes or the name are lost, all of it begins again.
//! Never: a new entry read while an older one of the same names is not in hand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc, watch};

use super::consumer::{self, Consumer};
use super::intake::Shared;
use super::lane::{self, LaneTask};
use super::name::{Name, NameError};
use super::reaper::{self, Reaper};
use super::trouble::Trouble;
use super::tuning::Tuned;
use crate::broker::claim::{MOST_IN_A_CALL, Pending};
use crate::broker::delivery::{Origin, Received, Window};
use crate::broker::error::{BrokerError, Trouble as RedisTrouble};
use crate::broker::group::{Ensured, Start};
use crate::domain::decode::FieldNames;
use crate::domain::id::{ConsumerName, EntryId};
use crate::supervisor::backoff::Backoff;
use crate::supervisor::heartbeat::Heartbeats;
use crate::supervisor::phase::{Phase, Phases};
use crate::supervisor::shutdown::Shutdown;
use crate::supervisor::{Supervisor, TaskError};
use crate::telemetry::event::{GroupCreated, InstanceName, Source};

/// Batches that may wait for the lanes. The window bounds the entries in them.
const INBOX: usize = 64;
/// A task that shows no sign of life for so long, beyond what it rightly waits, is stuck.
const SILENCE: Duration = Duration::from_secs(30);

/// What the road is made of.
#[derive(Clone)]
pub struct Parts {
    /// The name that is wanted.
    pub instance: String,
    /// Where a new group starts.
    pub start: Start,
    /// Which field says what.
    pub names: FieldNames,
    /// How the consumers read.
    pub consumers: consumer::Options,
    /// When an entry counts as left behind.
    pub reaper: reaper::Options,
    /// What the lanes work with.
    pub lanes: lane::Parts,
    /// What keeps reading from working.
    pub trouble: Arc<Trouble>,
    /// The phase of the daemon.
    pub phases: Phases,
    /// The signs of life.
    pub heartbeats: Arc<Heartbeats>,
    /// Told to stop, or to let go.
    pub shutdown: Shutdown,
}

/// Runs the road until it is told to stop, or until a part of it is lost that cannot be replaced alone.
pub async fn run(parts: Parts) -> Result<(), TaskError> {
    let Some(name) = prepare(&parts).await? else { return Ok(()) };
    let consumers: Vec<ConsumerName> = (0..parts.consumers.count).map(|index| name.consumer(index)).collect();
    let telemetry = parts.lanes.telemetry.clone();
    let shutdown = parts.shutdown.part();
    let (inbox, arrivals) = mpsc::channel(INBOX);
    let taking_up = Arc::new(Mutex::default());
    let shared = Shared {
        block: parts.consumers.block,
        names: parts.names.clone(),
        tuning: parts.lanes.tuning.clone(),
        broker: Arc::clone(&parts.lanes.broker),
        window: Window::new(parts.lanes.tuning.borrow().in_flight, telemetry.clone()),
        inbox,
        gate: parts.lanes.gate.subscribe(),
        turn: Arc::default(),
        taking_up: Arc::clone(&taking_up),
        unanswered: watch::Sender::default(),
        trouble: Arc::clone(&parts.trouble),
        telemetry: telemetry.clone(),
    };
    let mut tasks = Supervisor::new(shutdown.clone(), telemetry);
    let lanes = LaneTask::new(parts.lanes.clone(), taking_up);
    tasks.spawn_once("lanes", lanes.run(arrivals, shutdown.clone(), parts.heartbeats.register("lanes", SILENCE)));
    tasks.spawn_once("window", resize(Arc::clone(&shared.window), shared.tuning.clone(), shutdown.clone()));
    let keeper = parts.heartbeats.register("name", SILENCE);
    let sweep = Arc::new(Notify::new());
    let keeping = name.clone().keep(Arc::clone(&shared.broker), Arc::clone(&sweep), shutdown.clone(), keeper);
    tasks.spawn_once("name", keeping);
    tasks.spawn_once("road", open(parts.clone(), shared, consumers, sweep, shutdown.clone()));
    let ended = tasks.run().await.map_err(|gave_up| TaskError::new(gave_up.error));
    if ended.is_ok()
        && let Err(error) = name.give_up(&parts.lanes.broker, parts.consumers.count).await
    {
        tracing::debug!(%error, "the name runs out by itself");
    }
    ended
}

/// Keeps the window as large as it is to be.
async fn resize(window: Arc<Window>, mut tuning: Tuned, shutdown: Shutdown) -> Result<(), TaskError> {
    loop {
        let size = tuning.borrow_and_update().in_flight;
        window.resize(size);
        tokio::select! {
            () = shutdown.stopping().cancelled() => return Ok(()),
            Ok(()) = tuning.changed() => {}
            // Nobody is left who could change it.
            else => return Ok(()),
        }
    }
}

/// Takes up what an earlier life left, and then starts consumers and reaper.
async fn open(
    parts: Parts,
    shared: Shared,
    consumers: Vec<ConsumerName>,
    sweep: Arc<Notify>,
    shutdown: Shutdown,
) -> Result<(), TaskError> {
    tokio::select! {
        () = shutdown.stopping().cancelled() => return Ok(()),
        resumed = resume(&shared, &consumers) => resumed?,
    }
    let mut tasks = Supervisor::new(shutdown.clone(), shared.telemetry.clone());
    for name in &consumers {
        let (shared, name, shutdown) = (shared.clone(), name.clone(), shutdown.clone());
        let (heartbeats, silence) = (Arc::clone(&parts.heartbeats), SILENCE + parts.consumers.block);
        let mut first = true;
        tasks.spawn("consumer", move || {
            let consumer = Consumer::new(shared.clone(), name.clone(), std::mem::take(&mut first));
            consumer.run(shutdown.clone(), heartbeats.register(name.to_string(), silence))
        });
    }
    let heartbeats = Arc::clone(&parts.heartbeats);
    tasks.spawn("reaper", move || {
        let reaper = Reaper::new(shared.clone(), parts.reaper, consumers.clone(), Arc::clone(&sweep));
        let running = reaper.map(|reaper| reaper.run(shutdown.clone(), heartbeats.register("reaper", SILENCE)));
        async move { if let Some(running) = running { running.await } else { Ok(()) } }
    });
    parts.phases.enter(Phase::Running);
    tasks.run().await.map_err(TaskError::new)
}

/// Makes sure of the group and takes a name, however long Redis is away. `None` when the daemon is to stop before that.
async fn prepare(parts: &Parts) -> Result<Option<Name>, TaskError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let telemetry = &parts.lanes.telemetry;
    loop {
        let prepared = tokio::select! {
            () = parts.shutdown.stopping().cancelled() => return Ok(None),
            prepared = try_prepare(parts) => prepared,
        };
        match prepared {
            Ok(name) => {
                telemetry.emit(InstanceName { wanted: &parts.instance, got: name.instance() });
                parts.trouble.is_over();
                return Ok(Some(name));
            }
            Err(NameError::Broker(error)) => parts.trouble.is(&error),
            Err(error @ NameError::AllTaken(_)) => return Err(TaskError::new(error)),
        }
        if !parts.shutdown.pause(backoff.failed()).await {
            return Ok(None);
        }
    }
}

async fn try_prepare(parts: &Parts) -> Result<Name, NameError> {
    let broker = &parts.lanes.broker;
    if let Ensured::Created(after) = broker.ensure_group(parts.start).await? {
        let at = after.map_or_else(|| "$".to_owned(), |id| id.to_string());
        parts.lanes.telemetry.emit(GroupCreated { at, lost: false });
    }
    Name::take(broker, &parts.instance).await
}

/// What one consumer of an earlier life left.
struct Left {
    consumer: ConsumerName,
    page: VecDeque<Pending>,
    next: Option<EntryId>,
}

/// Takes up what is pending under our names, oldest first over all of them, as the window allows.
async fn resume(shared: &Shared, consumers: &[ConsumerName]) -> Result<(), TaskError> {
    let left =
        consumers.iter().map(|name| Left { consumer: name.clone(), page: VecDeque::new(), next: Some(EntryId::MIN) });
    let mut left: Vec<Left> = left.collect();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let mut places = shared.places_for_old(shared.batch()).await?;
        let mut received: Vec<Received> = Vec::new();
        while places.count() > 0 {
            if let Err(error) = fill(shared, &mut left).await {
                shared.trouble.is(&error);
                if let RedisTrouble::GroupGone(_) = error.trouble {
                    // The road begins again with making sure of the group.
                    return Err(TaskError::new(error));
                }
                tokio::time::sleep(backoff.failed()).await;
                continue;
            }
            let oldest = left.iter_mut().filter(|left| !left.page.is_empty());
            let oldest = oldest.min_by_key(|left| left.page.front().map(|pending| pending.entry.id));
            let Some(Left { consumer, page, .. }) = oldest else { break };
            let pending = page.pop_front();
            received.extend(pending.and_then(|pending| pending.accept(consumer, Origin::TakenUp, &mut places)));
        }
        drop(places);
        if received.is_empty() {
            return Ok(());
        }
        shared.admit(received, Source::Own).await?;
    }
}

/// Fetches the next page of each list that has run out.
async fn fill(shared: &Shared, left: &mut [Left]) -> Result<(), BrokerError> {
    for left in left {
        while left.page.is_empty()
            && let Some(lowest) = left.next
        {
            let most = shared.batch().min(MOST_IN_A_CALL);
            let found = shared.broker.own_pending(&left.consumer, lowest, most).await?;
            shared.tell_lost(&found.gone, "while it was pending here");
            left.next = if found.more { found.last().and_then(EntryId::next) } else { None };
            left.page = found.pending.into();
        }
    }
    Ok(())
}
