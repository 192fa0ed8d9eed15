//! How the events are brought to a ledger, and what is read off the clock.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orderd::domain::batch::Batch;
use orderd::domain::outcome::Outcome;
use orderd::ledger::Ledger;
use tokio::runtime::{Builder, Runtime};

use crate::lives::Lives;
use crate::table::count;

/// Events a second, each in a transaction of its own.
pub(crate) fn singly(ledger: &dyn Ledger, lives: &mut Lives, span: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut events = 0;
    runtime()?.block_on(async {
        while began.elapsed() < span {
            assert_applied(&ledger.apply(Arc::new(vec![lives.event()])).await);
            events += 1;
        }
    });
    Ok(count(events) / began.elapsed().as_secs_f64())
}

/// How long it takes, brought as the daemon does it: two calls are under way, and what waits shares a transaction.
pub(crate) fn batches(ledger: &dyn Ledger, batches: Vec<Batch>) -> anyhow::Result<Duration> {
    let waiting = RefCell::new(batches.into_iter());
    let bring = || async {
        loop {
            let Some(batch) = waiting.borrow_mut().next() else { break };
            assert_applied(&ledger.apply(batch).await);
        }
    };
    let began = Instant::now();
    runtime()?.block_on(async { tokio::join!(bring(), bring()) });
    Ok(began.elapsed())
}

pub(crate) fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn assert_applied(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
}
