//! What a bench begins and ends with.
//!
//! Owns: whether anything is measured at all, and where the numbers go.
//! Never: a number.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Whether this was started by `cargo bench`. `cargo test --all-targets` starts benches too, and without this word; what it passes on
/// instead is not meant for us.
pub(crate) fn is_asked_for() -> bool {
    let asked = std::env::args().any(|argument| argument == "--bench");
    if !asked {
        eprintln!("nothing is measured: this runs by `cargo bench`");
    }
    asked
}

/// Prints the report, and writes it as JSON to `target/bench/<name>.json`.
pub(crate) fn hand_out(report: &(impl Display + Serialize), name: &str) -> anyhow::Result<()> {
    print!("{report}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join(name).with_extension("json");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(report)?;
    fs::write(&file, text + "\n").with_context(|| file.display().to_string())?;
    println!("\nas JSON: {}", file.display());
    Ok(())
}
