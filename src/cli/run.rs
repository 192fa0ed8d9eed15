//! `orderd run`: the daemon, from the first line of its log to its exit code.
//!
//! Owns: the signals. The first SIGTERM or SIGINT asks for a stop in good order, the second ends the process on the spot. SIGHUP has the
//! configuration read again.
//! Never: a task; `daemon` has them.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook_tokio::Signals;

use super::Cli;
use super::exit::Exit;
use super::reload::Reload;
use crate::daemon::{BuildError, Daemon, HANDLER, RunError};
use crate::settings::Settings;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::logging::{self, LogHandle};

/// How `orderd run` is to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on although the ledger lacks events that were acknowledged: it is an older copy, or another one
    #[arg(long)]
    accept_gap: bool,
}

/// The signals that ask for a stop. From its making on, they do not end the process by themselves.
pub(super) struct StopSignals(Signals);

impl StopSignals {
    /// Has to be made inside of the runtime.
    pub(super) fn new() -> io::Result<Self> {
        Signals::new([SIGTERM, SIGINT]).map(Self)
    }

    /// Waits for the next one, and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        match self.0.next().await {
            Some(signal) => signal_hook::low_level::signal_name(signal).unwrap_or("signal"),
            None => pending().await,
        }
    }
}

/// Runs the daemon until it is told to stop.
pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    // Before anything else: a signal that comes while the daemon is still being put together is a stop in good order, too.
    let asked = end_at_second_signal()?;
    // The same goes for a reload, which would end the process otherwise.
    let changed = Arc::new(AtomicBool::new(false));
    flag::register(SIGHUP, Arc::clone(&changed))?;
    let settings = cli.settings()?;
    let log = logging::init(&settings.log)?;
    // One thread carries the road: with several, each event would be passed from one to another several times, and a road with one
    // server at its end has nothing for them to do. The ledger and the admin server have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(cli, args, settings, log, Early { asked: &asked, changed: &changed }))
}

/// What was asked for before anybody listened.
struct Early<'f> {
    /// A stop.
    asked: &'f AtomicBool,
    /// A reload.
    changed: &'f AtomicBool,
}

async fn serve(cli: &Cli, args: &Args, settings: Settings, log: LogHandle, early: Early<'_>) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::new();
    let signals = StopSignals::new()?;
    let hangups = Signals::new([SIGHUP])?;
    if early.asked.load(Ordering::SeqCst) {
        return Ok(Exit::Success);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), redis = %settings.redis, stream = %settings.stream.key, group = %settings.stream.group, "orderd starts");
    let telemetry = Telemetry::new()?;
    let daemon = Daemon::build(settings.clone(), telemetry.clone())?.accepting_gap(args.accept_gap);
    tracing::info!(address = %daemon.admin_addr(), "the admin server listens");
    let reload = Reload { cli, settings, log, tuning: daemon.tuning(), phase: daemon.phase(), telemetry };
    let stop = shutdown.clone();
    tokio::select! {
        ended = daemon.run(shutdown) => ended?,
        never = stop_at_signal(signals, stop) => match never {},
        never = reload_at_signal(hangups, reload, early.changed) => match never {},
    }
    Ok(Exit::Success)
}

/// Completes at the first SIGTERM or SIGINT; a second one ends the process on the spot. For commands that run until they are told to
/// stop. Counts from the call on, inside of a runtime.
pub(super) fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut signals = StopSignals::new()?;
    end_at_second_signal()?;
    Ok(async move {
        signals.next().await;
    })
}

/// The first signal sets a flag, and with the flag set the next one ends the process, even if the runtime is stuck. In this order: the
/// first signal must not find the flag set by itself.
fn end_at_second_signal() -> io::Result<Arc<AtomicBool>> {
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_shutdown(signal, i32::from(Exit::Failure.code()), Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    Ok(armed)
}

async fn stop_at_signal(mut signals: StopSignals, shutdown: Shutdown) -> Infallible {
    loop {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping; a second signal ends the process at once");
        shutdown.stop();
    }
}

async fn reload_at_signal(mut hangups: Signals, mut reload: Reload<'_>, changed: &AtomicBool) -> Infallible {
    // Before there was anybody to hear it.
    if changed.load(Ordering::SeqCst) {
        reload.now();
    }
    loop {
        match hangups.next().await {
            Some(_) => reload.now(),
            None => return pending().await,
        }
    }
}

/// The exit code for an error of the daemon.
pub(super) fn exit_for(error: &anyhow::Error) -> Option<Exit> {
    match error.downcast_ref::<BuildError>() {
        Some(BuildError::Ledger(error)) => return Some(super::ledger_exit(error)),
        Some(_) => return Some(Exit::Unavailable),
        None => {}
    }
    error.downcast_ref::<RunError>().map(|error| match error {
        RunError::GaveUp(gave_up) if gave_up.task == HANDLER => Exit::Broken,
        RunError::GaveUp(_) => Exit::Software,
        RunError::Denied(_) => Exit::NoPermission,
        RunError::Gap(_) => Exit::Gap,
    })
}
