//! The checker: reads what a run left behind, and says whether a promise was broken.
//!
//! Owns: the classes of violations and the verdict.
//! Never: a line of the program that it judges; a look at anything but the files of the run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use self::history::History;
use self::record::Id;

mod entries;
pub(crate) mod history;
mod lives;
mod moments;
mod order;
pub(crate) mod record;
mod report;
#[cfg(test)]
mod tests;
mod witness;

/// How a promise can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Added, and neither applied nor buried, and nobody will.
    Lost,
    /// Applied or buried, and never added.
    Unexpected,
    /// Applied more than once.
    Duplicated,
    /// Applied as something else than what was added.
    Corrupt,
    /// Two events of an order were applied in the wrong order.
    OutOfOrder,
    /// An event was applied while an earlier one of its order was still being tried.
    Overtaken,
    /// Acknowledged before its effect was durable.
    PrematureAck,
    /// Deleted by the trimmer while some group still needed it.
    UnsafeTrim,
    /// Nobody came to the end of it.
    UnackedAtTheEnd,
    /// A dead letter that should not be, that is not what was added, or that is there twice.
    DeadLetterMismatch,
    /// Delivered again though nothing was wrong.
    NeedlessRedelivery,
    /// Taken back from a worker that had rightly taken it over.
    StolenLease,
    /// The ledger and what the workers were told do not agree.
    Contradiction,
    /// A worker ended that nobody had told to, or not as it should.
    BadEnd,
}

/// One broken promise.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub class: Class,
    /// The entry that it is about.
    pub entry: Option<Id>,
    pub what: String,
}

/// What the checker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong, and what the run was about has happened.
    Valid,
    /// A promise was broken.
    Invalid,
    /// Nothing is wrong, and the run shows nothing, for these reasons.
    Unknown(Vec<String>),
}

/// What came of a run.
pub(crate) struct Judgement {
    pub verdict: Verdict,
    pub violations: Vec<Violation>,
    /// How often what happened.
    pub counts: BTreeMap<String, u64>,
    /// For people: what is wrong, with the whole life of the first entries of each class.
    pub report: String,
}

/// Judges the run whose files are in `folder`.
pub(crate) fn judge(folder: &Path) -> Result<Judgement, String> {
    let history = History::read(folder)?;
    let mut violations = Vec::new();
    entries::check(&history, &mut violations);
    order::check(&history, &mut violations);
    let starved = moments::check(&history, &mut violations);
    witness::check(&history, &mut violations);
    let counts = report::counts(&history);
    let missing = history.run.needs.iter().filter(|(what, least)| counts.get(what).copied().unwrap_or(0) < *least);
    let missing = missing.map(|(what, least)| format!("it did not bite: {what} (at least {least})"));
    let starved =
        (starved > 0).then(|| format!("leases that changed hands while the machine kept somebody waiting: {starved}"));
    let missing: Vec<String> = missing.chain(starved).collect();
    let verdict = match (violations.is_empty(), missing.is_empty()) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Unknown(missing),
        (true, true) => Verdict::Valid,
    };
    let report = report::report(&history, &violations, &verdict);
    Ok(Judgement { verdict, violations, counts, report })
}

impl Judgement {
    /// The classes that were found.
    pub(crate) fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = self.violations.iter().map(|violation| violation.class).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Unexpected => "unexpected",
            Self::Duplicated => "duplicated",
            Self::Corrupt => "corrupt",
            Self::OutOfOrder => "out of order",
            Self::Overtaken => "overtaken",
            Self::PrematureAck => "premature ack",
            Self::UnsafeTrim => "unsafe trim",
            Self::UnackedAtTheEnd => "unacked at the end",
            Self::DeadLetterMismatch => "dead letter mismatch",
            Self::NeedlessRedelivery => "needless redelivery",
            Self::StolenLease => "stolen lease",
            Self::Contradiction => "contradiction",
            Self::BadEnd => "bad end",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("valid"),
            Self::Invalid => f.write_str("INVALID"),
            Self::Unknown(missing) => write!(f, "unknown: {}", missing.join(", ")),
        }
    }
}
