//! Looking back at what was handed out and settled, for `orderd audit`.
//!
//! Owns: bounded pages of what a group has acknowledged, and of what it has pending although it is gone from the stream.
//! Never: a change of anything; a judgement (who asks judges).

use std::collections::HashSet;

use redis::Value;

use super::Broker;
use super::error::{BrokerError, Trouble};
use super::reply;
use crate::domain::entry::Entry;
use crate::domain::id::{EntryId, GroupName};

/// The most entries that one command looks at.
const PAGE: usize = 200;
const OPERATION: &str = "looking back at the stream";

/// Where the stream and its groups stand. `None` is what the server does not say: much of it came with Redis 7.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landmarks {
    /// Entries on the stream.
    pub length: u64,
    /// The oldest of them.
    pub first: Option<EntryId>,
    /// The largest id that was ever given out.
    pub last: EntryId,
    /// Entries that were ever added.
    pub added: Option<u64>,
    /// The largest id that was ever deleted by name, which trimming does not do.
    pub deleted: Option<EntryId>,
    /// Every group of the stream.
    pub groups: Vec<GroupLandmarks>,
}

/// Where a group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLandmarks {
    /// The group.
    pub group: GroupName,
    /// The last entry that was handed to it.
    pub last_delivered: EntryId,
    /// Entries that were ever handed to it, or lay before its beginning.
    pub read: Option<u64>,
    /// Entries that it has not acknowledged.
    pub pending: u64,
}

/// A page of the stream, newest entry first.
#[derive(Debug, Default)]
pub struct PageBack {
    /// How many entries stand on it.
    pub count: u64,
    /// Those that the group has not pending.
    pub acknowledged: Vec<Entry>,
    /// Those that it has.
    pub pending: Vec<Entry>,
    /// The lowest id on it; `None` where it is empty.
    pub lowest: Option<EntryId>,
}

/// A page of what a group has pending, oldest first.
#[derive(Debug, Default)]
pub struct PendingPage {
    /// How many entries stand on it.
    pub count: u64,
    /// Those that are gone from the stream, and still pending after that was seen.
    pub gone: Vec<EntryId>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<EntryId>,
}

impl Broker {
    /// Where everything stands; `None` where there is no stream. The groups are looked at after the stream, so they are never
    /// further behind than they seem.
    pub async fn landmarks(&self) -> Result<Option<Landmarks>, BrokerError> {
        let mut look = redis::cmd("XINFO");
        look.arg("STREAM").arg(self.keys.stream.as_str());
        let info = match self.commands.query::<Value>(OPERATION, &look).await {
            Ok(info) => info,
            Err(BrokerError { trouble: Trouble::GroupGone(_), .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut marks = landmarks(info).ok_or_else(|| BrokerError::reply(OPERATION))?;
        let mut groups = redis::cmd("XINFO");
        groups.arg("GROUPS").arg(self.keys.stream.as_str());
        let groups = reply::array(self.commands.query(OPERATION, &groups).await?);
        let groups = groups.and_then(|rows| rows.into_iter().map(group_landmarks).collect());
        marks.groups = groups.ok_or_else(|| BrokerError::reply(OPERATION))?;
        Ok(Some(marks))
    }

    /// The page of entries below `below`, down to `lowest`. What was acknowledged when this returns was so before.
    pub async fn page_back(&self, below: EntryId, lowest: EntryId) -> Result<PageBack, BrokerError> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(self.keys.stream.as_str()).arg(format!("({below}")).arg(lowest.to_string()).arg("COUNT").arg(PAGE);
        let entries = reply::entries(self.commands.query(OPERATION, &range).await?);
        let entries = entries.ok_or_else(|| BrokerError::reply(OPERATION))?;
        let (Some(highest), Some(lowest)) = (entries.first().map(|(id, _)| *id), entries.last().map(|(id, _)| *id))
        else {
            return Ok(PageBack::default());
        };
        let mut page = PageBack { count: entries.len() as u64, lowest: Some(lowest), ..PageBack::default() };
        let mut pending = HashSet::new();
        let mut from = Some(lowest);
        while let Some(first) = from {
            let ids = self.pending_ids(&self.keys.group, first, highest).await?;
            from = ids.last().filter(|_| ids.len() == PAGE).and_then(|last| last.next());
            pending.extend(ids);
        }
        for (id, fields) in entries {
            let Some(fields) = fields else { continue };
            let list = if pending.contains(&id) { &mut page.pending } else { &mut page.acknowledged };
            list.push(Entry { id, fields: fields.into() });
        }
        Ok(page)
    }

    /// A page of what `group` has pending, from `from` on.
    pub async fn pending_and_gone(&self, group: &GroupName, from: EntryId) -> Result<PendingPage, BrokerError> {
        let ids = self.pending_ids(group, from, EntryId::MAX).await?;
        let mut gone = Vec::new();
        for id in self.gone_among(&ids).await? {
            // Acknowledged and then cut is no loss: only what is pending still after it was gone.
            if self.pending_ids(group, id, id).await? == [id] {
                gone.push(id);
            }
        }
        let next = ids.last().filter(|_| ids.len() == PAGE).and_then(|last| last.next());
        Ok(PendingPage { count: ids.len() as u64, gone, next })
    }

    async fn pending_ids(&self, group: &GroupName, from: EntryId, to: EntryId) -> Result<Vec<EntryId>, BrokerError> {
        let mut list = redis::cmd("XPENDING");
        list.arg(self.keys.stream.as_str()).arg(group.as_str()).arg(from.to_string()).arg(to.to_string()).arg(PAGE);
        let rows = match self.commands.query::<Value>(OPERATION, &list).await {
            Ok(rows) => reply::array(rows),
            // A group that has gone meanwhile has nothing pending.
            Err(BrokerError { trouble: Trouble::GroupGone(_), .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let ids =
            rows.and_then(|rows| rows.into_iter().map(|row| reply::entry_id(reply::array(row)?.first()?)).collect());
        ids.ok_or_else(|| BrokerError::reply(OPERATION))
    }

    async fn gone_among(&self, ids: &[EntryId]) -> Result<Vec<EntryId>, BrokerError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut look = redis::pipe();
        for id in ids {
            look.cmd("XRANGE").arg(self.keys.stream.as_str()).arg(id.to_string()).arg(id.to_string());
        }
        let found = self.commands.pipeline(OPERATION, &look).await?;
        let is_gone = |(id, found): (&EntryId, Value)| {
            reply::array(found).is_some_and(|entries| entries.is_empty()).then_some(*id)
        };
        Ok(ids.iter().zip(found).filter_map(is_gone).collect())
    }
}

fn landmarks(info: Value) -> Option<Landmarks> {
    let (mut length, mut first, mut last, mut added, mut deleted) = (None, None, None, None, None);
    for (field, value) in reply::pairs(info) {
        match field.as_str() {
            "length" => length = reply::number(&value),
            "first-entry" => first = reply::array(value).and_then(|entry| reply::entry_id(entry.first()?)),
            "last-generated-id" => last = reply::entry_id(&value),
            "entries-added" => added = reply::number(&value),
            "max-deleted-entry-id" => deleted = reply::entry_id(&value).filter(|id| *id > EntryId::MIN),
            _ => {}
        }
    }
    Some(Landmarks { length: length?, first, last: last?, added, deleted, groups: Vec::new() })
}

fn group_landmarks(row: Value) -> Option<GroupLandmarks> {
    let (mut group, mut last_delivered, mut read, mut pending) = (None, None, None, None);
    for (field, value) in reply::pairs(row) {
        match field.as_str() {
            "name" => group = reply::text(value).map(GroupName::from),
            "last-delivered-id" => last_delivered = reply::entry_id(&value),
            "entries-read" => read = reply::number(&value),
            "pending" => pending = reply::number(&value),
            _ => {}
        }
    }
    Some(GroupLandmarks { group: group?, last_delivered: last_delivered?, read, pending: pending? })
}
