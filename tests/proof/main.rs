//! The proof: what is promised, shown under real faults by a checker that reads only files.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

use std::time::{Duration, Instant};

#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/harness/certificates.rs"]
mod certificates;
mod checker;
mod faults;
#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/harness/postgres.rs"]
mod postgres;
mod scenario;
mod scenarios;
#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/harness/servers.rs"]
mod servers;
mod stage;
mod suite;
mod table;
mod tutorial;

/// Waits until `found` returns something.
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
