//! Tests of the whole: the program as its users run it.
// Not needed for the build: it tells the linter that helper functions are test code too.
#![cfg(test)]

mod acl;
mod add;
mod audit;
mod backlog;
mod browser;
mod bury;
mod check;
mod check_redis;
mod clock;
mod dead;
mod demo;
mod early;
mod embedding;
mod harness;
mod health;
mod lease;
mod ledger;
mod ledger_life;
mod listen;
mod live;
mod names;
mod notify;
mod order;
mod outage;
mod own_names;
mod postgres;
mod reading;
mod reaper;
mod recovery;
mod refusals;
mod reload;
mod retry;
mod road;
mod secrets;
mod service_manager;
mod status;
mod stop;
mod tls;
mod tls_postgres;
mod trim;
mod trimmer;
