//! A worker is stopped while it has much to do.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::report::Measure;
use super::scene::Scene;
use super::wait::Deadline;

/// Events that wait.
const BACKLOG: u64 = 20_000;

/// `SIGTERM` to one of two workers at the beginning of a backlog.
pub(crate) fn under_load(deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let mut scene = Scene::new(&[])?;
    let mut first = scene.ready_worker("first", &[])?;
    let second = scene.ready_worker("second", &[])?;
    scene.appear(BACKLOG, deadline)?;
    deadline.wait_for("it is at work", || Ok((scene.pending(Some("first"))? > 0).then_some(())))?;
    let asked = Instant::now();
    let code = first.stop()?;
    let ended = asked.elapsed();
    scene.wait_until_settled(deadline).with_context(|| second.last_lines())?;
    let settled = asked.elapsed();
    scene.check_applied(BACKLOG)?;
    let left = scene.pending(Some("first"))?;
    ensure!(left == 0, "{left} entries are left with the worker that was stopped");
    Ok(vec![
        Measure::time("from SIGTERM to the exit", ended),
        Measure::count("exit code", code).at_most(0.0),
        Measure::count("entries handed back", first.handed_back()?),
        Measure::time("from SIGTERM until the whole backlog is settled", settled),
    ])
}
