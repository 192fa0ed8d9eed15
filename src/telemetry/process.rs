//! The standard `process_*` metrics.
//!
//! Owns: reading them from the system and writing them as text. By hand, for the exporter's counters are whole numbers, and
//! whole seconds of CPU time are too coarse.
//! Never: a cached value; they are read at each scrape.

use std::fmt::Write;

use metrics_process::collector;

use super::metrics::METRICS;

/// Appends the metrics of this process to `text`. What the system does not tell is left out.
pub(super) fn render_into(text: &mut String) {
    let now = collector::collect();
    let whole = |number: Option<u64>| number.map(|number| number.to_string());
    let values = [
        ("process_cpu_seconds_total", now.cpu_seconds_total.map(|seconds| seconds.to_string())),
        ("process_resident_memory_bytes", whole(now.resident_memory_bytes)),
        ("process_virtual_memory_bytes", whole(now.virtual_memory_bytes)),
        ("process_virtual_memory_max_bytes", whole(now.virtual_memory_max_bytes)),
        ("process_open_fds", whole(now.open_fds)),
        ("process_max_fds", whole(now.max_fds)),
        ("process_threads", whole(now.threads)),
        ("process_start_time_seconds", whole(now.start_time_seconds)),
    ];
    for metric in METRICS {
        let value = values.iter().find(|(name, _)| *name == metric.name).and_then(|(_, value)| value.as_deref());
        if let Some(value) = value {
            let (name, help, kind) = (metric.name, metric.help, metric.kind.as_str());
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
}
