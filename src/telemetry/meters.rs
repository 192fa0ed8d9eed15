//! The meters: where the values of the metrics are kept.
//!
//! Owns: a recorder of its own and a handle for each metric, made once, so that counting is an atomic addition without a lookup.
//! Never: a recorder that is installed globally; a metric that is not in [`METRICS`].

use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::event::{Backlog, Levels};
use super::metrics::{Kind, METRICS, Metric};

/// The handles of all metrics.
pub struct Meters {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    latest: Mutex<Latest>,

    pub(super) read_new: Counter,
    pub(super) read_own: Counter,
    pub(super) read_claimed: Counter,
    pub(super) handler_calls: Counter,
    pub(super) handler_duration: Histogram,
    pub(super) handler_batch_size: Histogram,
    pub(super) settled_applied: Counter,
    pub(super) settled_duplicate: Counter,
    pub(super) settle_seconds: Histogram,
    pub(super) ack_misses: Counter,
    pub(super) deliveries_dropped: Counter,

    pub(super) failures_transient: Counter,
    pub(super) failures_permanent: Counter,
    pub(super) failures_unavailable: Counter,
    pub(super) retries: Counter,
    pub(super) dead_letters_cut: Counter,
    pub(super) handler_panics: Counter,
    pub(super) handler_timeouts: Counter,
    pub(super) handler_unavailable: Gauge,

    pub(super) leases_renewed: Counter,
    pub(super) leases_lost: Counter,
    pub(super) entries_reclaimed: Counter,
    pub(super) entries_lost: Counter,
    pub(super) handed_back: Counter,
    pub(super) consumers_removed: Counter,

    pub(super) trimmed_entries: Counter,
    pub(super) trimmed_unacknowledged: Counter,
    pub(super) trim_blocked: Gauge,

    pub(super) redis_up: Gauge,
    pub(super) redis_outages: Counter,
    pub(super) group_recreated: Counter,
    pub(super) generations: Counter,
    pub(super) pruned_inbox: Counter,
    pub(super) pruned_history: Counter,

    pub(super) notifications_sent: Counter,
    pub(super) notifications_dropped: Counter,
    pub(super) notifications_failed: Counter,
    pub(super) notification_receivers: Counter,
    pub(super) live_clients: Gauge,
    pub(super) live_clients_cut: Counter,

    pub(super) reloads_done: Counter,
    pub(super) reloads_refused: Counter,

    entries_in_hand: Gauge,
    entries_parked: Gauge,
    window_size: Gauge,
    group_pending: Gauge,
    group_lag: Gauge,
    group_lag_known: Gauge,
    stream_length: Gauge,
    oldest_pending_age: Gauge,
    oldest_undelivered_age: Gauge,
    group_consumers: Gauge,
    dead_letters_waiting: Gauge,
}

/// What the daemon last said of itself, for the status page.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Latest {
    /// The phase it is in; empty before the first.
    pub phase: &'static str,
    /// What it has in hand.
    pub levels: Levels,
    /// What waits in the stream; `None` while nobody knows.
    pub backlog: Option<Backlog>,
}

impl Meters {
    pub(super) fn new() -> Result<Self, BuildError> {
        let recorder = recorder()?;
        let meters = Self::with(recorder);
        meters.set_backlog(None);
        Ok(meters)
    }

    pub(super) fn latest(&self) -> Latest {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn render(&self) -> String {
        self.handle.render()
    }

    pub(super) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    pub(super) fn set_phase(&self, phase: &'static str) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    pub(super) fn set_levels(&self, levels: Levels) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).levels = levels;
        self.entries_in_hand.set(number(levels.in_hand as u64));
        self.entries_parked.set(number(levels.parked as u64));
        self.window_size.set(number(levels.window as u64));
    }

    /// Sets what waits in the stream. Unknown is unknown: never 0, and never what was true before.
    pub(super) fn set_backlog(&self, backlog: Option<Backlog>) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).backlog = backlog;
        let count = |of: fn(&Backlog) -> Option<u64>| backlog.as_ref().and_then(of).map_or(f64::NAN, number);
        self.group_pending.set(count(|b| Some(b.pending)));
        self.group_lag.set(count(|b| b.lag));
        self.stream_length.set(count(|b| Some(b.length)));
        self.group_consumers.set(count(|b| Some(b.consumers)));
        self.dead_letters_waiting.set(count(|b| Some(b.dead)));
        self.group_lag_known.set(u8::from(backlog.is_some_and(|b| b.lag.is_some())));

        let age = |of: fn(&Backlog) -> Option<std::time::Duration>| {
            backlog.as_ref().map_or(f64::NAN, |b| of(b).unwrap_or_default().as_secs_f64())
        };
        self.oldest_pending_age.set(age(|b| b.oldest_pending));
        self.oldest_undelivered_age.set(age(|b| b.oldest_undelivered));
    }

    /// Counts something rare by a label whose value is looked up.
    pub(super) fn count_by(&self, name: &'static str, label: &'static str, value: &str, count: u64) {
        let key = Key::from_parts(name, vec![Label::new(label, value.to_owned())]);
        self.recorder.register_counter(&key, &METADATA).increment(count);
    }

    fn with(recorder: PrometheusRecorder) -> Self {
        let counter = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let histogram = |name| recorder.register_histogram(&Key::from_static_name(name), &METADATA);
        let labelled = |name, label, value| {
            let key = Key::from_parts(name, vec![Label::from_static_parts(label, value)]);
            recorder.register_counter(&key, &METADATA)
        };
        Self {
            read_new: labelled("orderd_entries_read_total", "source", "new"),
            read_own: labelled("orderd_entries_read_total", "source", "own"),
            read_claimed: labelled("orderd_entries_read_total", "source", "claimed"),
            handler_calls: counter("orderd_handler_calls_total"),
            handler_duration: histogram("orderd_handler_duration_seconds"),
            handler_batch_size: histogram("orderd_handler_batch_size"),
            settled_applied: labelled("orderd_events_settled_total", "outcome", "applied"),
            settled_duplicate: labelled("orderd_events_settled_total", "outcome", "duplicate"),
            settle_seconds: histogram("orderd_settle_seconds"),
            ack_misses: counter("orderd_ack_misses_total"),
            deliveries_dropped: counter("orderd_deliveries_dropped_total"),
            failures_transient: labelled("orderd_failures_total", "class", "transient"),
            failures_permanent: labelled("orderd_failures_total", "class", "permanent"),
            failures_unavailable: labelled("orderd_failures_total", "class", "unavailable"),
            retries: counter("orderd_retries_total"),
            dead_letters_cut: counter("orderd_dead_letters_cut_total"),
            handler_panics: counter("orderd_handler_panics_total"),
            handler_timeouts: counter("orderd_handler_timeouts_total"),
            handler_unavailable: gauge("orderd_handler_unavailable"),
            leases_renewed: counter("orderd_leases_renewed_total"),
            leases_lost: counter("orderd_leases_lost_total"),
            entries_reclaimed: counter("orderd_entries_reclaimed_total"),
            entries_lost: counter("orderd_entries_lost_total"),
            handed_back: counter("orderd_handed_back_total"),
            consumers_removed: counter("orderd_consumers_removed_total"),
            trimmed_entries: counter("orderd_trimmed_entries_total"),
            trimmed_unacknowledged: counter("orderd_trimmed_unacknowledged_total"),
            trim_blocked: gauge("orderd_trim_blocked"),
            redis_up: gauge("orderd_redis_up"),
            redis_outages: counter("orderd_redis_outages_total"),
            group_recreated: counter("orderd_group_recreated_total"),
            generations: counter("orderd_generations_total"),
            notifications_sent: labelled("orderd_notifications_total", "outcome", "sent"),
            notifications_dropped: labelled("orderd_notifications_total", "outcome", "dropped"),
            notifications_failed: labelled("orderd_notifications_total", "outcome", "failed"),
            notification_receivers: counter("orderd_notification_receivers_total"),
            pruned_inbox: labelled("orderd_ledger_pruned_total", "table", "inbox"),
            pruned_history: labelled("orderd_ledger_pruned_total", "table", "history"),
            live_clients: gauge("orderd_live_clients"),
            live_clients_cut: counter("orderd_live_clients_cut_total"),
            reloads_done: labelled("orderd_config_reloads_total", "outcome", "done"),
            reloads_refused: labelled("orderd_config_reloads_total", "outcome", "refused"),
            entries_in_hand: gauge("orderd_entries_in_hand"),
            entries_parked: gauge("orderd_entries_parked"),
            window_size: gauge("orderd_window_size"),
            group_pending: gauge("orderd_group_pending"),
            group_lag: gauge("orderd_group_lag"),
            group_lag_known: gauge("orderd_group_lag_known"),
            stream_length: gauge("orderd_stream_length"),
            oldest_pending_age: gauge("orderd_oldest_pending_age_seconds"),
            oldest_undelivered_age: gauge("orderd_oldest_undelivered_age_seconds"),
            group_consumers: gauge("orderd_group_consumers"),
            dead_letters_waiting: gauge("orderd_dead_letters_waiting"),
            latest: Mutex::default(),
            handle: recorder.handle(),
            recorder,
        }
    }
}

/// A count as a gauge takes it.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a double; a count is exact up to 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

const METADATA: Metadata<'static> = Metadata::new("orderd", Level::INFO, None);

/// A recorder that knows every metric of the table, with each series that is known beforehand.
fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        // A histogram without buckets of its own would be shown as a summary.
        if let Kind::Histogram(bounds) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)?;
        }
    }
    let recorder = builder.build_recorder();
    for metric in METRICS.iter().filter(|metric| metric.name.starts_with("orderd_")) {
        describe(&recorder, metric);
        for label in metric.labels {
            for value in label.values {
                let key = Key::from_parts(metric.name, vec![Label::from_static_parts(label.name, value)]);
                register(&recorder, metric.kind, &key);
            }
        }
    }
    Ok(recorder)
}

fn describe(recorder: &PrometheusRecorder, metric: &Metric) {
    let name = KeyName::from_const_str(metric.name);
    match metric.kind {
        Kind::Counter => recorder.describe_counter(name, None, metric.help.into()),
        Kind::Gauge => recorder.describe_gauge(name, None, metric.help.into()),
        Kind::Histogram(_) => recorder.describe_histogram(name, None, metric.help.into()),
    }
}

fn register(recorder: &PrometheusRecorder, kind: Kind, key: &Key) {
    match kind {
        Kind::Counter => recorder.register_counter(key, &METADATA).increment(0),
        // The one gauge with a label says what runs.
        Kind::Gauge => recorder.register_gauge(key, &METADATA).set(1.0),
        Kind::Histogram(_) => drop(recorder.register_histogram(key, &METADATA)),
    }
}
