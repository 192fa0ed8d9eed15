//! What metrics cost: they cannot be switched off, so they are measured by themselves.
//!
//! Owns: what is told for each batch of a drain, told again without the drain.
//! Never: a daemon.

use std::path::Path;
use std::time::Duration;

use orderd::telemetry::Telemetry;
use orderd::telemetry::event::{BatchHandled, EntriesRead, EventsSettled, Levels, Source};

use super::process;
use super::table::count;

/// Events of a batch: `consumers.batch`.
const BATCH: usize = 256;
/// So many batches are told.
const BATCHES: u32 = 100_000;
/// After so many the histograms are tidied, as the daemon does every few seconds: more seldom than at the limit of any server here.
const TIDY_EVERY: u32 = 10_000;

/// The CPU seconds that telling takes for a million events, with the tidying.
pub(crate) fn cpu_s_per_million() -> anyhow::Result<f64> {
    let telemetry = Telemetry::new()?;
    let own = Path::new("/proc/thread-self");
    let before = process::time_of_thread(own)?.cpu;
    for batch in 1..=BATCHES {
        let took = Duration::from_micros(u64::from(batch % 1_000));
        telemetry.emit(EntriesRead { source: Source::New, count: BATCH });
        telemetry.emit(BatchHandled { handler: "none", events: BATCH, took });
        telemetry.emit(EventsSettled { applied: BATCH, duplicate: 0, oldest_wait: took });
        if batch % TIDY_EVERY == 0 {
            telemetry.emit(Levels { in_hand: BATCH, parked: 0, window: 4 * BATCH });
            telemetry.upkeep();
        }
    }
    let took = process::time_of_thread(own)?.cpu.saturating_sub(before);
    let events = u64::from(BATCHES) * BATCH as u64;
    Ok(took.as_secs_f64() / count(events) * 1e6)
}
