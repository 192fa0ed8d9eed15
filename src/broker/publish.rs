//! Adding entries to the stream.
//!
//! Owns: `XADD`, for the commands that add events.
//! Never: a second attempt by itself: an entry whose reply was lost may be there.

use super::Broker;
use super::error::BrokerError;
use super::reply;
use crate::domain::entry::Field;
use crate::domain::id::EntryId;

impl Broker {
    /// Adds `entries` to the stream, in order, and returns their ids. When it fails, some of them may have been added.
    pub async fn add(&self, entries: &[Vec<Field>]) -> Result<Vec<EntryId>, BrokerError> {
        const OPERATION: &str = "adding events";
        let mut pipeline = redis::pipe();
        for fields in entries {
            pipeline.cmd("XADD").arg(self.keys.stream.as_str()).arg("*");
            for (name, value) in fields {
                pipeline.arg(name.as_slice()).arg(value.as_slice());
            }
        }
        let replies = self.commands.pipeline(OPERATION, &pipeline).await?;
        let ids = replies.iter().map(reply::entry_id);
        ids.collect::<Option<Vec<EntryId>>>().ok_or_else(|| BrokerError::reply(OPERATION))
    }
}
