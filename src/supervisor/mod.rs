//! The mechanism that keeps tasks running.
//!
//! Owns: what every task has in common, whatever it does.
//! Never: what a task does.

pub mod heartbeat;
