//! What holds for the whole, tested against real parts. One binary, one file a subject.

// `cfg(test)` is always true here; it tells clippy that helpers of tests are tests too.
#[cfg(test)]
mod ledger;
