//! The proof: what is promised, shown under real faults by a checker that reads only files.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

mod checker;
mod faults;
mod scenario;
#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/harness/servers.rs"]
mod servers;
mod stage;
mod suite;
mod table;
mod tutorial;
