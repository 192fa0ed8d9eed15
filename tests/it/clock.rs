//! A server whose clock steps back: idle times say nothing then, and still nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use orderd::cli::sandbox::Options;

use super::harness::{GROUP, STREAM, World, servers, wait_until};

/// Where Debian and Ubuntu put it.
const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];

#[test]
fn what_a_dead_worker_left_is_taken_over_though_the_clock_stepped_back_by_an_hour() {
    let Some(library) = LIBRARIES.iter().map(Path::new).find(|library| library.is_file()) else {
        assert!(std::env::var_os("CI").is_none(), "libfaketime is missing: make test installs it (package faketime)");
        eprintln!("left out: libfaketime is missing (package faketime)");
        return;
    };
    let Some((_, options)) = servers::all().into_iter().find(|(name, _)| *name == "redis-6.2") else {
        eprintln!("left out: the server of the path does not start under libfaketime, and redis-6.2 is missing");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    fs::write(&clock, "+0").unwrap();
    let program = with_clock(folder.path(), library, &clock, &options.program);
    let world = World::with(Options { program, ..options });

    let settings = [("reaper.claim_after", "1s"), ("reaper.interval", "200ms"), ("handler.kind", "none")];
    let daemon = world.daemon("w", &settings);
    daemon.wait_until_ready();
    world.add_many(5, 5);
    world.wait_until_drained();
    // A worker that will not come back takes ten entries.
    let mut redis = world.redis();
    let read: redis::Value = take_for_a_dead_worker(&mut redis, 10);
    assert!(matches!(read, redis::Value::Array(_)), "{read:?}");

    fs::write(&clock, "-1h").unwrap();
    wait_until("everything is taken over and done", || world.pending() == 0);
    assert!(daemon.metric("orderd_entries_reclaimed_total").unwrap_or_default() >= 10.0);
}

/// Adds entries and reads them in one step, so that no living worker gets them.
fn take_for_a_dead_worker(redis: &mut redis::Connection, count: usize) -> redis::Value {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    for n in 0..count {
        pipeline.cmd("XADD").arg(STREAM).arg("*").arg("action").arg("shipped").arg("orderId").arg(n).ignore();
    }
    pipeline.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg("dead-0").arg("COUNT").arg(count);
    pipeline.arg("STREAMS").arg(STREAM).arg(">");
    pipeline.query(redis).unwrap()
}

/// A server whose clock is what the file says, read anew each time.
fn with_clock(folder: &Path, library: &Path, clock: &Path, server: &Path) -> PathBuf {
    let script = folder.join("redis-server");
    let text = format!(
        "#!/bin/sh\nexport LD_PRELOAD='{}' FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
         DONT_FAKE_MONOTONIC=1\nexec '{}' \"$@\"\n",
        library.display(),
        clock.display(),
        server.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}
