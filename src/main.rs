//! The process: hands the arguments to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    orderd::cli::main()
}
