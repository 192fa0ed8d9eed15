//! The proof: what is promised, shown under real faults by a checker that reads only files.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

mod checker;
