//! The long-running roles, one file each: its options and its `run`.
//!
//! Owns: who waits for what. The roles decide nothing themselves: rules are in `domain`, Redis is in `broker`.
//! Never: a clock in a rule, a detached task.

pub mod bookkeeper;
pub mod consumer;
pub mod feeder;
pub mod gap;
pub mod intake;
pub mod lane;
pub mod listener;
pub mod name;
pub mod notifier;
pub mod nudge;
pub mod readiness;
pub mod reaper;
pub mod road;
pub mod surveyor;
pub mod trimmer;
pub mod trouble;
pub mod tuning;
