//! Values and decisions: what an order event is, and what is to be done with it.
//!
//! Owns: the types that the whole house speaks in, and every rule that can be written as a function of its arguments.
//! Never: async, I/O, a clock (`now` is an argument), a random number (jitter is an argument), the `redis` crate.

pub mod batch;
pub mod decode;
pub mod entry;
pub mod event;
pub mod id;
pub mod inbox;
mod json;
pub mod lanes;
pub mod mark;
pub mod notice;
pub mod order;
pub mod outcome;
pub mod prune;
pub mod replay;
pub mod retry;
pub mod template;
pub mod told;
pub mod trim;
pub mod versions;
