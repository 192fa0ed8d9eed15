//! What is wrong with a configuration.
//!
//! Owns: the form of a report that names every mistake at once, each with what is allowed and where it was set.
//! Never: the value of a key that can hold a secret, or of one that does not exist.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What it is about: the full name of a key or a table, or a file.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub allowed: Option<String>,
    /// Where it stands: file and line, environment variable, command line.
    pub origin: String,
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes }
    }

    /// All of them: first what is in no key, source by source, then key by key.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => f.write_str("the configuration has a mistake:")?,
            n => write!(f, "the configuration has {n} mistakes:")?,
        }
        for mistake in &self.mistakes {
            write!(f, "\n\n{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}: {}", self.subject, self.problem)?;
        if let Some(allowed) = &self.allowed {
            write!(f, "\n      allowed: {allowed}")?;
        }
        write!(f, "\n      where:   {}", self.origin)
    }
}

/// The one of `names` that was probably meant by `written`: spelled alike, or the only one with the same last part.
pub(super) fn meant<'n>(written: &str, names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    const ALIKE: f64 = 0.7;
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&written.to_lowercase(), name);
    let nearest = names.clone().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    if let Some(name) = nearest.filter(|name| likeness(name) >= ALIKE) {
        return Some(name);
    }
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let mut same_leaf = names.filter(|name| last(name) == last(written));
    same_leaf.next().filter(|_| same_leaf.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found_by_spelling_or_by_its_last_part() {
        let names = ["stream.key", "trimmer.max_len", "consumers.batch", "reaper.batch"];
        let meant = |written| meant(written, names.iter().copied());
        assert_eq!(meant("stream.kye"), Some("stream.key"));
        assert_eq!(meant("trimmer.max-len"), Some("trimmer.max_len"));
        assert_eq!(meant("consumer.batch"), Some("consumers.batch"));
        assert_eq!(meant("max_len"), Some("trimmer.max_len"));
        assert_eq!(meant("batch"), None, "there are two");
        assert_eq!(meant("colour"), None);
    }
}
