//! The server dies and comes back, with all it knew: each write was on the disk before it was answered.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::report::Measure;
use super::scene::Scene;
use super::wait::Deadline;

/// Events before and after; each is settled.
const EVENTS: u64 = 1_000;

/// `kill -9` of the server, and its restart once the worker has noticed.
pub(crate) fn server_restarted(deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let mut scene = Scene::new(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let worker = scene.ready_worker("worker", &[])?;
    scene.add(0, EVENTS)?;
    scene.wait_until_settled(deadline).with_context(|| worker.last_lines())?;
    scene.kill_server()?;
    deadline.wait_for("the worker notices", || Ok((!worker.is_ready()).then_some(())))?;
    scene.restart_server()?;
    let answers = Instant::now();
    scene.look_again()?;
    scene.add(EVENTS, 1)?;
    let (mut ready, mut settled): (Option<Duration>, Option<Duration>) = (None, None);
    let both = deadline.wait_for("the worker is ready and goes on", || {
        if ready.is_none() && worker.is_ready() {
            ready = Some(answers.elapsed());
        }
        if settled.is_none() && scene.is_settled()? {
            settled = Some(answers.elapsed());
        }
        Ok(ready.zip(settled))
    });
    let (ready, settled) = both.with_context(|| worker.last_lines())?;
    scene.check_applied(EVENTS + 1)?;
    Ok(vec![
        Measure::time("from the server's first answer until /readyz is 200", ready).at_most(2_000.0),
        Measure::time("from the server's first answer until an event is settled", settled).at_most(2_000.0),
    ])
}
