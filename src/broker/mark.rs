//! The mark of a ledger beside the stream.
//!
//! Owns: writing and reading it, and naming the entries that a ledger may lack.
//! Never: what a mark says (that is `domain::mark`).

use redis::Value;

use super::Broker;
use super::error::BrokerError;
use super::reply;
use crate::domain::id::EntryId;
use crate::domain::mark::Mark;

/// The most entries that are counted.
const COUNT_LIMIT: usize = 1000;

/// Entries that stand on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub first: EntryId,
    /// The last of them.
    pub last: EntryId,
    /// How many there are.
    pub count: usize,
    /// Whether there are more than that.
    pub more: bool,
}

impl Broker {
    /// The mark that was left by the ledger of this stream and group; `None` without one, or where it cannot be read as one.
    pub async fn ledger_mark(&self) -> Result<Option<Mark>, BrokerError> {
        let text: Option<String> =
            self.commands.query("reading the ledger's mark", redis::cmd("GET").arg(self.keys.ledger())).await?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Leaves a mark.
    pub async fn set_ledger_mark(&self, mark: &Mark) -> Result<(), BrokerError> {
        let mut set = redis::cmd("SET");
        set.arg(self.keys.ledger()).arg(mark.to_string());
        self.commands.query("leaving the ledger's mark", &set).await
    }

    /// The entries above `after` that were handed out to the group and still stand on the stream.
    pub async fn handed_out_above(&self, after: EntryId) -> Result<Option<Span>, BrokerError> {
        const OPERATION: &str = "looking for what the ledger lacks";
        let survey = self.survey().await?;
        let Some(group) = survey.group(&self.keys.group).filter(|group| group.last_delivered > after) else {
            return Ok(None);
        };
        let (stream, above, last) = (self.keys.stream.as_str(), format!("({after}"), group.last_delivered.to_string());
        let mut look = redis::pipe();
        look.cmd("XRANGE").arg(stream).arg(&above).arg(&last).arg("COUNT").arg(COUNT_LIMIT + 1);
        look.cmd("XREVRANGE").arg(stream).arg(&last).arg(&above).arg("COUNT").arg(1);
        let mut replies = self.commands.pipeline(OPERATION, &look).await?.into_iter();
        let (forward, backward) = (replies.next().and_then(ids), replies.next().and_then(ids));
        let [Some(forward), Some(backward)] = [forward, backward] else { return Err(BrokerError::reply(OPERATION)) };
        Ok(forward.first().zip(backward.first()).map(|(first, last)| Span {
            first: *first,
            last: *last,
            count: forward.len().min(COUNT_LIMIT),
            more: forward.len() > COUNT_LIMIT,
        }))
    }
}

fn ids(entries: Value) -> Option<Vec<EntryId>> {
    reply::array(entries)?.into_iter().map(|entry| reply::entry_id(reply::array(entry)?.first()?)).collect()
}
