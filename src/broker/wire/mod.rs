//! The protocol of Redis, spoken without the client library where its cost shows: for reading, for acknowledging
//! and for telling.
//!
//! Owns: a connection with the buffer for what arrives on it, commands as bytes, and taking replies apart where they lie.
//! Never: any other command. What is rare goes through the library, which knows every reply there is.

pub mod batch;
pub(super) mod command;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod library;
pub(super) mod link;
pub(super) mod token;
pub(super) mod transaction;
