//! Reads the configuration key by key.
//!
//! Owns: the check of one value against its key, and the record of what was accepted, for the operator to read.
//! Never: a value that is wrong. The reader notes the mistake, answers `None`, and the reading goes on to the next key.

use std::collections::HashMap;
use std::time::Duration;

use config::{Value, ValueKind};
use jiff::fmt::friendly::SpanParser;

use super::keys::{Key, Kind, time_text};
use super::mistake::{Mistake, meant};
use super::source::Merged;

/// One line of the effective configuration.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) key: &'static Key,
    /// The value as TOML text, secrets redacted.
    pub(super) value: String,
    /// What set it.
    pub(super) origin: String,
}

/// Hands out values that were checked, and gathers what is wrong.
pub(super) struct Reader {
    values: HashMap<&'static str, Value>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) lines: Vec<Line>,
}

/// A value that somebody wrote at a key.
struct Written {
    key: &'static Key,
    kind: ValueKind,
    origin: String,
}

impl Reader {
    pub(super) fn new(merged: Merged) -> Self {
        Self { values: merged.values, mistakes: merged.mistakes, lines: Vec::new() }
    }

    /// A whole number in the range of its key.
    pub(super) fn whole<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        let written = self.take(name)?;
        let Kind::Whole { min, max } = written.key.kind else { return None };
        let number = match &written.kind {
            ValueKind::I64(number) => *number,
            other => return self.wrong(&written, format!("{} is not a whole number", shown(other))),
        };
        let in_range = u64::try_from(number).ok().filter(|number| (min..=max).contains(number));
        match in_range.and_then(|number| T::try_from(number).ok()) {
            Some(value) => {
                self.accept(&written, number.to_string());
                Some(value)
            }
            None => self.wrong(&written, format!("{} is out of range", shown(&written.kind))),
        }
    }

    /// A time in the range of its key.
    pub(super) fn time(&mut self, name: &str) -> Option<Duration> {
        let written = self.take(name)?;
        let Kind::Time { min, max } = written.key.kind else { return None };
        let text = match &written.kind {
            ValueKind::String(text) if !is_bare_number(text) => text,
            number => return self.wrong(&written, format!("{} has no unit, such as \"s\" or \"ms\"", shown(number))),
        };
        match SpanParser::new().parse_unsigned_duration(text) {
            Ok(time) if (min..=max).contains(&time) => {
                self.accept(&written, quoted(&time_text(time)));
                Some(time)
            }
            Ok(_) => self.wrong(&written, format!("{text:?} is out of range")),
            Err(_) => self.wrong(&written, format!("{text:?} is not a time")),
        }
    }

    /// Yes or no.
    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        let written = self.take(name)?;
        match &written.kind {
            ValueKind::Boolean(value) => {
                self.accept(&written, value.to_string());
                Some(*value)
            }
            other => self.wrong(&written, format!("{} is neither of the two", shown(other))),
        }
    }

    /// One of the words of its key; `choices` says what each stands for.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let written = self.take(name)?;
        let text = self.text_of(&written)?;
        if let Some((word, value)) = choices.iter().find(|(word, _)| *word == text) {
            self.accept(&written, quoted(word));
            return Some(*value);
        }
        let hint = meant(&text, choices.iter().map(|(word, _)| *word));
        let hint = hint.map_or_else(String::new, |word| format!("; did you mean {word:?}?"));
        self.wrong(&written, format!("{text:?} is none of its words{hint}"))
    }

    /// Text that `parse` understands; otherwise `parse` says what is wrong, without the value where that can be a secret.
    pub(super) fn text<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.redacted(name, parse, |_, text| text.to_owned())
    }

    /// As [`Reader::text`], for a value that is shown in another way than it was written.
    pub(super) fn redacted<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        show: impl FnOnce(&T, &str) -> String,
    ) -> Option<T> {
        let written = self.take(name)?;
        let text = self.text_of(&written)?;
        match parse(&text) {
            Ok(value) => {
                self.accept(&written, quoted(&show(&value, &text)));
                Some(value)
            }
            Err(problem) => self.wrong(&written, problem),
        }
    }

    /// Whether anything sets this key.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.has_mistake(name)
    }

    /// Sets a key whose default is found out at start.
    pub(super) fn set_default(&mut self, key: &'static str, text: String, origin: &str) {
        self.values.insert(key, Value::new(Some(&origin.to_owned()), ValueKind::String(text)));
    }

    /// What set this key, where its value was accepted.
    pub(super) fn origin(&self, name: &str) -> &str {
        self.lines.iter().find(|line| line.key.name == name).map_or("", |line| &line.origin)
    }

    /// Notes that what stands at a key may not stand there, though it can be understood.
    pub(super) fn refuse(&mut self, name: &str, problem: String, allowed: String) {
        let origin = self.origin(name).to_owned();
        self.mistakes.push(Mistake { subject: name.to_owned(), problem, allowed: Some(allowed), origin });
    }

    /// Notes that two keys do not go together: `name` has this `problem` with `other`.
    pub(super) fn conflict(&mut self, name: &str, other: &str, problem: String, allowed: &str) {
        let origin = format!("{} ({name}), {} ({other})", self.origin(name), self.origin(other));
        self.mistakes.push(Mistake { subject: name.to_owned(), problem, allowed: Some(allowed.to_owned()), origin });
    }

    fn take(&self, name: &str) -> Option<Written> {
        let value = self.values.get(name).filter(|_| !self.has_mistake(name))?;
        let origin = value.origin().unwrap_or_default().to_owned();
        Some(Written { key: Key::named(name)?, kind: value.kind.clone(), origin })
    }

    fn has_mistake(&self, name: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.subject == name)
    }

    fn text_of(&mut self, written: &Written) -> Option<String> {
        match &written.kind {
            ValueKind::String(text) => Some(text.clone()),
            _ => self.wrong(written, "a number stands there, not text in quotes".to_owned()),
        }
    }

    fn accept(&mut self, written: &Written, shown: String) {
        self.lines.push(Line { key: written.key, value: shown, origin: written.origin.clone() });
    }

    fn wrong<T>(&mut self, written: &Written, problem: String) -> Option<T> {
        self.mistakes.push(Mistake {
            subject: written.key.name.to_owned(),
            problem,
            allowed: Some(written.key.allowed()),
            origin: written.origin.clone(),
        });
        None
    }
}

/// A number or a text as it stands in a message.
fn shown(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => format!("{text:?}"),
        // What a number was narrowed to that does not fit the type.
        ValueKind::I64(i64::MIN | i64::MAX) => "the number".to_owned(),
        other => other.to_string(),
    }
}

fn is_bare_number(text: &str) -> bool {
    text.trim().chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | '_')) && !text.trim().is_empty()
}

/// A text as TOML. JSON strings are TOML strings, but for one character that JSON leaves as it is.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
