//! One key of the configuration.
//!
//! Owns: what is known of a key, and how that is said in words.
//! Never: which keys there are (that is the table in `keys`).

use std::time::Duration;

use super::keys::KEYS;

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its full name, such as `stream.key`.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// The default as TOML text; `None` where it is found out at start.
    pub default: Option<&'static str>,
    /// What it does, for the operator: the comment of the key in `config/orderd.toml`, line by line.
    pub doc: &'static str,
    /// Whether a running daemon takes a new value over (SIGHUP).
    pub live: bool,
}

/// What may stand at a key.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number in this range, its ends included.
    Whole {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A time with its unit, in this range, its ends included.
    Time {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// Text of this form.
    Text(&'static str),
    /// Text of this form: several of `name: text`, with a `;` between them. In the file it can also be a table.
    Lines(&'static str),
}

impl Key {
    /// Finds a key by its full name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The table that the key stands in; `None` at the top of the file.
    pub fn table(&self) -> Option<&'static str> {
        self.name.split_once('.').map(|(table, _)| table)
    }

    /// The name inside of its table.
    pub fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Time { min, max } => {
                format!("a time with its unit, such as \"1m 30s\", from {} to {}", time_text(min), time_text(max))
            }
            Kind::Choice(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" | "),
            Kind::Switch => "true | false".to_owned(),
            Kind::Text(form) | Kind::Lines(form) => form.to_owned(),
        }
    }
}

/// A time as it is written in the configuration, such as `1m 30s`.
pub fn time_text(time: Duration) -> String {
    jiff::fmt::friendly::SpanPrinter::new().unsigned_duration_to_string(&time)
}
