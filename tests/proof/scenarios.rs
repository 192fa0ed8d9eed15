//! The scenarios: each kind of trouble, and what has to have happened for the run to show anything.
//!
//! Owns: the list.
//! Never: how a run goes (`scenario`), or what is done in it (`faults`).

use crate::faults::{self, limits, lives, refusals, servers};
use crate::scenario::{Scenario, Setting};
use crate::stage::producer;
use crate::stage::server::Kind;

const USUAL: Scenario = Scenario::USUAL;
const PRODUCED: producer::Options = Scenario::USUAL.produced;

/// What happens to workers.
pub(crate) const WORKERS: &[Scenario] = &[
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
    Scenario {
        name: "one worker, kill -9",
        fault: faults::kill,
        instances: &["w1"],
        needs: &[("kills", 3), ("in flight at a kill", 1)],
        ..USUAL
    },
    Scenario {
        name: "one to five workers and back",
        fault: limits::scale,
        instances: &["w1"],
        setting: Setting::Scaled,
        needs: &[("workers more", 4), ("stops", 4)],
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
    Scenario {
        name: "front of live entries",
        fault: faults::kill_behind_a_front,
        settings: &["reaper.batch=1"],
        produced: producer::Options { too_early: 0, ..PRODUCED },
        needs: &[("held on purpose", 60), ("in flight at a kill", 1), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        // What kills every worker that tries it is buried; what was in its hand besides is not.
        name: "events that kill",
        settings: &["retry.max_crashes=3"],
        produced: producer::Options { poison: true, ..PRODUCED },
        crash_at: &["handle=poison"],
        seconds: Some(15),
        needs: &[("crashes", 3), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "clock of the workers set forward and back",
        fault: faults::set_the_clock_of_the_workers,
        setting: Setting::WithAClock,
        needs: &[("steps of the workers' clock", 4), ("kills", 3), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "workers without files",
        fault: limits::no_more_files,
        needs: &[("workers without files", 2), ("connections closed", 10)],
        ..USUAL
    },
];

/// What happens to servers, and on the way to them.
pub(crate) const SERVERS: &[Scenario] = &[
    Scenario { name: "redis killed", fault: servers::kill_server, needs: &[("server restarts", 2)], ..USUAL },
    Scenario {
        name: "redis killed, its last second lost",
        fault: servers::lose_the_last_second,
        servers: Kind::EverySecond,
        needs: &[("server restarts", 2), ("lost by Redis", 1)],
        ..USUAL
    },
    Scenario {
        name: "redis slow to load",
        fault: servers::kill_server,
        servers: Kind::SlowToLoad,
        needs: &[("server restarts", 2), ("adds refused (LOADING)", 1)],
        ..USUAL
    },
    Scenario {
        name: "replica promoted",
        fault: servers::fail_over,
        servers: Kind::Replicated,
        needs: &[("failovers", 2), ("lost by Redis", 1), ("duplicates suppressed", 1)],
        ..USUAL
    },
    Scenario {
        name: "clock of redis set forward and back",
        fault: servers::set_the_clock,
        servers: Kind::WithAClock,
        needs: &[("steps of the clock", 4)],
        ..USUAL
    },
    Scenario {
        name: "connections closed",
        fault: faults::close_connections,
        needs: &[("connections closed", 100)],
        ..USUAL
    },
    Scenario { name: "redis paused", fault: faults::pause_server, needs: &[("pauses of the server", 3)], ..USUAL },
    Scenario {
        name: "bad network",
        fault: faults::bad_network,
        setting: Setting::Proxied,
        needs: &[
            ("replies cut", 1),
            ("black holes", 1),
            ("one-way networks", 1),
            ("half-open connections", 1),
            ("connections reset", 1),
            ("slow network", 1),
        ],
        seconds: Some(15),
        ..USUAL
    },
    Scenario {
        name: "one worker, connections closed",
        fault: faults::close_connections_now_and_then,
        instances: &["w1"],
        produced: producer::Options { rate: 800, ..PRODUCED },
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
        name: "redis out of memory",
        fault: refusals::out_of_memory,
        produced: producer::Options { malformed: 10, ..PRODUCED },
        needs: &[("out of memory", 2)],
        ..USUAL
    },
    Scenario { name: "redis read-only", fault: refusals::read_only, needs: &[("read-only servers", 2)], ..USUAL },
    Scenario {
        name: "redis cannot save",
        fault: limits::cannot_save,
        told: Some(("MISCONF", "replies of misconf")),
        needs: &[("saves that fail", 2), ("replies of misconf", 1)],
        ..USUAL
    },
    Scenario {
        name: "redis takes no connections",
        fault: limits::no_more_clients,
        needs: &[("refusals of connections", 2), ("connections closed", 10)],
        ..USUAL
    },
    Scenario {
        // Up to seven times as long as `claim_after`: a slow handler, and then one that is away. Nothing is to be taken over.
        name: "ledger locked",
        fault: refusals::lock_ledger,
        setting: Setting::Calm,
        needs: &[("ledger locked", 2), ("locked for five times claim_after", 1)],
        ..USUAL
    },
    Scenario {
        // No call may take so long; what took too long is tried again, each event by itself.
        name: "handler hangs",
        fault: limits::hang,
        settings: &["handler.timeout=300ms", "retry.max_failures=1000"],
        produced: producer::Options { too_early: 0, ..PRODUCED },
        told: Some(("took too long", "calls given up")),
        needs: &[("ledger held", 2), ("calls given up", 2)],
        ..USUAL
    },
    Scenario {
        name: "ledger cannot grow",
        fault: limits::no_more_room,
        told: Some(("ledger cannot be written", "refusals of the ledger")),
        needs: &[("ledgers that cannot grow", 2), ("refusals of the ledger", 1)],
        ..USUAL
    },
    Scenario {
        name: "disk of the ledger full",
        fault: limits::fill_the_disk,
        setting: Setting::OnASmallDisk,
        told: Some(("there is no room left", "refusals of the ledger")),
        needs: &[("full disks", 2), ("refusals of the ledger", 2)],
        ..USUAL
    },
    Scenario {
        name: "ledger on Postgres, kill -9",
        fault: faults::kill,
        setting: Setting::OnPostgres,
        needs: &[("kills", 3), ("in flight at a kill", 1), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "Postgres restarted",
        fault: servers::restart_postgres,
        setting: Setting::OnPostgres,
        needs: &[("restarts of Postgres", 2)],
        ..USUAL
    },
];

/// Each life of the stream gives out the ids of the one before, for other entries.
const IDS_AGAIN: Scenario = Scenario {
    name: "ids used again",
    fault: lives::use_ids_again,
    produced: producer::Options { too_early: 0, own_ids: true, ..PRODUCED },
    told: Some(("an id came again with another entry", "generations begun")),
    needs: &[("streams deleted", 2), ("servers emptied", 1), ("ids used again", 500), ("generations begun", 3)],
    ..USUAL
};

/// What others do to the stream, and everything together.
pub(crate) const OTHERS: &[Scenario] = &[
    Scenario { name: "group destroyed", fault: faults::destroy_group, needs: &[("groups destroyed", 3)], ..USUAL },
    Scenario {
        name: "stream deleted",
        fault: faults::delete_stream,
        produced: producer::Options { too_early: 0, ..PRODUCED },
        needs: &[("streams deleted", 3)],
        ..USUAL
    },
    Scenario {
        name: "server emptied",
        fault: limits::flush_all,
        produced: producer::Options { too_early: 0, ..PRODUCED },
        needs: &[("servers emptied", 3)],
        ..USUAL
    },
    IDS_AGAIN,
    Scenario { name: "ids used again, ledger on Postgres", setting: Setting::OnPostgres, ..IDS_AGAIN },
    Scenario { name: "key overwritten", fault: refusals::overwrite_key, needs: &[("keys overwritten", 2)], ..USUAL },
    Scenario {
        name: "malformed entries",
        produced: producer::Options { malformed: 10, ..PRODUCED },
        setting: Setting::Calm,
        needs: &[("dead letters", 100)],
        ..USUAL
    },
    Scenario {
        name: "dead letters refused",
        fault: faults::refuse_dead_letters,
        produced: producer::Options { malformed: 10, ..PRODUCED },
        needs: &[("refusals of dead letters", 2)],
        ..USUAL
    },
    Scenario {
        name: "entries deleted while pending",
        fault: faults::kill_and_delete,
        produced: producer::Options { too_early: 0, ..PRODUCED },
        needs: &[("deleted", 3)],
        ..USUAL
    },
    Scenario {
        name: "stream trimmed by others",
        fault: limits::trim_by_hand,
        produced: producer::Options { too_early: 0, ..PRODUCED },
        needs: &[("trims by others", 3)],
        ..USUAL
    },
    Scenario { name: "slow second group", setting: Setting::SlowGroup, needs: &[("added", 1000)], ..USUAL },
    Scenario { name: "dead second group", setting: Setting::DeadGroup, needs: &[("longest stream", 1000)], ..USUAL },
    Scenario {
        name: "second group comes and goes",
        fault: limits::second_group_comes_and_goes,
        setting: Setting::Calm,
        needs: &[("second groups that came and went", 2)],
        ..USUAL
    },
    Scenario {
        name: "everything at once",
        fault: faults::everything,
        produced: producer::Options { rate: 200, ..PRODUCED },
        setting: Setting::Proxied,
        seconds: Some(60),
        needs: &[("kills", 1), ("redelivered", 1), ("bad weather above", 3)],
        ..USUAL
    },
];

/// Workers that kill themselves at the worst of moments.
pub(crate) const CRASHES: &[Scenario] = &[
    Scenario {
        name: "crash after the commit",
        crash_at: &["after-commit:0.02"],
        needs: &[("crashes", 5), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "crash around the commit and the acknowledgement",
        crash_at: &["after-read:0.02", "before-commit:0.02", "before-ack:0.02", "after-ack:0.02"],
        needs: &[("crashes", 5), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        name: "crash around a failure and a burial",
        crash_at: &["after-parking:0.1", "before-burial:0.1", "after-burial:0.1"],
        needs: &[("crashes", 5)],
        ..USUAL
    },
    Scenario {
        name: "crash in the chores",
        fault: faults::kill_or_roll,
        crash_at: &[
            "after-claim:0.3",
            "after-begin:0.5",
            "in-renewal:0.2",
            "before-trim:0.02",
            "after-trim:0.02",
            "while-handing-back:0.5",
        ],
        needs: &[("crashes", 3), ("redelivered", 1)],
        ..USUAL
    },
    Scenario {
        // A minute is the least that an entry is remembered; each worker prunes when it starts.
        name: "crash in pruning",
        fault: faults::roll,
        settings: &["ledger.keep_inbox=60s"],
        crash_at: &["before-pruning:0.5", "after-pruning:0.5"],
        seconds: Some(75),
        needs: &[("crashes", 3), ("forgotten by the ledger", 1)],
        ..USUAL
    },
];
