//! How a table of numbers looks.

use comfy_table::{CellAlignment, Table, presets};

/// A table in Markdown; all columns but the first are numbers.
pub(crate) fn markdown(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// A whole number with commas.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count as the number that a mean is taken of.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near the 53 bits that an f64 holds exactly")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}
