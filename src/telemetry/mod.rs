//! How the daemon speaks: its log and its metrics.
//!
//! Owns: one type per thing that happens; its log line and its metrics leave from the same place.
//! Never: a decision; a global recorder (the daemon hands a [`Telemetry`] to whoever has something to say).

use std::sync::Arc;

use metrics_exporter_prometheus::BuildError;

use meters::Meters;

pub mod event;
pub mod logging;
pub mod meters;
pub mod metrics;
mod process;

/// Where everything that happens is told. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    meters: Arc<Meters>,
}

/// Something that happens, and how it is told.
pub trait Happening {
    /// Writes the log line, where there is one, and moves the metrics.
    fn tell(self, meters: &Meters);
}

/// The metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be set up: {0}")]
pub struct TelemetryError(#[from] BuildError);

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Telemetry {
    /// Meters at their start: counters at 0, and what nobody has measured yet unknown.
    pub fn new() -> Result<Self, TelemetryError> {
        Ok(Self { meters: Arc::new(Meters::new()?) })
    }

    /// Tells that `happening` took place.
    pub fn emit(&self, happening: impl Happening) {
        happening.tell(&self.meters);
    }

    /// What the daemon last said of itself.
    pub fn latest(&self) -> meters::Latest {
        self.meters.latest()
    }

    /// Every metric, and those of the process, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = self.meters.render();
        process::render_into(&mut text);
        text
    }

    /// Moves what the histograms have collected into their buckets. To be called every few seconds: until then each value
    /// takes memory of its own.
    pub fn upkeep(&self) {
        self.meters.upkeep();
    }
}

#[cfg(test)]
mod tests;
