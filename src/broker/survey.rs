//! Looking at the stream and its groups, for metrics and for people.
//!
//! Owns: backlog, ages, lag. What the server does not know is unknown here, too.
//! Never: a change of anything.

use std::time::Duration;

use redis::Value;

use super::Broker;
use super::error::{BrokerError, Trouble};
use super::reply;
use crate::domain::id::{EntryId, GroupName};
use crate::domain::trim::{self, Progress, SafePoint};

/// The most entries that are counted where the server does not know the lag.
const COUNT_LIMIT: usize = 1000;
const OPERATION: &str = "surveying the stream";

/// How one group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSurvey {
    /// The group.
    pub group: GroupName,
    /// How many consumers it has.
    pub consumers: u64,
    /// Entries that were handed out and not acknowledged.
    pub pending: u64,
    /// Entries that were not handed out yet; `None` where the server cannot tell.
    pub lag: Option<u64>,
    /// The last entry that was handed out.
    pub last_delivered: EntryId,
    /// The oldest entry that is pending.
    pub oldest_pending: Option<EntryId>,
    /// The oldest entry that was not handed out yet.
    pub oldest_undelivered: Option<EntryId>,
}

/// How the stream and its groups stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Entries on the stream.
    pub length: u64,
    /// Dead letters.
    pub dead: u64,
    /// The server's clock, since the Unix epoch: the ids are of that clock.
    pub now: Duration,
    /// Every group of the stream.
    pub groups: Vec<GroupSurvey>,
}

impl Survey {
    /// The age of an entry, by the server's clock.
    pub fn age(&self, id: EntryId) -> Duration {
        self.now.saturating_sub(Duration::from_millis(id.ms))
    }

    /// Up to where the stream could be cut, for all that its groups need; `None` where `required` is not among them.
    pub fn safe_point(&self, required: &GroupName) -> Option<SafePoint> {
        let progress = self.groups.iter().map(|group| Progress {
            group: group.group.clone(),
            last_delivered: group.last_delivered,
            oldest_pending: group.oldest_pending,
        });
        trim::safe_point(&progress.collect::<Vec<_>>(), required)
    }

    /// The group that is worked for, if it is there.
    pub fn group(&self, name: &GroupName) -> Option<&GroupSurvey> {
        self.groups.iter().find(|survey| survey.group == *name)
    }
}

impl Broker {
    /// The server's clock, since the Unix epoch, and the newest entry that is pending.
    pub async fn time_and_newest_pending(&self) -> Result<(Duration, Option<EntryId>), BrokerError> {
        const OPERATION: &str = "asking for the time";
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("XPENDING").arg(self.keys.stream.as_str()).arg(self.keys.group.as_str());
        let replies = self.commands.pipeline(OPERATION, &ask).await?;
        let time = replies.first().and_then(server_time).ok_or_else(|| BrokerError::reply(OPERATION))?;
        let newest = match replies.get(1) {
            Some(Value::Array(summary)) => summary.get(2).and_then(reply::entry_id),
            _ => None,
        };
        Ok((time, newest))
    }

    /// Looks at the stream. Without a stream everything is zero and there are no groups.
    pub async fn survey(&self) -> Result<Survey, BrokerError> {
        let mut look = redis::pipe();
        look.cmd("XLEN").arg(self.keys.stream.as_str()).cmd("XLEN").arg(self.keys.dead()).cmd("TIME");
        let replies = self.commands.pipeline(OPERATION, &look).await?;
        let [length, dead, time] = replies.as_slice() else { return Err(BrokerError::reply(OPERATION)) };
        let mut survey = Survey {
            length: reply::number(length).ok_or_else(|| BrokerError::reply(OPERATION))?,
            dead: reply::number(dead).unwrap_or_default(),
            now: server_time(time).ok_or_else(|| BrokerError::reply(OPERATION))?,
            groups: Vec::new(),
        };
        let mut groups = redis::cmd("XINFO");
        groups.arg("GROUPS").arg(self.keys.stream.as_str());
        let rows = match self.commands.query::<Value>(OPERATION, &groups).await {
            Ok(rows) => reply::array(rows).ok_or_else(|| BrokerError::reply(OPERATION))?,
            Err(BrokerError { trouble: Trouble::GroupGone(_), .. }) => return Ok(survey),
            Err(error) => return Err(error),
        };
        for row in rows {
            let group = group_row(row).ok_or_else(|| BrokerError::reply(OPERATION))?;
            survey.groups.push(self.complete(group).await?);
        }
        Ok(survey)
    }

    /// The server's clock, since the Unix epoch.
    pub async fn server_now(&self) -> Result<Duration, BrokerError> {
        let time = self.commands.query("asking for the time", &redis::cmd("TIME")).await?;
        server_time(&time).ok_or_else(|| BrokerError::reply("asking for the time"))
    }

    /// Adds the ages, and a lag where the server has none but few entries are left to count.
    async fn complete(&self, mut group: GroupSurvey) -> Result<GroupSurvey, BrokerError> {
        let stream = self.keys.stream.as_str();
        let after = format!("({}", group.last_delivered);
        let most = if group.lag.is_none() { COUNT_LIMIT } else { 1 };
        let mut look = redis::pipe();
        look.cmd("XPENDING").arg(stream).arg(group.group.as_str());
        look.cmd("XRANGE").arg(stream).arg(after).arg("+").arg("COUNT").arg(most);
        let mut replies = self.commands.pipeline(OPERATION, &look).await?.into_iter();
        if let Some(Value::Array(summary)) = replies.next() {
            group.oldest_pending = summary.get(1).and_then(reply::entry_id);
        }
        if let Some(Value::Array(ahead)) = replies.next() {
            group.oldest_undelivered =
                ahead.first().cloned().and_then(reply::array).and_then(|entry| reply::entry_id(entry.first()?));
            if group.lag.is_none() && ahead.len() < most {
                group.lag = u64::try_from(ahead.len()).ok();
            }
        }
        Ok(group)
    }
}

fn group_row(row: Value) -> Option<GroupSurvey> {
    let (mut group, mut consumers, mut pending, mut lag, mut last_delivered) = (None, None, None, None, None);
    for (field, value) in reply::pairs(row) {
        match field.as_str() {
            "name" => group = reply::text(value).map(GroupName::from),
            "consumers" => consumers = reply::number(&value),
            "pending" => pending = reply::number(&value),
            "lag" => lag = reply::number(&value),
            "last-delivered-id" => last_delivered = reply::entry_id(&value),
            _ => {}
        }
    }
    Some(GroupSurvey {
        group: group?,
        consumers: consumers?,
        pending: pending?,
        lag,
        last_delivered: last_delivered?,
        oldest_pending: None,
        oldest_undelivered: None,
    })
}

fn server_time(reply: &Value) -> Option<Duration> {
    let Value::Array(parts) = reply else { return None };
    let [seconds, micros] = parts.as_slice() else { return None };
    Some(Duration::from_secs(reply::number(seconds)?) + Duration::from_micros(reply::number(micros)?))
}
