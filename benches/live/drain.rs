//! What the notifier costs the work: a backlog drained with it and without.
//!
//! Owns: pairs of runs, each beginning with the other one in turn, on one server.
//! Never: somebody who listens; what subscribers cost the server is theirs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::process;
use super::report::Measure;
use super::scene::Scene;
use super::wait::Deadline;

const EVENTS: u64 = 200_000;
const EVENTS_IN_LEDGER: u64 = 50_000;
/// The notifier may cost a tenth of the rate: so much of the time without it, in per cent.
const SHARE: f64 = 111.1;

/// How long it took, and the CPU time of worker and server.
type Run = (Duration, Duration);

pub(crate) fn with_and_without(round: u32, deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let none = pair(round, EVENTS, &["handler.kind=none"], deadline)?;
    let ledger = pair(round, EVENTS_IN_LEDGER, &[], deadline)?;
    Ok(vec![
        Measure::time("200,000 events without (handler none)", none.1.0),
        Measure::share("time with the notifier", none.0.0, none.1.0).at_most(SHARE),
        Measure::share("CPU time of worker and server with it", none.0.1, none.1.1),
        Measure::time("50,000 events without (ledger)", ledger.1.0),
        Measure::share("time with the notifier", ledger.0.0, ledger.1.0).at_most(SHARE),
        Measure::share("CPU time of worker and server with it", ledger.0.1, ledger.1.1),
    ])
}

/// With the notifier, and without.
fn pair(round: u32, events: u64, set: &[&str], deadline: &Deadline) -> anyhow::Result<(Run, Run)> {
    let with = [set, &["notify.enabled=true"]].concat();
    if round.is_multiple_of(2) {
        let with = run(events, &with, deadline)?;
        Ok((with, run(events, set, deadline)?))
    } else {
        let without = run(events, set, deadline)?;
        Ok((run(events, &with, deadline)?, without))
    }
}

fn run(events: u64, set: &[&str], deadline: &Deadline) -> anyhow::Result<Run> {
    let mut scene = Scene::new(&[])?;
    let mut worker = scene.ready_worker("worker", set)?;
    let used = |scene: &Scene| anyhow::Ok(process::cpu(scene.server.pid())? + process::cpu(worker.child.id())?);
    scene.lay_ready(events, deadline)?;
    let before = used(&scene)?;
    let began = Instant::now();
    scene.appear_now()?;
    scene.wait_until_settled(deadline).with_context(|| worker.last_lines())?;
    let run = (began.elapsed(), used(&scene)?.saturating_sub(before));
    ensure!(worker.stop()? == 0, "orderd did not stop in good order");
    Ok(run)
}
