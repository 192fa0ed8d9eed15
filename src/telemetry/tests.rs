//! Tests: the table, the metrics that each happening moves, and what is unknown.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::{
    AckMissed, Backlog, BacklogUnknown, BatchHandled, ConsumersRemoved, DeadLettered, DeadLettersCut, DeliveryDropped,
    EntriesLost, EntriesRead, EntriesReclaimed, EventFailed, EventsSettled, GenerationBegan, GroupCreated, HandedBack,
    HandlerAway, HandlerBack, HandlerPanicked, HandlerTimedOut, LeaseLost, LeasesRenewed, LedgerPruned, Levels,
    NotificationsDropped, NotificationsFailed, NotificationsSent, PhaseChanged, Reconnected, RedisAway, RedisBack,
    RedisConnected, Source, TaskFailed, TaskStarted, TrimBlocked, TrimUnblocked, Trimmed,
};
use super::metrics::{Kind, METRICS, Metric, Unit};
use super::{Happening, Telemetry};
use crate::domain::decode::DecodeError;
use crate::domain::id::EntryId;
use crate::domain::outcome::FailureClass;
use crate::domain::retry::DeadReason;

const ENTRY: EntryId = EntryId::new(1_700_000_000_000, 3);
const SECOND: Duration = Duration::from_secs(1);
const BACKLOG: Backlog = Backlog {
    pending: 3,
    lag: Some(7),
    length: 10,
    oldest_pending: Some(Duration::from_millis(1500)),
    oldest_undelivered: None,
    consumers: 4,
    dead: 2,
};

/// The value of one series, as text.
fn value(telemetry: &Telemetry, series: &str) -> String {
    let text = telemetry.render();
    let of = |line: &str| line.strip_prefix(series).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned);
    text.lines().find_map(of).unwrap_or_else(|| panic!("no series {series} in\n{text}"))
}

/// What a happening does to one series.
fn after(happening: impl Happening, series: &str) -> String {
    let telemetry = Telemetry::new().unwrap();
    telemetry.emit(happening);
    value(&telemetry, series)
}

#[test]
fn each_metric_of_the_table_is_shown_with_help_and_type_and_no_other_is() {
    let telemetry = Telemetry::new().unwrap();
    telemetry.emit(TaskStarted { task: "consumer" });
    let text = telemetry.render();
    for Metric { name, kind, help, .. } in METRICS {
        assert_eq!(text.matches(&format!("# HELP {name} {help}\n")).count(), 1, "{name}");
        assert_eq!(text.matches(&format!("# TYPE {name} {}\n", kind.as_str())).count(), 1, "{name}");
    }
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known);
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(known.contains(name) || known.contains(family), "{line}");
    }
}

#[test]
fn names_say_what_is_counted_and_in_which_unit() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "each name stands once");
    for Metric { name, kind, unit, help, .. } in METRICS {
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let base = name.trim_end_matches("_total");
        assert_eq!(base.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
        assert_eq!(base.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
    }
}

#[test]
fn histograms_have_their_buckets_and_count_each_value_once() {
    let telemetry = Telemetry::new().unwrap();
    telemetry.emit(BatchHandled { handler: "ledger", events: 100, took: Duration::from_millis(7) });
    telemetry.upkeep();
    telemetry.upkeep();
    let text = telemetry.render();
    for metric in METRICS {
        let Kind::Histogram(bounds) = metric.kind else { continue };
        assert!(bounds.is_sorted(), "{}", metric.name);
        for bound in bounds {
            assert!(text.contains(&format!("\n{}_bucket{{le=\"{bound}\"}} ", metric.name)), "{} {bound}", metric.name);
        }
    }
    assert!(!text.contains("quantile"));
    assert_eq!(value(&telemetry, "orderd_handler_batch_size_bucket{le=\"64\"}"), "0");
    assert_eq!(value(&telemetry, "orderd_handler_batch_size_bucket{le=\"256\"}"), "1");
    assert_eq!(value(&telemetry, "orderd_handler_duration_seconds_sum"), "0.007");
    assert_eq!(value(&telemetry, "orderd_handler_duration_seconds_count"), "1");
}

#[test]
fn what_happens_on_the_road_is_counted() {
    for (source, label) in [(Source::New, "new"), (Source::Own, "own"), (Source::Claimed, "claimed")] {
        let series = format!("orderd_entries_read_total{{source=\"{label}\"}}");
        assert_eq!(after(EntriesRead { source, count: 256 }, &series), "256");
    }
    let settled = EventsSettled { applied: 5, duplicate: 2, oldest_wait: SECOND };
    assert_eq!(after(settled, "orderd_events_settled_total{outcome=\"applied\"}"), "5");
    assert_eq!(after(settled, "orderd_events_settled_total{outcome=\"duplicate\"}"), "2");
    assert_eq!(after(settled, "orderd_settle_seconds_sum"), "1");
    assert_eq!(after(BatchHandled { handler: "log", events: 1, took: SECOND }, "orderd_handler_calls_total"), "1");
    assert_eq!(after(AckMissed { count: 2 }, "orderd_ack_misses_total"), "2");
    assert_eq!(after(DeliveryDropped { entry: ENTRY }, "orderd_deliveries_dropped_total"), "1");
}

#[test]
fn notifications_are_counted_by_what_came_of_them() {
    let series = |outcome| format!("orderd_notifications_total{{outcome=\"{outcome}\"}}");
    assert_eq!(after(NotificationsSent { count: 5, receivers: 7 }, &series("sent")), "5");
    assert_eq!(after(NotificationsSent { count: 5, receivers: 7 }, "orderd_notification_receivers_total"), "7");
    assert_eq!(after(NotificationsDropped { count: 3 }, &series("dropped")), "3");
    assert_eq!(after(NotificationsFailed { count: 2, first: true, reason: "NOPERM" }, &series("failed")), "2");
}

#[test]
fn failures_are_counted_by_class_and_retries_besides() {
    let failed = |class, next| EventFailed { entry: ENTRY, class, message: "too early", next };
    for (class, label) in [
        (FailureClass::Transient, "transient"),
        (FailureClass::Permanent, "permanent"),
        (FailureClass::Unavailable, "unavailable"),
    ] {
        assert_eq!(after(failed(class, None), &format!("orderd_failures_total{{class=\"{label}\"}}")), "1");
    }
    assert_eq!(after(failed(FailureClass::Transient, Some(SECOND)), "orderd_retries_total"), "1");
    assert_eq!(after(failed(FailureClass::Transient, None), "orderd_retries_total"), "0");
    let dead = DeadLettered { entry: ENTRY, reason: DeadReason::TooManyCrashes, detail: "three workers died" };
    assert_eq!(after(dead, "orderd_dead_letters_total{reason=\"max-crashes\"}"), "1");
    assert_eq!(after(DeadLettersCut { count: 100, keep: 1000 }, "orderd_dead_letters_cut_total"), "100");
    let panicked = HandlerPanicked { handler: "ledger", events: 9, message: "index out of bounds" };
    assert_eq!(after(panicked, "orderd_handler_panics_total"), "1");
    assert_eq!(after(HandlerTimedOut { after: SECOND }, "orderd_handler_timeouts_total"), "1");
}

#[test]
fn recovery_and_trimming_are_counted() {
    assert_eq!(after(LeasesRenewed { count: 40 }, "orderd_leases_renewed_total"), "40");
    assert_eq!(after(LeaseLost { entry: ENTRY }, "orderd_leases_lost_total"), "1");
    assert_eq!(after(EntriesReclaimed { count: 7 }, "orderd_entries_reclaimed_total"), "7");
    assert_eq!(after(EntriesLost { ids: &[ENTRY, ENTRY], how: "XAUTOCLAIM" }, "orderd_entries_lost_total"), "2");
    assert_eq!(after(HandedBack { count: 3 }, "orderd_handed_back_total"), "3");
    assert_eq!(after(ConsumersRemoved { count: 2 }, "orderd_consumers_removed_total"), "2");
    assert_eq!(after(Trimmed { count: 90, unacknowledged: 4 }, "orderd_trimmed_entries_total"), "90");
    assert_eq!(after(Trimmed { count: 90, unacknowledged: 4 }, "orderd_trimmed_unacknowledged_total"), "4");
    assert_eq!(
        after(Reconnected { connection: "reader" }, "orderd_redis_reconnects_total{connection=\"reader\"}"),
        "1"
    );
    let began = GenerationBegan { stream: "s", entry: ENTRY, generation: 1, highest: Some(ENTRY) };
    assert_eq!(after(began, "orderd_generations_total"), "1");
    let pruned = LedgerPruned { inbox: 5, history: 2 };
    assert_eq!(after(pruned, "orderd_ledger_pruned_total{table=\"inbox\"}"), "5");
    assert_eq!(after(pruned, "orderd_ledger_pruned_total{table=\"history\"}"), "2");
    assert_eq!(after(GroupCreated { at: "0-0".to_owned(), lost: true }, "orderd_group_recreated_total"), "1");
    assert_eq!(after(GroupCreated { at: "0-0".to_owned(), lost: false }, "orderd_group_recreated_total"), "0");
    let failed = TaskFailed { task: "reaper", error: "gone", restarts: 1, again_in: SECOND };
    assert_eq!(after(failed, "orderd_task_restarts_total{task=\"reaper\"}"), "1");
}

#[test]
fn what_lasts_is_1_while_it_lasts() {
    let telemetry = Telemetry::new().unwrap();
    let up = || value(&telemetry, "orderd_redis_up");
    assert_eq!(up(), "0", "not connected yet");
    telemetry.emit(RedisConnected { address: "redis://localhost" });
    assert_eq!(up(), "1");
    telemetry.emit(RedisAway { reason: "LOADING" });
    assert_eq!((up(), value(&telemetry, "orderd_redis_outages_total")), ("0".to_owned(), "1".to_owned()));
    telemetry.emit(RedisBack { after: SECOND });
    assert_eq!(up(), "1");

    telemetry.emit(HandlerAway { message: "the database is locked" });
    assert_eq!(value(&telemetry, "orderd_handler_unavailable"), "1");
    telemetry.emit(HandlerBack { after: SECOND });
    assert_eq!(value(&telemetry, "orderd_handler_unavailable"), "0");

    telemetry.emit(TrimBlocked { group: "audit", over: 500 });
    assert_eq!(value(&telemetry, "orderd_trim_blocked"), "1");
    telemetry.emit(TrimUnblocked);
    assert_eq!(value(&telemetry, "orderd_trim_blocked"), "0");
}

#[test]
fn a_backlog_that_is_not_known_is_never_0() {
    let telemetry = Telemetry::new().unwrap();
    let gauges = [
        ("orderd_group_pending", "3"),
        ("orderd_group_lag", "7"),
        ("orderd_stream_length", "10"),
        ("orderd_oldest_pending_age_seconds", "1.5"),
        ("orderd_oldest_undelivered_age_seconds", "0"),
        ("orderd_group_consumers", "4"),
        ("orderd_dead_letters_waiting", "2"),
    ];
    let all_unknown = || {
        for (name, _) in gauges {
            assert_eq!(value(&telemetry, name), "NaN", "{name}");
        }
        assert_eq!(value(&telemetry, "orderd_group_lag_known"), "0");
        assert_eq!(telemetry.latest().backlog, None);
    };
    all_unknown();
    telemetry.emit(BACKLOG);
    for (name, known) in gauges {
        assert_eq!(value(&telemetry, name), known, "{name}");
    }
    assert_eq!(value(&telemetry, "orderd_group_lag_known"), "1");
    telemetry.emit(RedisAway { reason: "connection refused" });
    all_unknown();

    telemetry.emit(Backlog { lag: None, ..BACKLOG });
    assert_eq!(value(&telemetry, "orderd_group_lag"), "NaN");
    assert_eq!(value(&telemetry, "orderd_group_lag_known"), "0");
    assert_eq!(value(&telemetry, "orderd_group_pending"), "3");
    telemetry.emit(BacklogUnknown);
    all_unknown();
}

#[test]
fn clones_speak_with_one_voice_and_the_latest_word_is_kept() {
    let telemetry = Telemetry::new().unwrap();
    let clone = telemetry.clone();
    let levels = Levels { in_hand: 12, parked: 2, window: 4096 };
    clone.emit(PhaseChanged { phase: "running" });
    clone.emit(levels);
    assert_eq!((telemetry.latest().phase, telemetry.latest().levels), ("running", levels));
    for (name, expected) in
        [("orderd_entries_in_hand", "12"), ("orderd_entries_parked", "2"), ("orderd_window_size", "4096")]
    {
        assert_eq!(value(&telemetry, name), expected);
    }
}

#[test]
fn each_reason_of_a_dead_letter_stands_at_0_from_the_start() {
    let field = || "f".to_owned();
    let undecodable = [
        DecodeError::Missing(field()),
        DecodeError::Empty(field()),
        DecodeError::Repeated(field()),
        DecodeError::NotUtf8(field()),
        DecodeError::BadAmount(field()),
        DecodeError::BadJson(field()),
        DecodeError::BadReplay,
        DecodeError::TooLarge { what: field(), bytes: 1, limit: 0 },
    ];
    let mut reasons: Vec<DeadReason> =
        undecodable.iter().map(|error| DeadReason::Undecodable(error.reason())).collect();
    reasons.extend([DeadReason::Permanent, DeadReason::TooManyFailures, DeadReason::TooManyCrashes]);
    let telemetry = Telemetry::new().unwrap();
    for reason in &reasons {
        let series = format!("orderd_dead_letters_total{{reason=\"{}\"}}", reason.as_str());
        assert_eq!(value(&telemetry, &series), "0");
    }
    let metric = METRICS.iter().find(|metric| metric.name == "orderd_dead_letters_total").unwrap();
    assert_eq!(metric.labels[0].values.len(), reasons.len());
}
