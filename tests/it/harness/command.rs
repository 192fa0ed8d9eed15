//! The commands of the program, each run to its end.

use std::process::{Command, Output, Stdio};

use super::World;

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl World {
    /// Runs `orderd` with these arguments against this world's server.
    pub(crate) fn orderd(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("orderd runs").into()
    }

    /// The same against the server at `url`, which can have a password in it.
    pub(crate) fn orderd_at(&self, url: &str, args: &[&str]) -> Ended {
        self.command(args).env("ORDERD__REDIS__URL", url).output().expect("orderd runs").into()
    }

    /// The command, not started yet, without a terminal.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
        // By the environment, so that a test can set them otherwise.
        command.env_clear().env("ORDERD__REDIS__URL", self.server.url());
        command.env("ORDERD__LEDGER__URL", format!("sqlite:{}", self.ledger().display()));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}
