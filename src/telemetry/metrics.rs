//! What is measured.
//!
//! Owns: the one table of every metric: its name, kind, unit, labels and meaning. `docs/metrics.md` is held against it.
//! Never: a value; a label whose values are not bounded.

/// A metric that orderd has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name. A counter's ends in `_total`; a unit other than a count stands in it.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values are counted in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// What a metric counts in: base units only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things, or yes and no as 1 and 0.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// What tells the series of one metric apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// The values that are known beforehand. Their series stand at 0 from the start, so that a first increase is seen.
    pub values: &'static [&'static str],
}

impl Kind {
    /// The word of the exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Metric {
    const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, unit: Unit::Count, help, labels: &[] }
    }

    const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, unit: Unit::Count, help, labels: &[] }
    }

    const fn histogram(name: &'static str, bounds: &'static [f64], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram(bounds), unit: Unit::Count, help, labels: &[] }
    }

    const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.labels = labels;
        self
    }

    const fn seconds(mut self) -> Self {
        self.unit = Unit::Seconds;
        self
    }

    const fn bytes(mut self) -> Self {
        self.unit = Unit::Bytes;
        self
    }
}

/// From a commit in memory to a handler that is about to time out.
const CALL_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a read that is acknowledged at once to an entry that waited through retries.
const SETTLE_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const BATCH_SIZES: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

const SOURCE: Label = Label { name: "source", values: &["new", "own", "claimed"] };
const OUTCOME: Label = Label { name: "outcome", values: &["applied", "duplicate"] };
const CLASS: Label = Label { name: "class", values: &["transient", "permanent", "unavailable"] };
const REASON: Label = Label {
    name: "reason",
    values: &[
        "permanent",
        "max-failures",
        "max-crashes",
        "missing-field",
        "empty-field",
        "duplicate-field",
        "invalid-utf8",
        "bad-amount",
        "bad-json",
        "bad-replay",
        "too-large",
    ],
};
const NOTIFICATION: Label = Label { name: "outcome", values: &["sent", "dropped", "failed"] };
const CONNECTION: Label =
    Label { name: "connection", values: &["reader", "commands", "acks", "subscriber", "publisher"] };
const GAP: Label = Label { name: "reason", values: &["away", "too-slow"] };
const RELOAD: Label = Label { name: "outcome", values: &["done", "refused"] };
const TABLE: Label = Label { name: "table", values: &["inbox", "history"] };
const TASK: Label = Label { name: "task", values: &[] };
const VERSION: Label = Label { name: "version", values: &[env!("CARGO_PKG_VERSION")] };

/// Every metric.
pub const METRICS: &[Metric] = &[
    // The road: read, handle, settle.
    Metric::counter("orderd_entries_read_total", "Entries taken in hand, by where they came from.").labels(&[SOURCE]),
    Metric::counter("orderd_handler_calls_total", "Calls of the handler that came back."),
    Metric::histogram("orderd_handler_duration_seconds", CALL_SECONDS, "How long a call of the handler took.")
        .seconds(),
    Metric::histogram("orderd_handler_batch_size", BATCH_SIZES, "Events in one call of the handler."),
    Metric::counter("orderd_events_settled_total", "Events acknowledged after their effect was in place.")
        .labels(&[OUTCOME]),
    Metric::histogram(
        "orderd_settle_seconds",
        SETTLE_SECONDS,
        "From the read to the acknowledgement, of the oldest event in each settled batch.",
    )
    .seconds(),
    Metric::counter("orderd_ack_misses_total", "Acknowledged entries that were not pending any more."),
    Metric::counter(
        "orderd_deliveries_dropped_total",
        "Deliveries that were dropped unsettled; their entries stay pending.",
    ),
    // What goes wrong with events.
    Metric::counter("orderd_failures_total", "Events that failed, by whose fault it was.").labels(&[CLASS]),
    Metric::counter("orderd_retries_total", "Failed events that were put off to be tried again."),
    Metric::counter("orderd_dead_letters_total", "Entries that became dead letters, by reason.").labels(&[REASON]),
    Metric::counter(
        "orderd_dead_letters_cut_total",
        "Dead letters that were cut, for there were more than dead.max_len.",
    ),
    Metric::counter("orderd_handler_panics_total", "Calls of the handler that ended in a panic."),
    Metric::counter("orderd_handler_timeouts_total", "Calls of the handler that were given up after handler.timeout."),
    Metric::gauge(
        "orderd_handler_unavailable",
        "1 while what the handler depends on is away and reading pauses, else 0.",
    ),
    // Leases and recovery.
    Metric::counter("orderd_leases_renewed_total", "Entries whose lease was renewed."),
    Metric::counter("orderd_leases_lost_total", "Entries in hand that another worker had taken over."),
    Metric::counter("orderd_entries_reclaimed_total", "Entries taken over from consumers that were gone."),
    Metric::counter("orderd_entries_lost_total", "Entries that were deleted before they were handled."),
    Metric::counter("orderd_handed_back_total", "Entries handed back unfinished, for another worker to take at once."),
    Metric::counter("orderd_consumers_removed_total", "Consumers removed because they were gone and held nothing."),
    // The trimmer.
    Metric::counter("orderd_trimmed_entries_total", "Entries that the trimmer deleted."),
    Metric::counter(
        "orderd_trimmed_unacknowledged_total",
        "Entries the trimmer deleted, as told to, that a group still needed.",
    ),
    Metric::gauge("orderd_trim_blocked", "1 while a group keeps the stream above trimmer.max_len, else 0."),
    // Redis.
    Metric::gauge("orderd_redis_up", "1 while Redis answers, else 0."),
    Metric::counter("orderd_redis_outages_total", "Times that Redis went away."),
    Metric::counter("orderd_redis_reconnects_total", "Connections that were made anew, by which.")
        .labels(&[CONNECTION]),
    Metric::counter("orderd_group_recreated_total", "Times that the consumer group had been lost and was made anew."),
    // The ledger.
    Metric::counter("orderd_generations_total", "Times that the stream began to give out its ids again."),
    Metric::counter("orderd_ledger_pruned_total", "Rows that the ledger forgot, by table.").labels(&[TABLE]),
    // Live notifications.
    Metric::counter("orderd_notifications_total", "Notifications of settled events, by what came of them.")
        .labels(&[NOTIFICATION]),
    Metric::counter(
        "orderd_notification_receivers_total",
        "Subscribers that were given a notification, summed over all notifications.",
    ),
    Metric::gauge("orderd_live_clients", "Browsers that watch over server-sent events."),
    Metric::counter("orderd_live_clients_cut_total", "Browsers that were cut off because they were too slow."),
    Metric::counter("orderd_live_gaps_total", "Times that browsers may have missed notifications, by why.")
        .labels(&[GAP]),
    // The process itself.
    Metric::counter("orderd_task_restarts_total", "Tasks that failed and were started again, by task.").labels(&[TASK]),
    Metric::counter("orderd_config_reloads_total", "Times that the configuration was read again, by what came of it.")
        .labels(&[RELOAD]),
    Metric::gauge("orderd_build_info", "Always 1; the label says which version runs.").labels(&[VERSION]),
    // Levels.
    Metric::gauge("orderd_entries_in_hand", "Entries read and not settled yet."),
    Metric::gauge("orderd_entries_parked", "Entries in hand that wait for their next try or behind one that does."),
    Metric::gauge("orderd_window_size", "The most entries that may be in hand at once."),
    // The group and the stream, as the last survey found them; NaN while unknown.
    Metric::gauge("orderd_group_pending", "Entries delivered to the group and not acknowledged; NaN while unknown."),
    Metric::gauge("orderd_group_lag", "Entries not delivered to the group yet; NaN while unknown."),
    Metric::gauge("orderd_group_lag_known", "1 while orderd_group_lag is known, else 0."),
    Metric::gauge("orderd_stream_length", "Entries in the stream; NaN while unknown."),
    Metric::gauge(
        "orderd_oldest_pending_age_seconds",
        "Age of the oldest pending entry, 0 without one; NaN while unknown.",
    )
    .seconds(),
    Metric::gauge(
        "orderd_oldest_undelivered_age_seconds",
        "Age of the oldest entry not delivered to the group, 0 without one; NaN while unknown.",
    )
    .seconds(),
    Metric::gauge("orderd_group_consumers", "Consumers in the group; NaN while unknown."),
    Metric::gauge(
        "orderd_dead_letters_waiting",
        "Dead letters that nobody has replayed or discarded; NaN while unknown.",
    ),
    // The standard ones of a process.
    Metric::counter("process_cpu_seconds_total", "Total user and system CPU time spent.").seconds(),
    Metric::gauge("process_resident_memory_bytes", "Resident memory size.").bytes(),
    Metric::gauge("process_virtual_memory_bytes", "Virtual memory size.").bytes(),
    Metric::gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available.").bytes(),
    Metric::gauge("process_open_fds", "Number of open file descriptors."),
    Metric::gauge("process_max_fds", "Maximum number of open file descriptors; 0 without a limit."),
    Metric::gauge("process_threads", "Number of threads."),
    Metric::gauge("process_start_time_seconds", "Start time of the process since the Unix epoch.").seconds(),
];
