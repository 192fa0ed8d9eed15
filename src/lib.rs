//! orderd: a worker daemon for order events on Redis Streams.

pub mod domain;

pub mod broker;
pub mod handler;
pub mod ledger;

pub mod task;

pub mod cli;
