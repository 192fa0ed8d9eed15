//! A client on a thread of its own, to compare orderd with.
//!
//! Owns: the thread: its CPU time, its end, and the error that it ended with.
//! Never: what the client does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::process::{self, Time};

/// How long a client waits for entries before it looks whether it is to stop.
pub(crate) const BLOCK_MS: u64 = 100;
/// An answer that takes longer does not come.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a client is to go on.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

/// A running client.
pub(crate) struct Client {
    stop: Stop,
    folder: PathBuf,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Stop {
    pub(crate) fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Client {
    /// Runs `work` on a thread, until it is asked to stop.
    pub(crate) fn start(work: impl FnOnce(&Stop) -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<Self> {
        let stop = Stop::default();
        let (sender, folder) = mpsc::channel();
        let told = stop.clone();
        let thread = std::thread::Builder::new().name("client".to_owned()).spawn(move || {
            sender.send(std::fs::read_link("/proc/thread-self"))?;
            work(&told)
        })?;
        let folder = PathBuf::from("/proc").join(folder.recv().context("a thread that did not begin")??);
        Ok(Self { stop, folder, thread })
    }

    /// The time of its thread.
    pub(crate) fn time(&self) -> anyhow::Result<Time> {
        process::time_of_thread(&self.folder)
    }

    /// Waits for its end.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.stop.0.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(ended) => ended,
            Err(_) => bail!("the client panicked"),
        }
    }
}
