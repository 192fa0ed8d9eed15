//! Tests of the whole: the program as its users run it.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

mod check;
mod clock;
mod harness;
mod health;
mod ledger;
mod names;
mod road;
