//! orderd: a worker daemon for order events on Redis Streams. Nothing lost, nothing applied twice, each order in sequence.
//!
//! The story, from the ground up:
//!
//! - [`domain`] has the values and the decisions: what an order event is, which may run now, what follows from a failure.
//! - [`telemetry`] tells what happens; [`supervisor`] keeps tasks alive; [`tls`] keeps a connection to ourselves.
//! - [`broker`] speaks Redis; [`ledger`] applies an event once however often it comes.
//! - [`handler`] is what the operator plugs in: what an event does.
//! - [`task`] has the long-running roles: consumers, lanes, reaper, trimmer. [`admin`] answers over HTTP.
//! - [`settings`] is what the operator wrote, checked; [`daemon`] puts everything together; [`cli`] is what a person types.
//!
//! A Rust program can run the whole daemon with a handler of its own: [`daemon::Daemon::with_handler`].

pub mod bug;
pub mod crash;
pub mod domain;
pub mod witness;

pub mod supervisor;
pub mod telemetry;
pub mod tls;

pub mod broker;
pub mod handler;
pub mod ledger;

pub mod admin;
pub mod task;

pub mod settings;

pub mod daemon;

pub mod cli;
