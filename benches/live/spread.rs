//! How latencies are spread.

use std::time::Duration;

use anyhow::Context as _;

use super::report::Measure;

/// Half of all are at most the first, and ninety-nine of a hundred at most the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) p50: Duration,
    p99: Duration,
}

impl Spread {
    pub(crate) fn of(mut latencies: Vec<Duration>) -> anyhow::Result<Self> {
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().context("nothing was heard");
        Ok(Self { p50: at(50)?, p99: at(99)? })
    }

    pub(crate) fn measures(self, names: [&'static str; 2]) -> [Measure; 2] {
        [Measure::time(names[0], self.p50), Measure::time(names[1], self.p99)]
    }
}
