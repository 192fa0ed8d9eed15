//! `orderd demo`: orderd at work, from the first event to the count of all of them.
//!
//! Owns: a private server and a folder for one run, and the end of both, however it ends.
//! Never: a Redis, a ledger or a configuration file of the user; a verdict that was not counted (`account`).

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use tempfile::TempDir;

use self::account::Account;
use super::exit::Exit;
use super::plausible::{Plausible, Recipe};
use super::run::StopSignals;
use super::sandbox::{Options, PrivateServer};
use super::{Cli, add};
use crate::broker::Broker;
use crate::daemon::Daemon;
use crate::domain::decode::FieldNames;
use crate::domain::entry::Field;
use crate::domain::id::EntryId;
use crate::ledger::sqlite::reader::SqliteReader;
use crate::settings::{self, Settings, Sources};
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::{Telemetry, logging};

mod account;
mod report;

/// The most events in one batch to Redis.
const BATCH: usize = 500;
/// How often it is looked whether the daemon is through.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The daemon is given up when it gets nothing done for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows orderd at work: a private Redis, some thousand events, and what became of them
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// So many events are made up
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    events: u64,

    /// So many orders are under way at the same time
    #[arg(long, value_name = "M", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,

    /// The same seed makes the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The server to start: a path, or a name that is looked for in PATH
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    server: PathBuf,
}

/// What was added.
struct Added {
    /// Events that can be applied.
    events: Vec<EntryId>,
    /// Entries that cannot be decoded.
    planted: Vec<EntryId>,
    /// How many orders they are of.
    orders: u64,
}

/// Where the demo plays. Dropped, the server ends and the folder goes.
struct Stage {
    broker: Broker,
    settings: Settings,
    ledger: PathBuf,
    telemetry: Telemetry,
    // In this order: the server ends before its log and the ledger go.
    server: PrivateServer,
    _folder: TempDir,
}

/// Plays the demo, and says whether every event was applied exactly once.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before there is anything to clean up: from here on a signal is an answer to wait for, not the end.
        let mut signals = StopSignals::new()?;
        let stage = Stage::set(cli, args)?;
        tokio::select! {
            biased;
            signal = signals.next() => bail!("stopped by {signal} before the end; the server is ended and its folder removed"),
            played = play(&stage, args) => played,
        }
    })
}

impl Stage {
    fn set(cli: &Cli, args: &Args) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("orderd-demo-").tempdir().context("a temporary folder")?;
        let server = PrivateServer::start(Options { program: args.server.clone(), ..Options::default() })?;
        let ledger = folder.path().join("orderd.db");
        let settings = settings::load(&sources(cli, &server.url(), &ledger.display().to_string()))?;
        // Its log is for those who ask for it: what matters is in the tables.
        if cli.log_level.is_some() {
            logging::init(&settings.log)?;
        }
        let telemetry = Telemetry::new()?;
        let broker = super::broker_for(&settings)?;
        Ok(Self { broker, settings, ledger, telemetry, server, _folder: folder })
    }
}

/// The defaults, what `--set` says, and what makes it a demo. No file, and nothing from the environment.
fn sources(cli: &Cli, redis: &str, ledger: &str) -> Sources {
    let ours = [
        ("instance", "demo"),
        ("redis.url", redis),
        ("handler.kind", "ledger"),
        ("ledger.url", &format!("sqlite:{ledger}")),
        ("admin.listen", "127.0.0.1:0"),
        ("log.level", cli.log_level.as_deref().unwrap_or("off")),
    ];
    let ours = ours.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Sources { overrides: cli.set.iter().cloned().chain(ours).collect(), ..Sources::default() }
}

async fn play(stage: &Stage, args: &Args) -> anyhow::Result<Exit> {
    let kind = stage.broker.server_kind().await?;
    let pid = stage.server.pid();
    super::print(&format!("A private {} {} runs (process {pid}).\n", kind.name, kind.version))?;
    let recipe = Recipe { count: args.events, orders: args.orders as usize, seed: args.seed };
    let added = add_events(recipe, &stage.settings.event, &stage.broker).await?;
    super::print(&report::added(&added))?;
    let took = process(stage, &added).await?;

    let reader = SqliteReader::open_read_only(&stage.ledger)?;
    let account = Account::take(&added, stage, &reader).await?;
    super::print(&report::happened(&account, &reader, took)?)?;
    let complaints = account.complaints();
    super::print(&report::verdict(&complaints))?;
    Ok(if complaints.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Adds the events of `recipe`, with entries among them that cannot be decoded.
async fn add_events(recipe: Recipe, names: &FieldNames, broker: &Broker) -> anyhow::Result<Added> {
    let mut plausible = Plausible::new(recipe);
    let mut entries: Vec<(Vec<Field>, bool)> = plausible.by_ref().map(|event| (event.fields(names), true)).collect();
    let (events, planted) = (entries.len(), planted(names));
    let parts = planted.len() + 1;
    // From the end, so that the places before stay where they are.
    for (n, entry) in planted.into_iter().enumerate().rev() {
        entries.insert(events * (n + 1) / parts, (entry, false));
    }
    let bar = progress_bar(entries.len(), "adding ")?;
    let mut added = Added { events: Vec::with_capacity(events), planted: Vec::new(), orders: plausible.orders_made() };
    for batch in entries.chunks(BATCH) {
        let fields: Vec<Vec<Field>> = batch.iter().map(|(fields, _)| fields.clone()).collect();
        let ids = broker.add(&fields).await?;
        for (id, (_, valid)) in ids.into_iter().zip(batch) {
            if *valid { &mut added.events } else { &mut added.planted }.push(id);
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(added)
}

/// Entries that no worker can make sense of, each for another reason.
fn planted(names: &FieldNames) -> Vec<Vec<Field>> {
    let entry = |fields: &[(&str, &str)]| -> Vec<Field> {
        fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    };
    let FieldNames { action, order, amount, user, .. } = names;
    vec![
        entry(&[(order, "order-without-action"), (amount, "10.00")]),
        entry(&[(action, "paid"), (order, "order-with-a-comma"), (amount, "10,00")]),
        entry(&[(action, "shipped"), (order, "")]),
        entry(&[(action, "created"), (order, "order-of-nobody"), (amount, "10.00")]),
        entry(&[(action, "paid"), (action, "refunded"), (order, "order-in-two-minds"), (amount, "10.00"), (user, "u")]),
    ]
}

/// Runs the daemon until everything is settled, and stops it. Returns how long it took to settle everything.
async fn process(stage: &Stage, added: &Added) -> anyhow::Result<Duration> {
    let daemon = Daemon::build(stage.settings.clone(), stage.telemetry.clone())?;
    let shutdown = Shutdown::new();
    let began = Instant::now();
    let running = daemon.run(shutdown.clone());
    tokio::pin!(running);
    let took = tokio::select! {
        ended = &mut running => {
            ended?;
            bail!("the daemon ended before it was told to");
        }
        settled = until_settled(stage, added) => settled.map(|()| began.elapsed())?,
    };
    shutdown.stop();
    running.await?;
    Ok(took)
}

/// Waits until the group has nothing left, or gets nothing done any more: then the account says what is missing.
async fn until_settled(stage: &Stage, added: &Added) -> anyhow::Result<()> {
    let mut ids: Vec<EntryId> = added.events.iter().chain(&added.planted).copied().collect();
    ids.sort_unstable();
    let bar = progress_bar(ids.len(), "processing ")?;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut moved = Instant::now();
    while moved.elapsed() < PATIENCE {
        ticks.tick().await;
        let survey = stage.broker.survey().await?;
        let Some(group) = survey.groups.iter().find(|found| found.group == stage.settings.stream.group) else {
            continue;
        };
        let delivered = ids.partition_point(|id| *id <= group.last_delivered) as u64;
        let settled = delivered.saturating_sub(group.pending);
        if settled == ids.len() as u64 {
            break;
        }
        if settled != bar.position() {
            moved = Instant::now();
            bar.set_position(settled);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn progress_bar(count: usize, doing: &'static str) -> anyhow::Result<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    Ok(add::progress_bar(count as u64)?.with_prefix(doing))
}
