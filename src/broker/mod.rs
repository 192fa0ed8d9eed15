//! Everything that speaks Redis.
//!
//! Owns: connections, commands, scripts, replies, and the meaning of error replies. The only folder that names the `redis` crate.
//! Never: what an event means or what is to be done with it.

pub mod address;
pub mod group;
