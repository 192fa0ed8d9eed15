//! Tables, and text that comes from somewhere else.
//!
//! Owns: how a table looks on a terminal and in a pipe, and what a terminal is shown of a producer's bytes.
//! Never: what stands in a table.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use comfy_table::{Table, presets};

/// A table with lines around it for people, and without for whatever reads a pipe.
pub(super) fn table(header: &[&str]) -> Table {
    let style = if io::stdout().is_terminal() { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING };
    let mut table = Table::new();
    table.load_style(style).set_header(header.to_vec());
    table
}

/// The table as text.
pub(super) fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The text, with control characters written out: it comes from a producer, and may hold what a terminal obeys.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

/// The same for bytes that may be no text: those that are not stand as `\xff`.
pub(super) fn printable_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // A string takes everything.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// `one letter`, `7 letters`: a count with its word.
pub(super) fn count(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(printable_bytes(b"a\x1b[2J\n\xff\xc3\xa9\x80"), "a\\u{1b}[2J\\n\\xff\u{e9}\\x80");
    }
}
