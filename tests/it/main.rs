//! Tests of the whole: the program as its users run it.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

mod check;
mod dead;
mod harness;
mod lease;
mod ledger;
mod names;
mod order;
mod outage;
mod reaper;
mod recovery;
mod retry;
mod road;
mod stop;
mod trim;
