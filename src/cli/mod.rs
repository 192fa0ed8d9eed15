//! The command line, one file a command.
//!
//! Owns: what a command takes and what it prints.
//! Never: a rule; a command asks the layers below and shows the answer.

pub mod orders;
