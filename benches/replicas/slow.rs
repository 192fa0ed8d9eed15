//! A worker whose handler takes its time: what a call of a webhook or of a slow service is like.
//!
//! Owns: the handler, and a daemon around it that stops when its input ends.
//! Never: the measuring.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use orderd::daemon::Daemon;
use orderd::domain::batch::Batch;
use orderd::domain::outcome::Outcome;
use orderd::handler::{Handler, Handling, Limits};
use orderd::settings::{self, Sources};
use orderd::supervisor::shutdown::Shutdown;
use orderd::telemetry::Telemetry;

/// What the bench says to itself to become such a worker.
pub(crate) const WORD: &str = "--slow-worker";
/// How long an event takes.
const TAKES: Duration = Duration::from_millis(5);
/// How many are under way at once.
const CALLS: usize = 16;

struct Slow;

impl Handler for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn limits(&self) -> Limits {
        Limits { batch: 1, calls: CALLS }
    }

    fn handle(&self, batch: Batch) -> Handling<'_> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(batch.len());
            for _ in batch.iter() {
                tokio::time::sleep(TAKES).await;
                outcomes.push(Outcome::Applied);
            }
            outcomes
        })
    }
}

/// Works until its input ends. When it is ready it says so in a line.
pub(crate) fn run(redis: &str, instance: &str) -> anyhow::Result<()> {
    let set = [("redis.url", redis), ("instance", instance), ("admin.listen", "127.0.0.1:0")];
    let overrides = set.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let settings = settings::load(&Sources { overrides, ..Sources::default() })?;
    let shutdown = Shutdown::new();
    let told = shutdown.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.stop();
    });
    let daemon = Daemon::with_handler(settings, Telemetry::new()?, Arc::new(Slow))?;
    let mut readiness = daemon.readiness();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let told = async {
            if readiness.wait_for(|now| now.ready).await.is_ok() {
                println!("{}", super::worker::READY);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = daemon.run(shutdown) => ended.map_err(anyhow::Error::from),
            () = told => Ok(()),
        }
    })
}
