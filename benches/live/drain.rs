//! What the notifier costs the work: a backlog drained with it and without.
//!
//! Owns: pairs of runs, each beginning with the other one in turn, on one server; and a pair by a client written by hand, since the server
//! itself has to do something for each message.
//! Never: somebody who listens; what subscribers cost the server is theirs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::limit;
use super::process;
use super::report::Measure;
use super::scene::Scene;
use super::wait::Deadline;

const EVENTS: u64 = 200_000;
const EVENTS_IN_LEDGER: u64 = 50_000;
/// The notifier may cost a tenth of the rate: so much of the time without it, in per cent.
const SHARE: f64 = 111.1;

/// A backlog that was drained.
struct Run {
    took: Duration,
    /// The CPU time of the server, and of the worker.
    cpu: [Duration; 2],
    dropped: u64,
}

pub(crate) fn with_and_without(round: u32, deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let hand = pair(round, |telling| by_hand(telling, deadline))?;
    let none = pair(round, |telling| by_orderd(EVENTS, &["handler.kind=none"], telling, deadline))?;
    let ledger = pair(round, |telling| by_orderd(EVENTS_IN_LEDGER, &[], telling, deadline))?;
    Ok(vec![
        Measure::time("200,000 events without (client by hand)", hand.1.took),
        Measure::share("time with a message for each", hand.0.took, hand.1.took),
        Measure::share("the server's CPU time with them", hand.0.cpu[0], hand.1.cpu[0]),
        Measure::time("200,000 events without (handler none)", none.1.took),
        Measure::share("time with the notifier", none.0.took, none.1.took),
        Measure::share("the server's CPU time with it", none.0.cpu[0], none.1.cpu[0]),
        Measure::share("the worker's CPU time with it", none.0.cpu[1], none.1.cpu[1]),
        Measure::count("notifications dropped of 200,000", none.0.dropped),
        Measure::time("50,000 events without (ledger)", ledger.1.took),
        Measure::share("time with the notifier", ledger.0.took, ledger.1.took).at_most(SHARE),
        Measure::share("the worker's CPU time with it", ledger.0.cpu[1], ledger.1.cpu[1]),
        Measure::count("notifications dropped of 50,000", ledger.0.dropped),
    ])
}

/// With messages, and without.
fn pair(round: u32, run: impl Fn(bool) -> anyhow::Result<Run>) -> anyhow::Result<(Run, Run)> {
    if round.is_multiple_of(2) {
        let with = run(true)?;
        Ok((with, run(false)?))
    } else {
        let without = run(false)?;
        Ok((run(true)?, without))
    }
}

fn by_hand(telling: bool, deadline: &Deadline) -> anyhow::Result<Run> {
    let mut scene = Scene::new(&[])?;
    scene.lay_ready(EVENTS, deadline)?;
    let port = scene.server.port().context("the server has no port")?;
    scene.appear_now()?;
    let own = std::process::id();
    let before = used(&scene, own)?;
    let began = Instant::now();
    let drained = limit::drain(port, telling)?;
    let took = began.elapsed();
    ensure!(drained == EVENTS && scene.is_settled()?, "{drained} of {EVENTS} events were settled");
    Ok(Run { took, cpu: since(before, used(&scene, own)?), dropped: 0 })
}

fn by_orderd(events: u64, set: &[&str], telling: bool, deadline: &Deadline) -> anyhow::Result<Run> {
    let mut scene = Scene::new(&[])?;
    let set = [set, if telling { &["notify.enabled=true"] } else { &[] }].concat();
    let mut worker = scene.ready_worker("worker", &set)?;
    scene.lay_ready(events, deadline)?;
    let before = used(&scene, worker.child.id())?;
    let began = Instant::now();
    scene.appear_now()?;
    scene.wait_until_settled(deadline).with_context(|| worker.last_lines())?;
    let took = began.elapsed();
    let cpu = since(before, used(&scene, worker.child.id())?);
    let dropped = dropped(worker.admin().context("the admin server")?)?;
    ensure!(worker.stop()? == 0, "orderd did not stop in good order");
    Ok(Run { took, cpu, dropped })
}

/// The CPU time of the server, and of this process.
fn used(scene: &Scene, process: u32) -> anyhow::Result<[Duration; 2]> {
    Ok([process::time(scene.server.pid())?.cpu, process::time(process)?.cpu])
}

fn since(before: [Duration; 2], now: [Duration; 2]) -> [Duration; 2] {
    [now[0].saturating_sub(before[0]), now[1].saturating_sub(before[1])]
}

/// How many notifications were dropped, as `/metrics` has it.
fn dropped(admin: SocketAddr) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(admin)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let line = answer.lines().find_map(|line| line.strip_prefix("orderd_notifications_total{outcome=\"dropped\"} "));
    Ok(line.unwrap_or("0").parse()?)
}
