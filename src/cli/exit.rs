//! How a command ends.
//!
//! Owns: the exit codes, what each means, and their list in the help.
//! Never: which error leads to which; the commands say that.

use std::process::ExitCode;

/// How a command ended. The numbers from 64 on are those of BSD's `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Failed in a way that no other code names.
    Failure = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The ledger lacks events that were acknowledged.
    Gap = 65,
    /// Redis or the ledger cannot be used.
    Unavailable = 69,
    /// A task of the daemon kept failing.
    Software = 70,
    /// The handler can never work again in this process: the disk under the ledger failed, say.
    Broken = 74,
    /// Redis or the ledger does not allow what is needed.
    NoPermission = 77,
    /// The configuration was wrong.
    Config = 78,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::Gap,
        Self::Unavailable,
        Self::Software,
        Self::Broken,
        Self::NoPermission,
        Self::Config,
    ];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in words for the help.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::Failure => "failed in a way that no other code names",
            Self::Usage => "the command line is wrong",
            Self::Gap => "the ledger lacks events that were acknowledged (run --accept-gap goes on)",
            Self::Unavailable => "Redis or the ledger cannot be used",
            Self::Software => "a task of the daemon kept failing",
            Self::Broken => "the handler cannot go on: the ledger's disk failed, or its file is gone",
            Self::NoPermission => "Redis or the ledger does not allow what is needed",
            Self::Config => "the configuration is wrong",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The list of exit codes for the end of `--help`.
pub(super) fn help() -> String {
    let line = |exit: &Exit| format!("  {:>2}  {}", exit.code(), exit.meaning());
    format!("Exit codes:\n{}", Exit::ALL.iter().map(line).collect::<Vec<_>>().join("\n"))
}
