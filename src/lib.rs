//! orderd: a worker daemon for order events on Redis Streams.

pub mod crash;
pub mod domain;

pub mod supervisor;
pub mod telemetry;

pub mod broker;
pub mod handler;
pub mod ledger;

pub mod admin;
pub mod task;

pub mod settings;

pub mod daemon;

pub mod cli;
