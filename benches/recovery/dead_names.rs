//! Very much is pending, under many names whose workers are gone.
//!
//! Owns: what the recovery costs the server: its slow log holds every call that took longer than a fraction of a millisecond.
//! Never: the calls of the one who looks; they are told apart by the name of the connection.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use redis::cmd;

use super::report::Measure;
use super::scene::{GROUP, LOOKER, STREAM, Scene};
use super::wait::Deadline;

/// Pending entries, and the names that hold them.
const ENTRIES: u64 = 100_000;
const NAMES: u64 = 200;
/// Calls shorter than this are not told one by one.
const TOLD_FROM: Duration = Duration::from_micros(100);
/// So many of them are kept.
const TOLD: u64 = 100_000;
/// No call may hold the server for longer.
const BOUND_MS: f64 = 5.0;

/// A line of the slow log: number, time, microseconds, the command, address and name of the client.
type Told = (u64, u64, u64, Vec<String>, String, String);

/// A worker starts, and takes it all over.
pub(crate) fn are_recovered(deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let mut scene = Scene::new(&[])?;
    scene.fill(STREAM, ENTRIES, deadline)?;
    for n in 0..NAMES {
        deadline.check()?;
        leave(&mut scene, &format!("dead{n}-0"))?;
    }
    ensure!(scene.pending(None)? == ENTRIES, "not all entries are pending");
    for (setting, value) in [("slowlog-max-len", TOLD), ("slowlog-log-slower-than", micros(TOLD_FROM))] {
        scene.ask::<()>(cmd("CONFIG").arg("SET").arg(setting).arg(value))?;
    }
    scene.ask::<()>(cmd("SLOWLOG").arg("RESET"))?;
    let started = Instant::now();
    let worker = scene.worker("worker", &["handler.kind=none", "reaper.interval=500ms"])?;
    scene.wait_until_settled(deadline).with_context(|| worker.last_lines())?;
    let took = started.elapsed();
    let told: Vec<Told> = scene.ask(cmd("SLOWLOG").arg("GET").arg(TOLD))?;
    let calls = || told.iter().filter(|(.., name)| name != LOOKER);
    let (_, _, longest, command, ..) =
        calls().max_by_key(|(_, _, took, ..)| *took).context("no call of orderd took any time")?;
    let above = calls().filter(|(_, _, took, ..)| Duration::from_micros(*took).as_secs_f64() * 1e3 > BOUND_MS).count();
    Ok(vec![
        Measure::time("from the worker's start until all is settled", took),
        Measure::time("the longest call", Duration::from_micros(*longest)).at_most(BOUND_MS).noted(name_of(command)),
        Measure::count("calls above the bound", above as u64).at_most(0.0),
    ])
}

/// Delivers the next entries to this name, and makes them look as if it had not been heard of for two minutes.
fn leave(scene: &mut Scene, name: &str) -> anyhow::Result<()> {
    let each = ENTRIES / NAMES;
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg(name).arg("COUNT").arg(each).arg("STREAMS").arg(STREAM).arg(">");
    scene.ask::<()>(&mut read)?;
    let mut held = cmd("XPENDING");
    held.arg(STREAM).arg(GROUP).arg("-").arg("+").arg(each).arg(name);
    let held: Vec<(String, String, u64, u64)> = scene.ask(&mut held)?;
    let mut age = cmd("XCLAIM");
    age.arg(STREAM).arg(GROUP).arg(name).arg(0);
    held.iter().for_each(|(id, ..)| {
        age.arg(id);
    });
    Ok(scene.ask(age.arg("IDLE").arg(120_000).arg("RETRYCOUNT").arg(1).arg("JUSTID"))?)
}

/// The command, and of a script which one it is.
fn name_of(command: &[String]) -> String {
    let scripts = [
        ("taking over", include_str!("../../src/broker/script/claim.lua")),
        ("trimming", include_str!("../../src/broker/script/trim.lua")),
        ("leases", include_str!("../../src/broker/script/hold.lua")),
        ("removing names", include_str!("../../src/broker/script/remove.lua")),
        ("the lock on the name", include_str!("../../src/broker/script/lock.lua")),
    ];
    let is_called = |text: &str| command.get(1).is_some_and(|hash| redis::Script::new(text).get_hash() == hash);
    match scripts.iter().find(|(_, text)| is_called(text)) {
        Some((name, _)) => format!("script: {name}"),
        None => command.first().cloned().unwrap_or_default(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
