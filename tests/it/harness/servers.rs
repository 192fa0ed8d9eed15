//! The servers that the tests run against: the one in `PATH`, and those that `scripts/test-servers.sh` has fetched.

use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use orderd::cli::sandbox::Options;

/// The servers whose replies differ. The first is the one in `PATH`.
const FETCHED: [&str; 4] = ["redis-6.2", "redis-8.2", "valkey-8.1", "valkey-9.1"];

/// Every server that is here. Under `CI=true`, one that is missing is an error; elsewhere it is named and left out.
pub(crate) fn all() -> Vec<(&'static str, Options)> {
    let mut servers = vec![("redis in PATH", Options::default())];
    for name in FETCHED {
        let program = folder().join(name).join("redis-server");
        if program.is_file() {
            servers.push((name, Options { program, ..Options::default() }));
        } else {
            assert!(std::env::var_os("CI").is_none(), "{name} is not in {}: run make test", folder().display());
            eprintln!("left out: {name} is not in {} (make test fetches it)", folder().display());
        }
    }
    servers
}

/// Runs `test` with each server, all of them at the same time.
pub(crate) fn on_every_server(test: impl Fn(Options) + Sync) {
    std::thread::scope(|scope| {
        let test = &test;
        let start = |(name, options)| (name, scope.spawn(move || test(options)));
        let running: Vec<(&str, ScopedJoinHandle<'_, ()>)> = all().into_iter().map(start).collect();
        for (name, server) in running {
            assert!(server.join().is_ok(), "on {name}");
        }
    });
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers")
}
