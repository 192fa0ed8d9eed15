//! A stream that grows fast and is trimmed.
//!
//! Owns: the pace of the events, and what the server says its scripts took.
//! Never: an event that was not due; a burst. What a busy machine kept from being added in time is left out, and shows in the rate.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use redis::cmd;

use super::report::Measure;
use super::scene::Scene;
use super::wait::Deadline;

/// Events a second, and for how long.
const PACE: u64 = 20_000;
const SPAN: Duration = Duration::from_secs(5);
/// Due events are added so often.
const TICK: Duration = Duration::from_millis(5);
/// So many are added at once: what is due in two ticks.
const AT_ONCE: u64 = 200;
/// What the default configuration keeps, and the most that one step cuts there.
const MAX_LEN: f64 = 10_000.0;
const STEP: f64 = 1_000.0;
/// The share of the server's time that trimming may take, in per cent.
const SHARE: f64 = 3.0;

/// What one run came to.
struct Flow {
    events: u64,
    longest: u64,
    scripts: Duration,
    took: Duration,
}

/// The default trimmer beside one that has nothing to do: what is left there is what the other scripts take.
pub(crate) fn at_pace(deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let trimmed = flow(&["handler.kind=none"], deadline)?;
    let others = flow(&["handler.kind=none", "trimmer.interval=1h", "trimmer.max_len=1000000000"], deadline)?;
    let rate = u64::try_from(u128::from(trimmed.events) * 1_000 / trimmed.took.as_millis().max(1))?;
    Ok(vec![
        Measure::count("events a second", rate),
        Measure::count("the stream at its longest", trimmed.longest).at_most(MAX_LEN + STEP),
        Measure::share("share of the server's time in scripts", trimmed.scripts, trimmed.took).at_most(SHARE),
        Measure::share("the same where nothing is to trim", others.scripts, others.took),
    ])
}

fn flow(set: &[&str], deadline: &Deadline) -> anyhow::Result<Flow> {
    let mut scene = Scene::new(&[])?;
    let worker = scene.ready_worker("worker", set)?;
    let before = time_in_scripts(&mut scene)?;
    let began = Instant::now();
    let (mut events, mut left_out, mut longest) = (0, 0, 0);
    while began.elapsed() < SPAN {
        deadline.check()?;
        let due = u64::try_from(began.elapsed().as_millis())? * PACE / 1_000;
        let adding = (due - events - left_out).min(AT_ONCE);
        if adding > 0 {
            longest = longest.max(scene.add(events, adding)?);
            events += adding;
            left_out = due - events;
        }
        std::thread::park_timeout(TICK);
    }
    let took = began.elapsed();
    let scripts = time_in_scripts(&mut scene)?.saturating_sub(before);
    scene.wait_until_settled(deadline).with_context(|| worker.last_lines())?;
    Ok(Flow { events, longest, scripts, took })
}

/// What scripts have taken so far, with all that they called.
fn time_in_scripts(scene: &mut Scene) -> anyhow::Result<Duration> {
    let info: String = scene.ask(cmd("INFO").arg("commandstats"))?;
    let Some(line) = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")) else {
        return Ok(Duration::ZERO);
    };
    let (_, rest) = line.split_once("usec=").with_context(|| line.to_owned())?;
    let digits = rest.split(',').next().unwrap_or_default();
    Ok(Duration::from_micros(digits.parse().with_context(|| line.to_owned())?))
}
