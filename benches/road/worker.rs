//! Whoever is measured: orderd, or a client to compare it with.
//!
//! Owns: starting each kind, and asking each for the same numbers.
//! Never: the measuring.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::backlog::Desk;
use super::client::Client;
use super::daemon::{Daemon, Handler};
use super::process::{self, Memory, Time};
use super::table::count;
use super::{limit, textbook};

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The least that a client can do; several, each a consumer with a connection of its own.
    Limit {
        /// How many of them.
        clients: usize,
    },
    /// orderd.
    Daemon {
        /// Which build of it.
        program: PathBuf,
        /// What an event does.
        handler: Handler,
    },
    /// The loop of the tutorials.
    Textbook,
}

/// One that is at work.
pub(crate) enum Worker {
    Daemon(Daemon),
    Clients(Vec<Client>),
}

/// What one run came to.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) events: u64,
    pub(crate) took: Duration,
    pub(crate) worker_cpu: Duration,
    pub(crate) server_cpu: Duration,
    /// Memory, where the worker is a process of its own.
    pub(crate) idle_kib: Option<u64>,
    pub(crate) peak_kib: Option<u64>,
}

impl Run {
    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        count(self.events) / self.took.as_secs_f64()
    }
}

impl Kind {
    /// Starts it on an empty stream.
    pub(crate) fn start(&self, desk: &Desk<'_>, set: &[String]) -> anyhow::Result<Worker> {
        match self {
            Self::Limit { clients } => {
                desk.make_group()?;
                let port = desk.server.port().context("the server has no port")?;
                let start = |index| Client::start(move |stop| limit::run(port, &format!("limit-{index}"), stop));
                Ok(Worker::Clients((0..*clients).map(start).collect::<anyhow::Result<_>>()?))
            }
            Self::Textbook => {
                desk.make_group()?;
                let url = desk.server.url();
                Ok(Worker::Clients(vec![Client::start(move |stop| textbook::run(&url, stop))?]))
            }
            Self::Daemon { program, handler } => Ok(Worker::Daemon(Daemon::start(desk, program, *handler, set)?)),
        }
    }
}

impl Worker {
    pub(crate) fn time(&self) -> anyhow::Result<Time> {
        match self {
            Self::Daemon(daemon) => process::time(daemon.pid()),
            Self::Clients(clients) => clients.iter().map(Client::time).sum(),
        }
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Option<Memory>> {
        match self {
            Self::Daemon(daemon) => process::memory(daemon.pid()).map(Some),
            Self::Clients(_) => Ok(None),
        }
    }

    /// What it has said, for an error.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Daemon(daemon) => daemon.log(),
            Self::Clients(_) => "a client without a log".to_owned(),
        }
    }

    /// Whether it did what it was there for.
    pub(crate) fn check(&self, events: u64) -> anyhow::Result<()> {
        match self {
            Self::Daemon(daemon) => daemon.check(events),
            Self::Clients(_) => Ok(()),
        }
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Daemon(daemon) => daemon.stop(),
            Self::Clients(clients) => clients.into_iter().try_for_each(Client::stop),
        }
    }
}
