//! The scenarios, and the tests that run them.
//!
//! `ORDERD_PROOF=long` runs all of it (`make proof`); else a few scenarios are run for some seconds each. `ORDERD_PROOF_SEED` repeats a
//! run, `ORDERD_PROOF_ONLY` runs the scenarios whose names hold that text, or one of several with `|` between them. `ORDERD_PROOF_JOBS` says
//! how many run at the same time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use orderd::cli::sandbox::Options;

use crate::checker::Verdict;
use crate::scenario::{Scenario, Take};
use crate::scenarios::{CRASHES, OTHERS, SERVERS, WORKERS};
use crate::servers;
use crate::stage::server::Kind;
use crate::table::Table;
use crate::tutorial;

/// One scenario after the other, by what is done.
fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    WORKERS.iter().chain(SERVERS).chain(OTHERS).chain(CRASHES)
}

/// Those that a short run has time for.
const SHORT: [&str; 5] =
    ["kill -9", "frozen worker", "one worker, connections closed", "group destroyed", "ids used again"];

/// Those in which the servers' replies differ.
const ON_EVERY_SERVER: [&str; 4] =
    ["entries deleted while pending", "group destroyed", "stream deleted", "redis killed"];

/// Mistakes that are planted, and the scenario that finds each.
const BUGS: [(&str, &str); 11] = [
    ("ack-before-commit", "kill -9"),
    ("group-at-the-end", "group destroyed"),
    ("sweep-from-the-front", "front of live entries"),
    ("trim-by-length", "slow second group"),
    ("renew-what-is-not-ours", "frozen worker"),
    ("remove-without-a-look", "rolling restart"),
    ("bury-with-multi", "dead letters refused"),
    ("no-audit", "one worker, replies cut"),
    ("share-names", "two workers with one name"),
    ("no-inbox", "crash after the commit"),
    ("id-alone", "ids used again"),
];

/// Those that a short run has time for.
const SHORT_BUGS: [&str; 2] = ["trim-by-length", "no-inbox"];

/// A mistake is a matter of moments: so many runs may miss it.
const TRIES: usize = 5;

/// A run that shows nothing, for it did not bite or the machine was too busy, is made again, and both stand in the table. One that is
/// invalid never is.
const CHANCES: usize = 3;

/// In the long form each crash point is hit so often.
const ENOUGH: usize = 20;

#[test]
fn every_fault_is_borne_without_a_violation() {
    let only = std::env::var("ORDERD_PROOF_ONLY").ok();
    let chosen = scenarios().filter(|scenario| match &only {
        Some(only) => only.split('|').any(|part| scenario.name.contains(part)),
        None => is_long() || SHORT.contains(&scenario.name),
    });
    let table = Table::new("1-faults");
    let failed = side_by_side(chosen.collect(), |place, scenario| hold(place, scenario, &take(), &table));
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// In the long form: on the server of the path, the test above has run them already.
#[test]
fn what_depends_on_the_server_is_borne_on_each() {
    let servers = servers::all().into_iter().skip(1).filter(|(name, _)| is_long() || *name == "redis-6.2");
    let names = if is_long() { &ON_EVERY_SERVER[..] } else { &ON_EVERY_SERVER[..1] };
    let runs = servers.flat_map(|server| names.iter().map(move |name| (server.clone(), *name)));
    let table = Table::new("2-servers");
    let failed = side_by_side(runs.collect(), |place, ((series, server), name)| {
        let take = Take { server, series, time: Duration::from_secs(6), ..take() };
        hold(place, scenario(name), &take, &table)
    });
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("ORDERD_PROOF_ONLY").ok();
    let chosen = BUGS.into_iter().filter(|(bug, _)| match &only {
        Some(only) => only.split('|').any(|part| bug.contains(part)),
        None => is_long() || SHORT_BUGS.contains(bug),
    });
    let table = Table::new("3-bugs");
    let missed = side_by_side(chosen.collect(), |place, (bug, name)| {
        let found = (0..TRIES).any(|turn| {
            let take = Take { bug: Some(bug), series: bug, enough: 0, ..take() };
            let Some(judgement) = scenario(name).run(&take) else { return false };
            table.row(place * TRIES + turn, &format!("`{bug}`: {name}"), take.seed, &judgement);
            judgement.verdict == Verdict::Invalid
        });
        (!found).then_some(bug)
    });
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn the_loop_of_the_tutorials_does_not_pass() {
    let table = Table::new("4-tutorial");
    let is_found = (0..TRIES).any(|turn| {
        let take = take();
        let judgement = tutorial::run(&take);
        table.row(turn, "tutorial loop", take.seed, &judgement);
        judgement.verdict == Verdict::Invalid
    });
    assert!(is_found, "it has lost and repeated nothing, {TRIES} times over");
}

/// Does the work for all items, some of them at a time; what came of those that were not as they should be, in the order of the list.
fn side_by_side<T: Send, R: Send>(items: Vec<T>, work: impl Fn(usize, T) -> Option<R> + Sync) -> Vec<R> {
    let jobs = std::env::var("ORDERD_PROOF_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    let jobs: usize = jobs.unwrap_or(if is_long() { 2 } else { 1 });
    let items = Mutex::new(items.into_iter().enumerate());
    let failed = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = items.lock().expect("no other run panicked").next();
                    let Some((place, item)) = next else { break };
                    if let Some(wrong) = work(place, item) {
                        failed.lock().expect("no other run panicked").insert(place, wrong);
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no run panicked").into_values().collect()
}

/// Runs a scenario; what is wrong, if anything is.
fn hold(place: usize, scenario: &Scenario, take: &Take, table: &Table) -> Option<String> {
    let mut take = take.clone();
    if scenario.servers == Kind::WithAClock {
        // The library that sets the clock does not get along with the server of the path.
        let other = servers::all().into_iter().find(|(name, _)| *name == "redis-6.2");
        let (_, server) = other.or_else(|| {
            eprintln!("left out: {} (redis-6.2 is missing: make test fetches it)", scenario.name);
            None
        })?;
        take.server = server;
    }
    let name = format!("{} {}", take.series, scenario.name);
    let mut turn = 0;
    loop {
        let judgement = scenario.run(&take)?;
        table.row(place * TRIES + turn, name.trim(), take.seed, &judgement);
        turn += 1;
        match judgement.verdict {
            Verdict::Valid => return None,
            Verdict::Unknown(_) if turn < CHANCES => {}
            Verdict::Invalid | Verdict::Unknown(_) => return Some(judgement.report),
        }
    }
}

fn scenario(name: &str) -> &'static Scenario {
    scenarios().find(|scenario| scenario.name == name).expect("a scenario of this name")
}

fn is_long() -> bool {
    std::env::var("ORDERD_PROOF").is_ok_and(|form| form == "long")
}

fn take() -> Take {
    let seed = std::env::var("ORDERD_PROOF_SEED").ok().and_then(|seed| seed.parse().ok());
    let time = Duration::from_secs(if is_long() { 10 } else { 8 });
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let enough = if is_long() { ENOUGH } else { 0 };
    Take { time, seed, server: Options::default(), bug: None, enough, series: "" }
}
