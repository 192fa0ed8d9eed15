//! What a process has used, as the kernel counts.
//!
//! Owns: reading `/proc`. CPU time comes from the scheduler's own count in nanoseconds; the ticks of `/proc/PID/stat` are 10 ms each,
//! which is a third of what the raw client needs for a whole run.
//! Never: a thread that has ended: its time is not seen. None of those who are measured ends a thread that has worked.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// Memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// In use now.
    pub(crate) now_kib: u64,
    /// The most that was ever in use.
    pub(crate) peak_kib: u64,
}

/// The CPU time of a process, of all its threads together.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    let threads = format!("/proc/{pid}/task");
    for thread in fs::read_dir(&threads).with_context(|| threads.clone())? {
        total += cpu_of_thread(&thread?.path())?;
    }
    Ok(total)
}

/// The CPU time of the thread with this folder in `/proc`.
pub(crate) fn cpu_of_thread(folder: &Path) -> anyhow::Result<Duration> {
    let path = folder.join("schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("{} (CONFIG_SCHED_INFO)", path.display()))?;
    let nanoseconds = text.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(nanoseconds.parse().with_context(|| format!("{}: {text}", path.display()))?))
}

/// How many processes of the machine want a core, averaged over the last minute. What others do there shows in every rate.
pub(crate) fn load() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().unwrap_or_default().parse().context("/proc/loadavg")
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.with_context(|| format!("{path} without {name}"))
    };
    Ok(Memory { now_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
}
