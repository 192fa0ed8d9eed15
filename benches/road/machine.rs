//! What the machine was doing besides.

use std::fs;

use anyhow::Context as _;

/// How many processes of the machine want a core, averaged over the last minute. What others do there shows in every number.
pub(crate) fn load() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().unwrap_or_default().parse().context("/proc/loadavg")
}

/// How many cores there are; 0 where that is not known.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}
