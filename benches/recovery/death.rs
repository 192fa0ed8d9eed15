//! A worker dies: another one takes over, or the same name comes back.
//!
//! Owns: the moment of the death: the ledger is held until then, so that the worker dies with its hands full.
//! Never: a death without entries in hand; that would measure nothing.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::report::Measure;
use super::scene::Scene;
use super::wait::Deadline;

/// Less than two full windows, so that all of it is in hand.
const FOR_TWO: u64 = 6_000;
/// Less than one full window.
const FOR_ONE: u64 = 4_000;

/// `kill -9`, and another worker, which has been there all the time, takes over.
pub(crate) fn another_takes_over(deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let set = ["reaper.claim_after=2s", "reaper.interval=500ms"];
    let mut scene = Scene::new(&[])?;
    let first = scene.ready_worker("first", &set)?;
    let second = scene.ready_worker("second", &set)?;
    let lock = scene.lock_ledger()?;
    scene.appear(FOR_TWO, deadline)?;
    deadline
        .wait_for("all events are in hand", || Ok((scene.pending(None)? == FOR_TWO).then_some(())))
        .with_context(|| second.last_lines())?;
    let left = scene.pending(Some("first"))?;
    ensure!(left > 0, "the worker that is to die has nothing in hand");
    let killed = Instant::now();
    first.kill9()?;
    drop(lock);
    // What the second has in hand itself is done long before it may take anything over.
    scene.wait_until_settled(deadline).with_context(|| second.last_lines())?;
    let took = killed.elapsed();
    scene.check_applied(FOR_TWO)?;
    Ok(vec![
        Measure::count("entries in the dead worker's hands", left),
        Measure::time("from the kill until the last of them is settled", took),
    ])
}

/// `kill -9`, and a worker of the same name starts.
pub(crate) fn same_name_comes_back(deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let mut scene = Scene::new(&[])?;
    let first = scene.ready_worker("worker", &[])?;
    let lock = scene.lock_ledger()?;
    scene.appear(FOR_ONE, deadline)?;
    deadline
        .wait_for("all events are in hand", || Ok((scene.pending(None)? == FOR_ONE).then_some(())))
        .with_context(|| first.last_lines())?;
    first.kill9()?;
    drop(lock);
    let started = Instant::now();
    let again = scene.worker("worker", &[])?;
    scene.wait_until_settled(deadline).with_context(|| again.last_lines())?;
    let took = started.elapsed();
    scene.check_applied(FOR_ONE)?;
    Ok(vec![
        Measure::count("entries pending under its name", FOR_ONE),
        Measure::time("from its start until the last of them is settled", took).at_most(2_000.0),
    ])
}
