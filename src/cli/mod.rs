//! The command line.
//!
//! Owns: what a person types and what a person reads: one file a command, and the exit codes.
//! Never: a rule about orders; the commands only call what the rooms below know.

pub mod draft;
pub mod plausible;
pub mod sandbox;
