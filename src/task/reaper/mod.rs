//! The reaper: takes over what dead workers left, and removes their names.
//!
//! Owns: the cursor of the sweep, kept from call to call: a sweep that starts at the front each time never gets past a front of live
//! entries.
//! Never: more than the window has room for, unless what fills it waits for just that; an entry that is in hand here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::clock::{OwnView, ServerClock};
use self::outage::Outages;
use super::intake::{LanesGone, Shared};
use super::lane::Gate;
use crate::broker::claim::{Claimed, Found, MOST_IN_A_CALL, Owned};
use crate::broker::delivery::{Origin, Places};
use crate::broker::error::BrokerError;
use crate::bug;
use crate::crash;
use crate::domain::id::{ConsumerName, EntryId};
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::event::{ConsumersRemoved, EntriesReclaimed, Source};

mod clock;
mod outage;

/// When an entry counts as left behind (the `[reaper]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often the group is swept.
    pub interval: Duration,
    /// An entry that nobody has renewed for so long is taken over.
    pub claim_after: Duration,
    /// The most entries taken over in one call.
    pub batch: usize,
}

impl Options {
    /// How often what is held is renewed: three times before it would count as left behind.
    pub fn renew_every(&self) -> Duration {
        self.claim_after / 3
    }
}

/// While the server's clock cannot be believed, so many pending entries are watched at the most, in pages of so many.
const OWN_VIEW: usize = 20_000;
const PAGE: usize = 500;

/// The reaper.
pub struct Reaper {
    shared: Shared,
    options: Options,
    /// Under this name entries are taken over.
    consumer: ConsumerName,
    /// The consumers of this process.
    own: Vec<ConsumerName>,
    /// Told when a sweep is due before its time.
    sweep: Arc<Notify>,
    clock: ServerClock,
    view: OwnView,
    outages: Outages,
}

impl Reaper {
    /// A reaper that takes entries over for the first of `own`, the consumers of this process.
    /// It sweeps each interval, and when `sweep` is notified.
    pub fn new(shared: Shared, options: Options, own: Vec<ConsumerName>, sweep: Arc<Notify>) -> Option<Self> {
        let consumer = own.first()?.clone();
        let outages = Outages::new(shared.broker.connector().availability(), options.renew_every());
        let (clock, view) = (ServerClock::default(), OwnView::default());
        Some(Self { shared, options, consumer, own, sweep, clock, view, outages })
    }

    /// Sweeps until it is told to stop.
    pub async fn run(mut self, shutdown: Shutdown, heartbeat: Heartbeat) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(()),
                () = heartbeat.while_waiting(self.due()) => {}
            }
            if *self.shared.gate.borrow() != Gate::Open {
                // Another worker's handler may work; ours does not.
                continue;
            }
            if let Err(error) = heartbeat.while_waiting(self.sweep(&shutdown)).await? {
                tracing::debug!(%error, "the sweep was cut short");
            }
        }
    }

    /// Waits for the interval, a fifth more or less so that replicas do not sweep in step, or for a word that there is something to take;
    /// and after an outage until everybody who is alive could say so.
    async fn due(&mut self) {
        let pause = self.options.interval.mul_f64(0.8 + 0.4 * fastrand::f64());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.sweep.notified() => {}
        }
        self.outages.have_passed().await;
    }

    /// Goes through the whole group once, in bounded calls, and then through its consumers. What was claimed is always taken up.
    async fn sweep(&mut self, shutdown: &Shutdown) -> Result<Result<(), BrokerError>, LanesGone> {
        let (time, newest) = match self.shared.broker.time_and_newest_pending().await {
            Ok(known) => known,
            Err(error) => return Ok(Err(error)),
        };
        if self.clock.is_doubtful(Instant::now(), time, newest) {
            if let Err(error) = self.sweep_by_own_view(shutdown).await? {
                return Ok(Err(error));
            }
        } else {
            self.view.forget();
        }
        let mut cursor = EntryId::MIN;
        loop {
            // The window is asked first: what is claimed has to have a place.
            let taking_up = self.shared.taking_up.lock().await;
            let Some(places) = self.room(shutdown, self.options.batch.min(MOST_IN_A_CALL)).await? else {
                return Ok(Ok(()));
            };
            let most = places.count();
            let claimed = self.shared.broker.claim(&self.consumer, self.options.claim_after, cursor, most).await;
            let Claimed { found, cursor: next } = match claimed {
                Ok(claimed) => claimed,
                Err(error) => return Ok(Err(self.after(error))),
            };
            crash::point("after-claim");
            self.take_up(found, places).await?;
            drop(taking_up);
            if next == EntryId::MIN || bug::is("sweep-from-the-front") {
                break;
            }
            cursor = next;
        }
        Ok(self.remove_consumers().await)
    }

    /// Takes over what has not moved for `claim_after` by our own clock, and whose worker is not alive.
    async fn sweep_by_own_view(&mut self, shutdown: &Shutdown) -> Result<Result<(), BrokerError>, LanesGone> {
        let left = match self.left_by_own_view().await {
            Ok(left) => left,
            Err(error) => return Ok(Err(error)),
        };
        for held in left {
            let _taking_up = self.shared.taking_up.lock().await;
            let Some(places) = self.room(shutdown, 1).await? else { return Ok(Ok(())) };
            match self.shared.broker.seize(&self.consumer, &held).await {
                Ok(found) => self.take_up(found, places).await?,
                Err(error) => return Ok(Err(self.after(error))),
            }
        }
        Ok(Ok(()))
    }

    /// After a call that was not answered: what it took over is ours, and not here. Whoever reads next looks for it in the own pending list,
    /// which copes with an entry that is more than the server holds for a client. Not the reaper: what a read under way brings is pending
    /// here and not in hand yet, too.
    fn after(&self, error: BrokerError) -> BrokerError {
        if error.breaks_connection() {
            self.shared.unanswered.send_replace(Some(self.consumer.clone()));
        }
        error
    }

    async fn left_by_own_view(&mut self) -> Result<Vec<Owned>, BrokerError> {
        let broker = &self.shared.broker;
        let mut pending = Vec::new();
        let mut lowest = EntryId::MIN;
        while pending.len() < OWN_VIEW {
            let page = broker.pending_page(lowest, PAGE).await?;
            let next = page.last().and_then(|held| held.id.next()).filter(|_| page.len() == PAGE);
            pending.extend(page.into_iter().filter(|held| !self.own.contains(&held.owner)));
            let Some(next) = next else { break };
            lowest = next;
        }
        let mut left = self.view.unmoved(Instant::now(), pending, self.options.claim_after);
        let mut alive: HashMap<String, bool> = HashMap::new();
        for held in &left {
            let instance = instance_of(&held.owner);
            if !alive.contains_key(instance) {
                alive.insert(instance.to_owned(), broker.is_name_locked(instance).await?);
            }
        }
        left.retain(|held| !alive.get(instance_of(&held.owner)).copied().unwrap_or(true));
        Ok(left)
    }

    /// Places for what is about to be claimed, once there are any; `None` when the daemon is stopping.
    async fn room(&self, shutdown: &Shutdown, most: usize) -> Result<Option<Places>, LanesGone> {
        tokio::select! {
            () = shutdown.stopping().cancelled() => Ok(None),
            places = self.shared.places_for_old(most) => places.map(Some),
        }
    }

    /// Brings what was found to the lanes, unless it is there already.
    async fn take_up(&self, found: Found, places: Places) -> Result<(), LanesGone> {
        self.shared.tell_lost(&found.gone, "while it was pending with a worker that is gone");
        let pending = self.shared.unknown(found.pending).await?;
        if !pending.is_empty() {
            self.shared.telemetry.emit(EntriesReclaimed { count: pending.len() });
        }
        // No more was asked for than there are places, so nothing is left over.
        self.shared.take_up(pending, places, &self.consumer, (Origin::TakenUp, Source::Claimed)).await.map(drop)
    }

    /// Removes consumers that have nothing pending and whose process is gone: its name is not locked, and it has done nothing for long.
    async fn remove_consumers(&self) -> Result<(), BrokerError> {
        let broker = &self.shared.broker;
        let mut count = 0;
        for info in broker.consumers().await? {
            if info.pending > 0 || info.idle < self.options.claim_after || self.own.contains(&info.name) {
                continue;
            }
            let instance = instance_of(&info.name);
            if !broker.is_name_locked(instance).await? && broker.remove_consumer(&info.name).await? {
                count += 1;
            }
        }
        if count > 0 {
            self.shared.telemetry.emit(ConsumersRemoved { count });
        }
        Ok(())
    }
}

/// The instance that a consumer belongs to, by its name: `<instance>-<index>`.
pub fn instance_of(consumer: &ConsumerName) -> &str {
    consumer.as_str().rsplit_once('-').map_or(consumer.as_str(), |(instance, _)| instance)
}
