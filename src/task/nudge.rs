//! A nudge: work was done, so a chore may be due before its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts up and wakes whoever waits, once each `every`.
#[derive(Debug, Clone)]
pub struct Nudge {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    every: AtomicU64,
    count: AtomicU64,
    wake: Notify,
}

impl Nudge {
    /// Wakes after each `every` counts.
    pub fn new(every: u64) -> Self {
        let shared = Shared { every: AtomicU64::new(every.max(1)), count: AtomicU64::new(0), wake: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Wakes after each `every` counts from now on.
    pub fn set_every(&self, every: u64) {
        self.shared.every.store(every.max(1), Ordering::Relaxed);
    }

    /// Counts `count` more.
    pub fn add(&self, count: usize) {
        let Shared { every, count: counter, wake } = &*self.shared;
        let every = every.load(Ordering::Relaxed);
        let before = counter.fetch_add(count as u64, Ordering::Relaxed);
        if (before + count as u64) / every > before / every {
            wake.notify_one();
        }
    }

    /// How much was counted so far.
    pub fn total(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Waits for the next nudge.
    pub async fn nudged(&self) {
        self.shared.wake.notified().await;
    }
}
