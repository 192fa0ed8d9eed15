//! The scenarios, and the tests that run them.
//!
//! `ORDERD_PROOF=long` runs all of it (`make proof`); else a few scenarios are run for some seconds each. `ORDERD_PROOF_SEED` repeats a
//! run, `ORDERD_PROOF_ONLY` runs the scenarios whose names hold that text.

use std::time::Duration;

use orderd::cli::sandbox::Options;

use crate::checker::Verdict;
use crate::faults::{self, refusals};
use crate::scenario::{Scenario, Setting, Take};
use crate::servers;
use crate::stage::producer;
use crate::table::Table;
use crate::tutorial;

const USUAL: Scenario = Scenario::USUAL;

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill -9",
        fault: faults::kill,
        needs: &[("kills", 3), ("in flight at a kill", 1), ("redelivered", 1)],
        ..USUAL
    },
    Scenario { name: "rolling restart", fault: faults::roll, needs: &[("stops", 4)], ..USUAL },
    Scenario {
        name: "frozen worker",
        fault: faults::freeze,
        setting: Setting::Leases,
        needs: &[("freezes", 1), ("in flight at a freeze", 1), ("redelivered", 1)],
        ..USUAL
    },
    Scenario { name: "redis killed", fault: faults::kill_server, needs: &[("server restarts", 2)], ..USUAL },
    Scenario {
        name: "connections closed",
        fault: faults::close_connections,
        needs: &[("connections closed", 100)],
        ..USUAL
    },
    Scenario { name: "redis paused", fault: faults::pause_server, needs: &[("pauses of the server", 3)], ..USUAL },
    Scenario { name: "group destroyed", fault: faults::destroy_group, needs: &[("groups destroyed", 3)], ..USUAL },
    Scenario {
        name: "stream deleted",
        fault: faults::delete_stream,
        produced: producer::Options { too_early: 0, ..USUAL.produced },
        needs: &[("streams deleted", 3)],
        ..USUAL
    },
    Scenario {
        name: "malformed entries",
        produced: producer::Options { malformed: 10, ..USUAL.produced },
        setting: Setting::Calm,
        needs: &[("dead letters", 100)],
        ..USUAL
    },
    Scenario {
        name: "dead letters refused",
        fault: faults::refuse_dead_letters,
        produced: producer::Options { malformed: 10, ..USUAL.produced },
        needs: &[("refusals of dead letters", 2)],
        ..USUAL
    },
    Scenario {
        name: "entries deleted while pending",
        fault: faults::kill_and_delete,
        produced: producer::Options { too_early: 0, ..USUAL.produced },
        needs: &[("deleted", 3)],
        ..USUAL
    },
    Scenario {
        name: "two workers with one name",
        fault: faults::start_a_namesake,
        instances: &["w1", "w2"],
        setting: Setting::Calm,
        needs: &[("namesakes started", 1), ("dead letters", 1)],
        ..USUAL
    },
    Scenario { name: "slow second group", setting: Setting::SlowGroup, needs: &[("added", 1000)], ..USUAL },
    Scenario {
        name: "front of live entries",
        fault: faults::kill_behind_a_front,
        settings: &["reaper.batch=1"],
        produced: producer::Options { too_early: 0, ..USUAL.produced },
        needs: &[("held on purpose", 60), ("in flight at a kill", 1), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "bad network",
        fault: faults::bad_network,
        setting: Setting::Proxied,
        needs: &[("replies cut", 1), ("black holes", 1)],
        ..USUAL
    },
    Scenario {
        name: "redis out of memory",
        fault: refusals::out_of_memory,
        produced: producer::Options { malformed: 10, ..USUAL.produced },
        needs: &[("out of memory", 2)],
        ..USUAL
    },
    Scenario { name: "redis read-only", fault: refusals::read_only, needs: &[("read-only servers", 2)], ..USUAL },
    Scenario { name: "key overwritten", fault: refusals::overwrite_key, needs: &[("keys overwritten", 2)], ..USUAL },
    Scenario {
        // Up to seven times as long as `claim_after`: a slow handler, and then one that is away. Nothing is to be taken over.
        name: "ledger locked",
        fault: refusals::lock_ledger,
        setting: Setting::Calm,
        needs: &[("ledger locked", 2)],
        ..USUAL
    },
    Scenario {
        name: "one worker, kill -9",
        fault: faults::kill,
        instances: &["w1"],
        needs: &[("kills", 3), ("in flight at a kill", 1)],
        ..USUAL
    },
    Scenario {
        name: "one worker, connections closed",
        fault: faults::close_connections_now_and_then,
        instances: &["w1"],
        produced: producer::Options { rate: 800, ..USUAL.produced },
        needs: &[("connections closed", 30)],
        ..USUAL
    },
    Scenario {
        name: "one worker, replies cut",
        fault: faults::cut_replies,
        instances: &["w1"],
        setting: Setting::Proxied,
        needs: &[("replies cut", 5)],
        ..USUAL
    },
    Scenario {
        name: "one worker, bad network",
        fault: faults::bad_network,
        instances: &["w1"],
        setting: Setting::Proxied,
        needs: &[("replies cut", 1)],
        ..USUAL
    },
    Scenario {
        name: "crash before the commit",
        crash_at: Some("before-commit:0.02"),
        needs: &[("crashes", 5), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "crash after the commit",
        crash_at: Some("after-commit:0.02"),
        needs: &[("crashes", 5), ("redelivered", 1)],
        ..USUAL
    },
    Scenario { name: "crash before the ack", crash_at: Some("before-ack:0.02"), needs: &[("crashes", 5)], ..USUAL },
    Scenario { name: "crash after the ack", crash_at: Some("after-ack:0.02"), needs: &[("crashes", 5)], ..USUAL },
    Scenario {
        name: "crash after a claim",
        fault: faults::kill,
        crash_at: Some("after-claim:0.3"),
        needs: &[("kills", 3), ("crashes", 1)],
        ..USUAL
    },
    Scenario {
        name: "crash at the beginning of a try",
        fault: faults::roll,
        crash_at: Some("after-begin:0.5"),
        needs: &[("stops", 4), ("crashes", 1)],
        ..USUAL
    },
    Scenario { name: "crash before a burial", crash_at: Some("before-burial:0.1"), needs: &[("crashes", 5)], ..USUAL },
    Scenario { name: "crash after a burial", crash_at: Some("after-burial:0.1"), needs: &[("crashes", 5)], ..USUAL },
    Scenario { name: "crash in a renewal", crash_at: Some("in-renewal:0.2"), needs: &[("crashes", 5)], ..USUAL },
    Scenario { name: "crash after a trim", crash_at: Some("after-trim:0.02"), needs: &[("crashes", 5)], ..USUAL },
    Scenario {
        name: "crash while handing back",
        fault: faults::roll,
        crash_at: Some("while-handing-back:0.5"),
        needs: &[("crashes", 3), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "everything at once",
        fault: faults::everything,
        setting: Setting::Proxied,
        needs: &[("kills", 1), ("redelivered", 1)],
        ..USUAL
    },
];

/// Those that a short run has time for.
const SHORT: [&str; 4] = ["kill -9", "frozen worker", "one worker, connections closed", "group destroyed"];

/// Those in which the servers' replies differ.
const ON_EVERY_SERVER: [&str; 4] =
    ["entries deleted while pending", "group destroyed", "stream deleted", "redis killed"];

/// Mistakes that are planted, and the scenario that finds each.
const BUGS: [(&str, &str); 10] = [
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
];

/// Those that a short run has time for.
const SHORT_BUGS: [&str; 2] = ["trim-by-length", "no-inbox"];

/// A mistake is a matter of moments: so many runs may miss it.
const TRIES: usize = 3;

#[test]
fn every_fault_is_borne_without_a_violation() {
    let only = std::env::var("ORDERD_PROOF_ONLY").ok();
    let chosen = SCENARIOS.iter().filter(|scenario| match &only {
        Some(only) => scenario.name.contains(only.as_str()),
        None => is_long() || SHORT.contains(&scenario.name),
    });
    let mut table = Table::new("faults");
    let failed: Vec<String> = chosen.filter_map(|scenario| hold(scenario, &take(), &mut table)).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// In the long form: on the server of the path, the test above has run them already.
#[test]
fn what_depends_on_the_server_is_borne_on_each() {
    let servers = servers::all().into_iter().skip(1).filter(|(name, _)| is_long() || *name == "redis-6.2");
    let mut table = Table::new("servers");
    let mut failed = Vec::new();
    for (series, server) in servers {
        let names = if is_long() { &ON_EVERY_SERVER[..] } else { &ON_EVERY_SERVER[..1] };
        let take = Take { server, series, time: Duration::from_secs(6), ..take() };
        failed.extend(names.iter().filter_map(|name| hold(scenario(name), &take, &mut table)));
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("ORDERD_PROOF_ONLY").ok();
    let chosen = BUGS.iter().filter(|(bug, _)| match &only {
        Some(only) => bug.contains(only.as_str()),
        None => is_long() || SHORT_BUGS.contains(bug),
    });
    let mut table = Table::new("bugs");
    let mut missed = Vec::new();
    for (bug, name) in chosen {
        let found = (0..TRIES).any(|_| {
            let take = Take { bug: Some(bug), series: bug, ..take() };
            let judgement = scenario(name).run(&take);
            table.row(&format!("{bug}: {name}"), take.seed, &judgement);
            judgement.verdict == Verdict::Invalid
        });
        missed.extend((!found).then_some(*bug));
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn the_loop_of_the_tutorials_does_not_pass() {
    let mut table = Table::new("tutorial");
    let is_found = (0..TRIES).any(|_| {
        let take = take();
        let judgement = tutorial::run(&take);
        table.row("tutorial loop", take.seed, &judgement);
        judgement.verdict == Verdict::Invalid
    });
    assert!(is_found, "it has lost and repeated nothing, {TRIES} times over");
}

/// Runs a scenario; what is wrong, if anything is.
fn hold(scenario: &Scenario, take: &Take, table: &mut Table) -> Option<String> {
    let judgement = scenario.run(take);
    let name = format!("{} {}", take.series, scenario.name);
    table.row(name.trim(), take.seed, &judgement);
    (judgement.verdict != Verdict::Valid).then_some(judgement.report)
}

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario of this name")
}

fn is_long() -> bool {
    std::env::var("ORDERD_PROOF").is_ok_and(|form| form == "long")
}

fn take() -> Take {
    let seed = std::env::var("ORDERD_PROOF_SEED").ok().and_then(|seed| seed.parse().ok());
    let time = Duration::from_secs(if is_long() { 10 } else { 8 });
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    Take { time, seed, server: Options::default(), bug: None, series: "" }
}
