//! What a process has used, as the kernel counts.
//!
//! Owns: reading `/proc`. CPU time comes from the scheduler's own count in nanoseconds; the ticks of `/proc/PID/stat` are 10 ms each,
//! which is a third of what the raw client needs for a whole run.
//! Never: a thread that has ended: its time is not seen. None of those who are measured ends a thread that has worked.

use std::fs;
use std::iter::Sum;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// In use now.
    pub(crate) now_kib: u64,
    /// The most that was ever in use.
    pub(crate) peak_kib: u64,
}

/// The time of a process or of a thread.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Time {
    /// It had a core.
    pub(crate) cpu: Duration,
    /// It could have gone on, and had none.
    pub(crate) in_line: Duration,
}

impl Time {
    /// Since this earlier one.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let Self { cpu, in_line } = self;
        Self { cpu: cpu.saturating_sub(earlier.cpu), in_line: in_line.saturating_sub(earlier.in_line) }
    }
}

impl Sum for Time {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), |a, b| Self { cpu: a.cpu + b.cpu, in_line: a.in_line + b.in_line })
    }
}

/// The time of a process, of all its threads together.
pub(crate) fn time(pid: u32) -> anyhow::Result<Time> {
    let threads = format!("/proc/{pid}/task");
    fs::read_dir(&threads).with_context(|| threads.clone())?.map(|thread| time_of_thread(&thread?.path())).sum()
}

/// The time of the thread with this folder in `/proc`.
pub(crate) fn time_of_thread(folder: &Path) -> anyhow::Result<Time> {
    let path = folder.join("schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("{} (CONFIG_SCHED_INFO)", path.display()))?;
    let mut words = text.split_whitespace();
    let mut next = || words.next()?.parse().ok().map(Duration::from_nanos);
    let (Some(cpu), Some(in_line)) = (next(), next()) else { bail!("{}: {text}", path.display()) };
    Ok(Time { cpu, in_line })
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
