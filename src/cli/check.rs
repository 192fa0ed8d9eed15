//! `orderd check`: is this configuration right?
//!
//! Owns: what the operator is told about it.
//! Never: a change, neither here nor in Redis.

use clap::Args;

use super::exit::Exit;
use super::{Cli, print};
use crate::settings::{self, Settings};

/// What `orderd check` is asked for.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Check the configuration alone, and connect to nothing
    #[arg(long)]
    pub offline: bool,
    /// Print the configuration that is in force as TOML: every key, and what set it. Secrets are redacted
    #[arg(long)]
    pub print: bool,
}

/// Loads the configuration, and says that it is right or shows it. What is wrong with it comes back as the error.
pub(super) fn run(cli: &Cli, check: &Check) -> anyhow::Result<Exit> {
    let settings = cli.settings()?;
    print(&if check.print { settings::effective(&settings) } else { summary(&settings) })?;
    Ok(Exit::Success)
}

fn summary(settings: &Settings) -> String {
    format!(
        "The configuration is right: {} reads {} as {} from {}.\n",
        settings.instance, settings.stream.key, settings.stream.group, settings.redis
    )
}
