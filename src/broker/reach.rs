//! What could still be delivered.
//!
//! Owns: the questions that a ledger's bookkeeping has for Redis.
//! Never: a decision about what may be forgotten (that is `domain::prune`).

use redis::Value;

use super::Broker;
use super::error::BrokerError;
use super::reply;
use crate::domain::id::{BadEntryId, EntryId};
use crate::domain::prune::Reach;

/// With more dead letters than that, nobody looks for the oldest.
const MOST_DEAD: u64 = 1000;

impl Broker {
    /// What could be delivered, or replayed. `None` where that cannot be said: there is no stream, our group is missing there, or there
    /// are too many dead letters to look at.
    pub async fn reach(&self) -> Result<Option<Reach>, BrokerError> {
        const OPERATION: &str = "looking at what could still be delivered";
        let mut look = self.scripts.reach.key(self.keys.stream.as_str());
        look.key(self.keys.dead()).arg(self.keys.group.as_str()).arg(MOST_DEAD);
        let reply: Value = self.commands.script(OPERATION, &look).await?;
        let parts = reply::array(reply).ok_or_else(|| BrokerError::reply(OPERATION))?;
        if parts.is_empty() {
            return Ok(None);
        }
        reach(parts).map(Some).ok_or_else(|| BrokerError::reply(OPERATION))
    }
}

fn reach(parts: Vec<Value>) -> Option<Reach> {
    let [first, groups, dead] = <[Value; 3]>::try_from(parts).ok()?;
    let optional = |value| optional(value).ok();
    let mut reach =
        Reach { first: optional(first)?, pending: Vec::new(), delivered: Vec::new(), dead: optional(dead)? };
    for group in reply::array(groups)? {
        let [pending, delivered] = <[Value; 2]>::try_from(reply::array(group)?).ok()?;
        reach.pending.extend(optional(pending)?);
        reach.delivered.push(reply::entry_id(&delivered)?);
    }
    Some(reach)
}

/// An id, or an empty text for none.
fn optional(value: Value) -> Result<Option<EntryId>, BadEntryId> {
    let text = reply::text(value).ok_or(BadEntryId)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}
