//! Tests of the whole system: orderd where it is to live. `make system-test` runs them.
//!
//! Owns: what needs a machine: a booted systemd, containers, certificates, an alerting Prometheus.
//! Never: a test that is skipped. Where something is missing, root included, it fails and says what.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

mod compose;
mod container;
mod engine;
mod guest;
mod harness;
mod kubernetes;
mod package;
mod prometheus;
mod shop;
mod unit;
