//! The bookkeeper: keeps the ledger from growing for ever, and notes in Redis how far it has come.
//!
//! Owns: when the ledger is told what it may forget, and when a mark is left.
//! Never: what that is (the rule is `domain::prune`); holding up the events, for it forgets in short steps.

use std::sync::Arc;
use std::time::Duration;

use super::gap;
use crate::broker::Broker;
use crate::ledger::Ledger;
use crate::ledger::chore::{Prune, Pruned};
use crate::ledger::error::LedgerError;
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event::LedgerPruned;

/// How often it leaves a mark. An older copy of the ledger that lacks less than that goes unnoticed.
const EVERY: Duration = Duration::from_secs(5);
/// How often the ledger is pruned: each time after so many marks.
const PRUNE: u32 = 12;

/// How long a ledger remembers (in the `[ledger]` table of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// An entry, after it cannot be delivered any more.
    pub keep_inbox: Duration,
    /// A row of the history; `None` for ever.
    pub keep_history: Option<Duration>,
}

/// The bookkeeper of one ledger.
pub struct Bookkeeper {
    options: Options,
    broker: Arc<Broker>,
    ledger: Arc<dyn Ledger>,
    telemetry: Telemetry,
}

impl Bookkeeper {
    /// A bookkeeper for the stream and the group of `broker`.
    pub fn new(options: Options, broker: Arc<Broker>, ledger: Arc<dyn Ledger>, telemetry: Telemetry) -> Self {
        Self { options, broker, ledger, telemetry }
    }

    /// Keeps the books until it is told to stop.
    pub async fn run(self, shutdown: Shutdown, heartbeat: Heartbeat) -> Result<(), TaskError> {
        let mut round = 0;
        loop {
            if let Err(error) = gap::leave_mark(&self.broker, &*self.ledger).await {
                tracing::debug!(%error, "the ledger left no mark");
            }
            if round == 0
                && let Err(error) = self.prune(&shutdown).await
            {
                tracing::debug!(%error, "the ledger was not pruned");
            }
            round = (round + 1) % PRUNE;
            if !heartbeat.while_waiting(shutdown.pause(EVERY)).await {
                return Ok(());
            }
        }
    }

    /// Lets the ledger forget, step by step, what it may.
    async fn prune(&self, shutdown: &Shutdown) -> Result<(), LedgerError> {
        // Where nobody can say what could be delivered, every entry is remembered. The history is another matter.
        let below = self.broker.reach().await.ok().flatten().and_then(|reach| reach.bound());
        let source = gap::source_of(&self.broker);
        let Options { keep_inbox, keep_history } = self.options;
        while !shutdown.stopping().is_cancelled() {
            let request = Prune { source: Arc::clone(&source), below, keep_inbox, keep_history };
            let Pruned { inbox, history, more } = self.ledger.prune(request).await?;
            self.telemetry.emit(LedgerPruned { inbox, history });
            if !more {
                break;
            }
        }
        Ok(())
    }
}
