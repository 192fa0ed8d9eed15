//! The mark: how far a ledger had come, noted in Redis beside the stream whose events it holds.
//!
//! Owns: its form, and what it says of a ledger that is opened later.
//! Never: what follows from a gap (that is the operator's).
//!
//! What was acknowledged does not come again by itself. So a ledger that is put back to an older backup, or begun anew, lacks events for
//! good, and nobody would notice: everything looks as if it were in order.

use std::fmt;
use std::str::FromStr;

use super::id::EntryId;

/// How far a ledger has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The name that the ledger was given when it was made.
    pub ledger: Box<str>,
    /// The number of the last event in its history, of all streams. It only ever rises.
    pub last: u64,
    /// The highest entry id among those of this stream and group; the smallest there is where there is none.
    pub highest: EntryId,
}

/// The text is not a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the mark of a ledger")]
pub struct BadMark;

/// What a ledger lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// It is the same ledger, and it has forgotten what it had: an older copy was put in its place.
    Older,
    /// It is another one.
    Another,
}

impl Mark {
    /// What the ledger that has come as far as `present` lacks, if this mark was left before.
    pub fn gap(&self, present: &Self) -> Option<Gap> {
        if self.ledger == present.ledger {
            return (present.last < self.last).then_some(Gap::Older);
        }
        // A ledger that had nothing of this stream has taken nothing with it.
        (self.highest > EntryId::MIN).then_some(Gap::Another)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.ledger, self.last, self.highest)
    }
}

impl FromStr for Mark {
    type Err = BadMark;

    fn from_str(text: &str) -> Result<Self, BadMark> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [ledger, last, highest] = parts[..] else { return Err(BadMark) };
        let last = last.parse().map_err(|_| BadMark)?;
        let highest = highest.parse().map_err(|_| BadMark)?;
        if ledger.is_empty() { Err(BadMark) } else { Ok(Self { ledger: ledger.into(), last, highest }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(text: &str) -> Mark {
        text.parse().unwrap()
    }

    #[test]
    fn a_mark_and_its_text_are_the_same_thing() {
        assert_eq!(mark("1f2e 900 17-3").to_string(), "1f2e 900 17-3");
        for text in ["", "1f2e 900", "1f2e 900 17-3 x", "1f2e -1 17-3", "1f2e 900 17", " 900 17-3"] {
            assert_eq!(text.parse::<Mark>(), Err(BadMark), "{text:?}");
        }
    }

    #[test]
    fn a_ledger_lacks_something_when_it_is_behind_or_another_one() {
        let left = mark("a 900 17-3");
        assert_eq!(left.gap(&mark("a 900 17-3")), None);
        assert_eq!(left.gap(&mark("a 901 17-2")), None, "it went on, and the mark was not renewed");
        assert_eq!(left.gap(&mark("a 899 17-3")), Some(Gap::Older));
        assert_eq!(left.gap(&mark("b 5000 99-0")), Some(Gap::Another));
        assert_eq!(mark("a 900 0-0").gap(&mark("b 0 0-0")), None);
    }
}
