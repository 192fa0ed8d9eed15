//! The command line.
//!
//! Owns: the options that all commands share, the choice of the command, and the way an error reaches the operator.
//! Never: work of its own. Each command has a file.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::broker::Broker;
use crate::broker::connect::Connector;
use crate::broker::error::{BrokerError, Trouble};
use crate::broker::keys::Keys;
use crate::ledger::error::LedgerError;
use crate::settings::{self, ConfigErrors, Settings, Sources};
use crate::telemetry::Telemetry;

pub mod add;
pub mod audit;
pub mod check;
pub mod dead;
pub mod demo;
pub mod draft;
pub mod exit;
mod findings;
pub mod health;
pub mod listen;
pub mod orders;
pub mod plausible;
pub mod publish;
mod reload;
pub mod run;
pub mod sandbox;
pub mod status;
mod table;
pub mod trim;

use check::Check;
use exit::Exit;

/// A worker daemon for order events on Redis Streams
///
/// Nothing is lost, nothing is applied twice, and the events of each order are handled in sequence.
#[derive(Debug, Parser)]
#[command(name = "orderd", version, after_long_help = exit::help())]
pub struct Cli {
    /// The configuration file; without it, /etc/orderd/orderd.toml is read if it is there
    ///
    /// Environment variables win over the file (`ORDERD__STREAM__KEY` sets `stream.key`), and the options here win over both.
    #[arg(long, global = true, env = "ORDERD_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets a key of the configuration, such as --set stream.key=orders:events; can be repeated
    ///
    /// Of two values for one key the later wins, and an option below wins over both.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Where Redis is: short for --set redis.url=URL. A password is safer in the file named by `redis.password_file`
    #[arg(long, global = true, value_name = "URL")]
    pub redis: Option<String>,
    /// The name of this worker: short for --set instance=NAME
    #[arg(long, global = true, value_name = "NAME")]
    pub instance: Option<String>,
    /// How much to log: short for --set log.level=LEVEL
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Process the events of the stream, until SIGTERM or SIGINT
    Run(run::Args),
    /// Add events to the stream
    Add(add::Args),
    /// List the orders in the ledger, or show one with its history
    Orders(orders::Args),
    /// Ask the daemon on this host whether it is ready, for a health check
    Health(health::Health),
    /// List and show what was given up; replay it, or discard it
    Dead(dead::Args),
    /// Show the stream, its groups and consumers, and what waits
    Status(status::Args),
    /// Delete what every group has acknowledged and is over the bound, as the daemon does by itself
    Trim(trim::Args),
    /// See it at work: a private Redis, some thousand events, and what became of them
    Demo(demo::Args),
    /// Listen to channels, and print every message as it comes
    Listen(listen::Args),
    /// Publish a message to a channel
    Publish(publish::Args),
    /// Compare Redis and the ledger, and report what should not be; changes nothing
    Audit(audit::Args),
    /// Check the configuration, Redis and the ledger, and report everything that is wrong at once
    Check(Check),
}

impl Cli {
    /// The configuration in force. An option that is short for `--set` wins over `--set`.
    pub fn settings(&self) -> Result<Settings, ConfigErrors> {
        let short = [("redis.url", &self.redis), ("instance", &self.instance), ("log.level", &self.log_level)];
        let short = short.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        settings::load(&Sources {
            file: settings::find_file(self.config.clone()),
            environment: std::env::vars_os().collect(),
            overrides: self.set.iter().cloned().chain(short).collect(),
        })
    }
}

/// Runs the command that the arguments of the process ask for.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // The help and the version come this way too, and are no errors.
            let exit = if answer.use_stderr() { Exit::Usage } else { Exit::Success };
            // Nobody is left to tell when this cannot be written.
            let _ = answer.print();
            return exit.into();
        }
    };
    if !has_every_assignment(&cli, std::env::args_os()) {
        let _ = writeln!(
            io::stderr().lock(),
            "orderd: give every --set at the same place: all before the command, or all after it"
        );
        return Exit::Usage.into();
    }
    let done = match &cli.command {
        Command::Run(args) => run::run(&cli, args),
        Command::Add(args) => add::run(&cli, args),
        Command::Orders(args) => orders::run(&cli, args),
        Command::Health(health) => health::run(&cli, health),
        Command::Dead(args) => dead::run(&cli, args),
        Command::Status(args) => status::run(&cli, args),
        Command::Trim(args) => trim::run(&cli, args),
        Command::Demo(args) => demo::run(&cli, args),
        Command::Listen(args) => listen::run(&cli, args),
        Command::Publish(args) => publish::run(&cli, args),
        Command::Audit(args) => audit::run(&cli, args),
        Command::Check(check) => check::run(&cli, check),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr().lock(), "orderd: {error:#}");
        exit_for(&error)
    })
    .into()
}

/// Whether the parser has kept every `--set`: of an option that may stand on both sides of the command, it keeps one side alone.
fn has_every_assignment(cli: &Cli, arguments: impl Iterator<Item = OsString>) -> bool {
    let is_set = |argument: &OsString| argument.as_encoded_bytes().split(|byte| *byte == b'=').next() == Some(b"--set");
    arguments.filter(is_set).count() == cli.set.len()
}

/// The exit code for an error.
fn exit_for(error: &anyhow::Error) -> Exit {
    if error.is::<ConfigErrors>() {
        return Exit::Config;
    }
    if error.is::<sandbox::SandboxError>() {
        return Exit::Unavailable;
    }
    run::exit_for(error)
        .or_else(|| error.downcast_ref::<BrokerError>().map(broker_exit))
        .or_else(|| error.downcast_ref::<LedgerError>().map(ledger_exit))
        .unwrap_or(Exit::Failure)
}

fn ledger_exit(error: &LedgerError) -> Exit {
    if error.is_denied() { Exit::NoPermission } else { Exit::Unavailable }
}

fn broker_exit(error: &BrokerError) -> Exit {
    match error.trouble {
        Trouble::Denied(_) | Trouble::NoPermission(_) => Exit::NoPermission,
        _ => Exit::Unavailable,
    }
}

/// Runs a command that talks to Redis: on this thread, with a broker for what `settings` name.
fn with_broker<T>(settings: &Settings, command: impl AsyncFnOnce(&Broker) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let broker = broker_for(settings)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command(&broker))
}

/// A broker for what `settings` name, not connected yet.
fn broker_for(settings: &Settings) -> anyhow::Result<Broker> {
    let connector = Connector::new(settings.redis.clone(), "cli", Telemetry::new()?)?;
    let keys = Keys::new(settings.stream.key.clone(), settings.stream.group.clone());
    Ok(Broker::new(Arc::new(connector), keys))
}

/// Writes a result to the standard output. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> io::Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(out: &mut dyn Write, text: &str) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("a key, a `=` and a value are needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(help.contains(&format!("{:>2}  {}", exit.code(), exit.meaning())), "{exit:?} in {help}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
        struct Broken(ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(print_to(&mut Broken(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(print_to(&mut Broken(ErrorKind::StorageFull), "text").is_err());
    }

    #[test]
    fn an_assignment_that_the_parser_drops_is_noticed() {
        let whole = |line: &str| {
            let words = || line.split(' ').map(OsString::from);
            has_every_assignment(&Cli::try_parse_from(words()).unwrap(), words())
        };
        assert!(whole("orderd --set a=1 --set=b=2 check"));
        assert!(whole("orderd check --set a=1 --set b=--set"));
        assert!(!whole("orderd --set a=1 check --set b=2"));
    }

    #[test]
    fn a_value_may_hold_the_sign_that_ends_the_key() {
        assert_eq!(assignment("log.level=orderd=debug"), Ok(("log.level".into(), "orderd=debug".into())));
        assert_eq!(assignment("instance="), Ok(("instance".into(), String::new())));
        assert!(assignment("instance").is_err() && assignment("=x").is_err());
    }
}
