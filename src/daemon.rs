//! The daemon: every part, put together. The one place where they meet.
//!
//! Owns: what is made from which setting, the order of starting and stopping, and the deadline of a stop.
//! Never: a signal (that is `cli::run`), or work of its own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::status::status;
use crate::admin::live::Live;
use crate::admin::{self, AdminServer, AdminState};
use crate::broker::Broker;
use crate::broker::connect::Connector;
use crate::broker::error::Trouble as RedisTrouble;
use crate::broker::keys::Keys;
use crate::domain::told::Told;
use crate::handler::Handler;
use crate::handler::log::LogHandler;
use crate::handler::none::NoneHandler;
use crate::handler::record::RecordHandler;
use crate::ledger::location::Location;
use crate::ledger::postgres::PostgresLedger;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{self, Ledger};
use crate::settings::{HandlerKind, Settings};
use crate::supervisor::backoff::Backoff;
use crate::supervisor::heartbeat::Heartbeats;
use crate::supervisor::phase::{Phase, Phases, Readiness};
use crate::supervisor::shutdown::Shutdown;
use crate::supervisor::systemd;
use crate::supervisor::{GaveUp, Supervisor, TaskError};
use crate::task::bookkeeper::Bookkeeper;
use crate::task::gap::{self, CannotLook};
use crate::task::lane::{self, Gate};
use crate::task::notifier::{Notifier, Outbox};
use crate::task::nudge::Nudge;
use crate::task::readiness::Sources;
use crate::task::trimmer::Trimmer;
use crate::task::trouble::Trouble;
use crate::task::tuning::Tuning;
use crate::task::{feeder, road, surveyor};
use crate::telemetry::Telemetry;
use crate::telemetry::event::{GapAccepted, Stopped};

mod error;
mod status;

pub use error::{BuildError, RunError};

/// The task that ends when the handler can never work again.
pub const HANDLER: &str = "handler";
/// A chore that shows no sign of life for so long is stuck.
const SILENCE: Duration = Duration::from_secs(30);
/// How long handing back may take after the grace is over.
const AFTER_GRACE: Duration = Duration::from_secs(5);
/// How long leaving the last mark may take.
const LAST_MARK: Duration = Duration::from_secs(1);

/// The most browsers that watch at the same time.
const BROWSERS: usize = 1000;
/// How often a silent stream shows a browser that it is alive.
const BROWSER_HEARTBEAT: Duration = Duration::from_secs(15);

/// A daemon, ready to run.
pub struct Daemon {
    settings: Settings,
    handler: Arc<dyn Handler>,
    /// Where the handler is the one that comes with orderd.
    ledger: Option<Arc<dyn Ledger>>,
    broker: Arc<Broker>,
    telemetry: Telemetry,
    heartbeats: Arc<Heartbeats>,
    phases: Phases,
    tuning: watch::Sender<Tuning>,
    gate: watch::Sender<Gate>,
    trouble: Arc<Trouble>,
    readiness: watch::Sender<Readiness>,
    /// Where what is told live goes on to the browsers, if any can watch.
    watchers: Option<mpsc::Sender<Told>>,
    admin: AdminServer,
    accept_gap: bool,
}

impl Daemon {
    /// Puts a daemon together from `settings`: opens the ledger and the admin server. Redis need not be there yet.
    pub fn build(settings: Settings, telemetry: Telemetry) -> Result<Self, BuildError> {
        let handler: Arc<dyn Handler> = match (settings.handler, &settings.ledger) {
            (HandlerKind::Ledger, Location::Sqlite(path)) => {
                let parts = ledger::Parts { rules: settings.rules.clone(), telemetry: telemetry.clone() };
                let ledger = SqliteLedger::open(path, parts)?;
                // Only who is told of an order wants to know where it stands.
                let ledger = if settings.notify.enabled { ledger.telling_effects() } else { ledger };
                return Self::with_ledger(settings, telemetry, Arc::new(ledger));
            }
            (HandlerKind::Ledger, Location::Postgres(address)) => {
                let parts = ledger::Parts { rules: settings.rules.clone(), telemetry: telemetry.clone() };
                let ledger = PostgresLedger::open(address, parts, settings.lanes.timeout)?;
                let ledger = if settings.notify.enabled { ledger.telling_effects() } else { ledger };
                return Self::with_ledger(settings, telemetry, Arc::new(ledger));
            }
            (HandlerKind::Log, _) => Arc::new(LogHandler),
            (HandlerKind::None, _) => Arc::new(NoneHandler),
        };
        Self::with_handler(settings, telemetry, handler)
    }

    /// The same with a `ledger` that was opened before, in place of the one in `settings`.
    pub fn with_ledger(settings: Settings, telemetry: Telemetry, ledger: Arc<dyn Ledger>) -> Result<Self, BuildError> {
        let handler = Arc::new(RecordHandler::new(Arc::clone(&ledger)));
        let mut daemon = Self::with_handler(settings, telemetry, handler)?;
        daemon.ledger = Some(ledger);
        Ok(daemon)
    }

    /// The same with a handler of one's own, in place of the one in `settings`.
    pub fn with_handler(
        settings: Settings,
        telemetry: Telemetry,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, BuildError> {
        let connector = Connector::new(settings.redis.clone(), &settings.instance, telemetry.clone())?;
        let keys = Keys::new(settings.stream.key.clone(), settings.stream.group.clone());
        let phases = Phases::new(telemetry.clone());
        let starting = Readiness { ready: false, reasons: vec![Phase::Starting.as_str().to_owned()] };
        let readiness = watch::Sender::new(starting);
        let heartbeats = Arc::new(Heartbeats::new());
        let (watchers, live) = live(&settings).unzip();
        let state = AdminState {
            telemetry: telemetry.clone(),
            readiness: readiness.subscribe(),
            heartbeats: Arc::clone(&heartbeats),
            live,
        };
        Ok(Self {
            handler,
            ledger: None,
            broker: Arc::new(Broker::new(Arc::new(connector), keys)),
            heartbeats,
            phases,
            tuning: watch::Sender::new(settings.tuning),
            gate: watch::Sender::new(Gate::Open),
            trouble: Arc::new(Trouble::new(telemetry.clone())),
            readiness,
            watchers,
            admin: admin::start(settings.admin.clone(), state)?,
            telemetry,
            accept_gap: false,
            settings,
        })
    }

    /// Goes on if the ledger lacks events that were acknowledged. Without this, [`Daemon::run`] refuses.
    #[must_use]
    pub fn accepting_gap(mut self, accept: bool) -> Self {
        self.accept_gap = accept;
        self
    }

    /// Where the admin server listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Follows whether it is at work.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Follows the phase that it is in.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phases.follow()
    }

    /// What can be changed while it runs: what is sent here holds from then on.
    pub fn tuning(&self) -> watch::Sender<Tuning> {
        self.tuning.clone()
    }

    /// Runs until `shutdown` tells it to stop and everything in hand is settled or handed back, or until a task gives up.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        self.refuse_if_denied().await?;
        let sources = Sources {
            phase: self.phases.follow(),
            redis: self.broker.connector().availability(),
            reading: self.trouble.follow(),
            gate: self.gate.subscribe(),
        };
        let settled = Nudge::new(self.tuning.borrow().trimmer.nudge(0));
        let status = status(self.telemetry.clone(), settled.clone(), self.readiness.subscribe());
        let heartbeats = Arc::clone(&self.heartbeats);
        tokio::select! {
            ended = self.live(&shutdown, settled) => ended,
            never = systemd::follow(self.phases.follow(), heartbeats, status) => match never {},
            never = sources.follow(self.readiness.clone()) => match never {},
        }
    }

    async fn live(&self, shutdown: &Shutdown, settled: Nudge) -> Result<(), RunError> {
        if let Some(ledger) = &self.ledger {
            tokio::select! {
                () = shutdown.stopping().cancelled() => return Ok(()),
                looked = self.look_for_gap(&**ledger) => looked?,
            }
        }
        let tasks = self.start(shutdown, settled).run();
        tokio::pin!(tasks);
        let ended = tokio::select! {
            ended = &mut tasks => ended,
            () = shutdown.stopping().cancelled() => self.drain(tasks, shutdown).await,
        };
        if let (Some(ledger), Ok(())) = (&self.ledger, &ended) {
            // The last mark is the one that counts when the ledger is exchanged while nobody works. It is no reason to be late.
            let _ = tokio::time::timeout(LAST_MARK, gap::leave_mark(&self.broker, &**ledger)).await;
        }
        self.phases.enter(Phase::Stopped);
        Ok(ended?)
    }

    /// Compares the ledger with what it was when it was last seen here, however long Redis is away.
    async fn look_for_gap(&self, ledger: &dyn Ledger) -> Result<(), RunError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            match gap::look(&self.broker, ledger).await {
                Ok(None) => break,
                Ok(Some(missing)) if self.accept_gap => {
                    self.telemetry.emit(GapAccepted { missing: &missing.to_string() });
                    break;
                }
                Ok(Some(missing)) => return Err(RunError::Gap(Box::new(missing))),
                Err(CannotLook::Redis(error)) => self.trouble.is(&error),
                Err(CannotLook::Ledger(error)) => drop(self.gate.send_replace(Gate::Closed(error.to_string()))),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
        self.gate.send_replace(Gate::Open);
        Ok(())
    }

    /// Waits for the tasks to finish what is in hand, as long as the grace allows.
    async fn drain(
        &self,
        mut tasks: Pin<&mut impl Future<Output = Result<(), GaveUp>>>,
        shutdown: &Shutdown,
    ) -> Result<(), GaveUp> {
        self.phases.enter(Phase::Draining);
        let began = Instant::now();
        let ended = match tokio::time::timeout(self.settings.grace, &mut tasks).await {
            Ok(ended) => ended,
            Err(_) => {
                shutdown.abandon();
                tokio::time::timeout(AFTER_GRACE, tasks).await.unwrap_or(Ok(()))
            }
        };
        self.telemetry.emit(Stopped { took: began.elapsed() });
        ended
    }

    fn start(&self, shutdown: &Shutdown, settled: Nudge) -> Supervisor {
        let mut tasks = Supervisor::new(shutdown.clone(), self.telemetry.clone());
        let outbox = self.notifier(&mut tasks, shutdown);
        self.feeder(&mut tasks, shutdown);
        let road = self.road(settled.clone(), outbox, shutdown);
        tasks.spawn("road", move || road::run(road.clone()));

        let (handler, stop) = (Arc::clone(&self.handler), shutdown.clone());
        tasks.spawn_once(HANDLER, async move {
            tokio::select! {
                () = stop.stopping().cancelled() => Ok(()),
                reason = handler.broken() => Err(TaskError::new(reason)),
            }
        });

        let (heartbeats, parts) = (Arc::clone(&self.heartbeats), (Arc::clone(&self.broker), self.telemetry.clone()));
        let (tuning, stop) = (self.tuning.subscribe(), shutdown.clone());
        tasks.spawn("trimmer", move || {
            let (broker, telemetry) = parts.clone();
            let trimmer = Trimmer::new(tuning.clone(), broker, settled.clone(), telemetry);
            trimmer.run(stop.clone(), heartbeats.register("trimmer", SILENCE))
        });

        let (heartbeats, parts) = (Arc::clone(&self.heartbeats), (Arc::clone(&self.broker), self.telemetry.clone()));
        let stop = shutdown.clone();
        tasks.spawn("surveyor", move || {
            let (broker, telemetry) = parts.clone();
            surveyor::run(broker, telemetry, stop.clone(), heartbeats.register("surveyor", SILENCE))
        });
        if let Some(ledger) = &self.ledger {
            self.start_bookkeeper(&mut tasks, ledger, shutdown);
        }
        tasks
    }

    fn start_bookkeeper(&self, tasks: &mut Supervisor, ledger: &Arc<dyn Ledger>, shutdown: &Shutdown) {
        let (options, heartbeats, stop) = (self.settings.bookkeeper, Arc::clone(&self.heartbeats), shutdown.clone());
        let parts = (Arc::clone(&self.broker), Arc::clone(ledger), self.telemetry.clone());
        tasks.spawn("bookkeeper", move || {
            let (broker, ledger, telemetry) = parts.clone();
            let bookkeeper = Bookkeeper::new(options, broker, ledger, telemetry);
            bookkeeper.run(stop.clone(), heartbeats.register("bookkeeper", SILENCE))
        });
    }

    /// Starts the notifier, if there is to be one. It ends when the lanes have, and with them every copy of the outbox.
    fn notifier(&self, tasks: &mut Supervisor, shutdown: &Shutdown) -> Outbox {
        if !self.settings.notify.enabled {
            return Outbox::closed();
        }
        let form = self.settings.notify.form.clone();
        let (outbox, notices) = Outbox::open(form.clone(), self.telemetry.clone());
        let (heartbeats, telemetry) = (Arc::clone(&self.heartbeats), self.telemetry.clone());
        let (connector, stop) = (Arc::clone(self.broker.connector()), shutdown.clone());
        tasks.spawn("notifier", move || {
            let notifier = Notifier::new(form.clone(), Arc::clone(&connector), telemetry.clone());
            notifier.run(notices.clone(), stop.clone(), heartbeats.register("notifier", SILENCE))
        });
        outbox
    }

    /// Starts the feeder, if browsers can watch.
    fn feeder(&self, tasks: &mut Supervisor, shutdown: &Shutdown) {
        let Some(watchers) = self.watchers.clone() else { return };
        let template = self.settings.notify.form.channel.clone();
        let (heartbeats, telemetry) = (Arc::clone(&self.heartbeats), self.telemetry.clone());
        let (connector, stop) = (Arc::clone(self.broker.connector()), shutdown.clone());
        tasks.spawn("feeder", move || {
            let heartbeat = heartbeats.register("feeder", SILENCE);
            let (connector, watchers) = (Arc::clone(&connector), watchers.clone());
            feeder::run(template.clone(), connector, watchers, telemetry.clone(), stop.clone(), heartbeat)
        });
    }

    fn road(&self, settled: Nudge, outbox: Outbox, shutdown: &Shutdown) -> road::Parts {
        let settings = &self.settings;
        road::Parts {
            instance: settings.instance.clone(),
            start: settings.stream.start,
            names: settings.event.clone(),
            consumers: settings.consumers,
            reaper: settings.reaper,
            lanes: lane::Parts {
                options: settings.lanes,
                renew_every: settings.reaper.renew_every(),
                tuning: self.tuning.subscribe(),
                handler: Arc::clone(&self.handler),
                broker: Arc::clone(&self.broker),
                gate: self.gate.clone(),
                settled,
                outbox,
                telemetry: self.telemetry.clone(),
            },
            trouble: Arc::clone(&self.trouble),
            phases: self.phases.clone(),
            heartbeats: Arc::clone(&self.heartbeats),
            shutdown: shutdown.clone(),
        }
    }

    /// A wrong password at the start is a mistake of the operator, who is better told at once; later on it may be a rotation under way.
    async fn refuse_if_denied(&self) -> Result<(), RunError> {
        match self.broker.ping().await {
            Err(error) if matches!(error.trouble, RedisTrouble::Denied(_) | RedisTrouble::NoPermission(_)) => {
                Err(RunError::Denied(error))
            }
            // Whatever else is the matter, it may pass; the road waits for it.
            _ => Ok(()),
        }
    }
}

/// What browsers can watch, and the near end of the way to them; `None` where none can.
fn live(settings: &Settings) -> Option<(mpsc::Sender<Told>, Live)> {
    if !settings.notify.sse {
        return None;
    }
    let (watchers, told) = mpsc::channel(feeder::WAITING);
    let live = Live {
        told,
        form: settings.notify.form.clone(),
        ledger: (settings.handler == HandlerKind::Ledger).then(|| settings.ledger.clone()),
        clients: BROWSERS,
        heartbeat: BROWSER_HEARTBEAT,
    };
    Some((watchers, live))
}
