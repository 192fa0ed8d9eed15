//! Reading dead letters.
//!
//! Owns: what a dead letter says of the entry that it was.
//! Never: a change to one; the fields of the entry itself, for they are the producer's.

use redis::Value;

use super::Broker;
use super::error::BrokerError;
use super::reply;
use crate::domain::id::EntryId;

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id among the dead letters.
    pub id: EntryId,
    /// The entry of the stream that it was.
    pub entry: EntryId,
    /// Why it is here, in a word.
    pub reason: String,
    /// The last error, for people.
    pub error: String,
}

impl Broker {
    /// A page of the dead letters, from `lowest` on, at most `most` of them.
    pub async fn dead_letters(&self, lowest: EntryId, most: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        const OPERATION: &str = "reading dead letters";
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.dead()).arg(lowest.to_string()).arg("+").arg("COUNT").arg(most);
        let letters = reply::array(self.commands.query(OPERATION, &range).await?);
        let letters = letters.and_then(|letters| letters.into_iter().map(letter).collect());
        letters.ok_or_else(|| BrokerError::reply(OPERATION))
    }
}

fn letter(row: Value) -> Option<DeadLetter> {
    let mut parts = reply::array(row)?.into_iter();
    let id = reply::entry_id(&parts.next()?)?;
    let fields = reply::fields(parts.next()?)?;
    // From the end: what orderd adds stands behind the fields of the producer, who may have used the same names.
    let fact = |name: &str| {
        let found = fields.iter().rev().find(|(field, _)| field == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    Some(DeadLetter { id, entry: fact("_id")?.parse().ok()?, reason: fact("_reason")?, error: fact("_error")? })
}
