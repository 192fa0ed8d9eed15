//! The consumer group.
//!
//! Owns: making it, at the start of the service and after it was lost.
//! Never: `$` after the first start; an id above the stream's last one, for Redis takes it and silently skips all below.

use super::Broker;
use super::error::{BrokerError, Trouble};
use super::reply;
use crate::bug;
use crate::domain::id::EntryId;

/// Where a group starts that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first entry of the stream: what was added before the first start is processed too.
    Beginning,
    /// With the first entry that is added after the group was made.
    New,
    /// After this entry.
    After(EntryId),
}

/// What came of making sure that the group exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was there.
    Existing,
    /// It was made; entries above this id will be delivered (`None`: those that are added from now on).
    Created(Option<EntryId>),
}

impl Broker {
    /// Makes the group, and the stream with it, where they do not exist.
    pub async fn ensure_group(&self, start: Start) -> Result<Ensured, BrokerError> {
        // Looked at first: out of memory, a group cannot be made, not even one that is there.
        if self.group_exists().await? {
            return Ok(Ensured::Existing);
        }
        let after = match start {
            Start::Beginning => Some(EntryId::MIN),
            Start::New => None,
            Start::After(id) => Some(id.min(self.last_id().await?)),
        };
        self.create_group(after).await
    }

    /// Makes a group that was lost: where everything below is known to be settled, else at the beginning. What the ledger has
    /// applied already is recognised there.
    pub async fn restore_group(&self) -> Result<Ensured, BrokerError> {
        if bug::is("group-at-the-end") {
            return self.create_group(None).await;
        }
        // A watermark may be of another life of the stream, whose ids began again.
        let mut resume = self.scripts.resume.key(self.keys.stream.as_str());
        resume.key(self.keys.watermark());
        let after: String = self.commands.script("reading the watermark", &resume).await?;
        self.create_group(Some(after.parse().unwrap_or(EntryId::MIN))).await
    }

    async fn create_group(&self, after: Option<EntryId>) -> Result<Ensured, BrokerError> {
        let id = after.map_or_else(|| "$".to_owned(), |id| id.to_string());
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(self.keys.stream.as_str()).arg(self.keys.group.as_str()).arg(id).arg("MKSTREAM");
        match self.commands.query::<()>("creating the group", &create).await {
            Ok(()) => Ok(Ensured::Created(after)),
            Err(BrokerError { trouble: Trouble::Refused(text), .. }) if text.starts_with("BUSYGROUP") => {
                Ok(Ensured::Existing)
            }
            // Then Redis does not even look whether the group is there. If it is, all is well: reading needs no memory.
            Err(error) if error.trouble.is_out_of_memory() => match self.survey().await?.group(&self.keys.group) {
                Some(_) => Ok(Ensured::Existing),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn group_exists(&self) -> Result<bool, BrokerError> {
        let mut look = redis::cmd("XINFO");
        look.arg("GROUPS").arg(self.keys.stream.as_str());
        match self.commands.query("looking for the group", &look).await {
            Ok(rows) => Ok(reply::array(rows).unwrap_or_default().into_iter().any(|row| {
                let group = self.keys.group.as_str();
                reply::pairs(row).any(|(name, value)| name == "name" && reply::text(value).as_deref() == Some(group))
            })),
            Err(BrokerError { trouble: Trouble::GroupGone(_), .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The largest id that the stream ever gave out; the smallest there is where there is no stream.
    async fn last_id(&self) -> Result<EntryId, BrokerError> {
        const OPERATION: &str = "looking at the stream";
        let info =
            self.commands.query(OPERATION, redis::cmd("XINFO").arg("STREAM").arg(self.keys.stream.as_str())).await;
        match info {
            Ok(info) => reply::pairs(info)
                .find(|(name, _)| name == "last-generated-id")
                .and_then(|(_, value)| reply::entry_id(&value))
                .ok_or_else(|| BrokerError::reply(OPERATION)),
            Err(BrokerError { trouble: Trouble::GroupGone(_), .. }) => Ok(EntryId::MIN),
            Err(error) => Err(error),
        }
    }
}
