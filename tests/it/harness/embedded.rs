//! The library inside of the test, with a handler that the test steers.
//!
//! Owns: a thread with a runtime of its own for each daemon, so that one can be ended without a word as a crash would.
//! Never: what only a process can show (signals, exit codes, crash points).

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use orderd::daemon::{Daemon, RunError};
use orderd::domain::batch::{Batch, Work};
use orderd::domain::outcome::Outcome;
use orderd::handler::{Handler, Handling, Limits};
use orderd::settings::{self, Settings, Sources};
use orderd::supervisor::shutdown::Shutdown;
use orderd::telemetry::Telemetry;
use tokio::sync::oneshot;

use super::World;

/// A running daemon in this process. Dropped, it ends without a word.
pub(crate) struct Embedded {
    shutdown: Shutdown,
    telemetry: Telemetry,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Option<Result<(), RunError>>>>,
}

/// A handler made of a function. It is called for one event after the other, and answers `NotReached` for what comes after a failure.
pub(crate) struct Scripted<F> {
    limits: Limits,
    handle: Arc<F>,
}

/// A handler that calls `handle` for each event, with at most `calls` calls of at most `batch` events at the same time.
pub(crate) fn scripted<F>(batch: usize, calls: usize, handle: F) -> Scripted<F>
where
    F: Fn(Work) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
{
    Scripted { limits: Limits { batch, calls }, handle: Arc::new(handle) }
}

impl<F> Handler for Scripted<F>
where
    F: Fn(Work) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn handle(&self, batch: Batch) -> Handling<'_> {
        let handle = Arc::clone(&self.handle);
        Box::pin(async move {
            let mut failed = Vec::new();
            let mut outcomes = Vec::new();
            for work in batch.iter() {
                if failed.contains(&work.event.order) {
                    outcomes.push(Outcome::NotReached);
                    continue;
                }
                let outcome = handle(work.clone()).await;
                if matches!(outcome, Outcome::Failed(_)) {
                    failed.push(work.event.order.clone());
                }
                outcomes.push(outcome);
            }
            outcomes
        })
    }
}

impl Embedded {
    pub(super) fn start(world: &World, instance: &str, set: &[(&str, &str)], handler: Arc<dyn Handler>) -> Self {
        let settings = settings(world, instance, set);
        let telemetry = Telemetry::new().expect("meters");
        let shutdown = Shutdown::new();
        let (end, ended) = oneshot::channel::<()>();
        let (stop, told) = (shutdown.clone(), telemetry.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let daemon = Daemon::with_handler(settings, told, handler).expect("a daemon");
            let result = runtime.block_on(async {
                tokio::select! {
                    result = daemon.run(stop) => Some(result),
                    _ = ended => None,
                }
            });
            runtime.shutdown_background();
            result
        });
        Self { shutdown, telemetry, end: Some(end), thread: Some(thread) }
    }

    /// Asks for a stop in good order, and waits for it.
    pub(crate) fn stop(mut self) -> Result<(), RunError> {
        self.shutdown.stop();
        let thread = self.thread.take().expect("a thread");
        thread.join().expect("the daemon does not panic").expect("the daemon was not ended by force")
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        super::daemon::sum(&self.telemetry.render(), name).unwrap_or_else(|| panic!("no metric {name}"))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn settings(world: &World, instance: &str, set: &[(&str, &str)]) -> Settings {
    let own = [("instance", instance.to_owned()), ("redis.url", world.server.url())];
    let own = own.into_iter().chain([("admin.listen", "127.0.0.1:0".to_owned())]);
    let set = set.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let overrides = own.chain(set).map(|(key, value)| (key.to_owned(), value)).collect();
    let file: Option<PathBuf> = None;
    settings::load(&Sources { file, environment: Vec::new(), overrides }).expect("settings")
}
