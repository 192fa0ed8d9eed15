//! Crash points: places where a test can make the process die as if it were killed from outside.
//!
//! Owns: dying on the spot, where the variable `ORDERD_CRASH_AT` names the place, in builds with the feature `crash-points`.
//! Never: in a release: without the feature, nothing of it is compiled.

#[cfg(feature = "crash-points")]
use std::{fs::File, io::Write};

/// Kills the process if `ORDERD_CRASH_AT` names this place. `PLACE:0.1` does so one time in ten; several places stand with commas
/// between them.
#[cfg(feature = "crash-points")]
pub fn point(place: &str) {
    let Ok(wanted) = std::env::var("ORDERD_CRASH_AT") else { return };
    for (name, chance) in wanted.split(',').map(|part| part.split_once(':').unwrap_or((part, "1"))) {
        if name == place && fastrand::f64() < chance.parse().unwrap_or(1.0) {
            die(place);
        }
    }
}

/// Kills the process if `ORDERD_CRASH_AT` is `handle=ORDER` for one of these orders: an event that no worker survives.
#[cfg(feature = "crash-points")]
pub fn handling<'o>(mut orders: impl Iterator<Item = &'o str>) {
    let Ok(wanted) = std::env::var("ORDERD_CRASH_AT") else { return };
    if let Some(poison) = wanted.strip_prefix("handle=")
        && orders.any(|order| order == poison)
    {
        die(&wanted);
    }
}

/// Leaves the name of the place as a line of the file that `ORDERD_CRASH_LOG` names, if it does, and ends.
#[cfg(feature = "crash-points")]
fn die(place: &str) {
    let log = std::env::var_os("ORDERD_CRASH_LOG").map(|path| File::options().create(true).append(true).open(path));
    if let Some(Ok(mut log)) = log {
        // Who counts them sees that one is missing.
        let _ = writeln!(log, "{place}");
    }
    let own = rustix::process::getpid();
    // It ends here; should the kernel refuse, the test that waits for it says so.
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
}

/// Does nothing: this build has no crash points.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn handling<'o>(_orders: impl Iterator<Item = &'o str>) {}

/// Does nothing: this build has no crash points.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_place: &str) {}
