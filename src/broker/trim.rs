//! Trimming.
//!
//! Owns: the script that surveys every group and cuts in the same step, so that no group can be made or set back in between.
//! Never: `XTRIM` of the stream outside of it; a cut where the group that is worked for is missing.

use super::Broker;
use super::error::BrokerError;
use super::reply;
use crate::bug;
use crate::domain::id::{EntryId, GroupName};
use crate::domain::trim::{Floor, SafePoint};

/// So many entries are counted by one call of the script.
const COUNT_PAGE: u64 = 500;

/// What one step of trimming came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// How it ended.
    pub state: TrimState,
    /// Entries that were cut.
    pub cut: u64,
    /// Of these, entries that some group had not acknowledged.
    pub unacknowledged: u64,
    /// Entries that are left.
    pub length: u64,
    /// Where what some group still needs begins; `None` where nothing was touched.
    pub floor: Option<Floor>,
}

/// How a step of trimming ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrimState {
    /// The stream is within its bound.
    Within,
    /// There is more to cut; the bound of the step ended it.
    More,
    /// Less than a node of the stream is left over the bound, or what was settled meanwhile. Another step cuts it.
    Rest,
    /// The rest that is over the bound is still needed by the group that is furthest behind.
    Blocked,
    /// There is no stream, or our group is missing there: nothing was touched.
    Nothing,
}

impl Broker {
    /// One step: keeps the newest `keep` entries, and everything that any group still needs; cuts at most `most`. With `cut_needed`,
    /// what is over the bound goes even if a group still needs it.
    pub async fn trim(&self, keep: u64, most: u64, cut_needed: bool) -> Result<Trimmed, BrokerError> {
        const OPERATION: &str = "trimming the stream";
        if bug::is("trim-by-length") {
            let mut trim = redis::cmd("XTRIM");
            trim.arg(self.keys.stream.as_str()).arg("MAXLEN").arg(keep);
            let cut = self.commands.query(OPERATION, &trim).await?;
            return Ok(Trimmed { state: TrimState::Within, cut, unacknowledged: 0, length: keep, floor: None });
        }
        let mut trim = self.scripts.trim.key(self.keys.stream.as_str());
        trim.key(self.keys.watermark()).arg(self.keys.group.as_str()).arg(keep).arg(most);
        trim.arg(if cut_needed { "trim" } else { "keep" });
        let reply: redis::Value = self.commands.script(OPERATION, &trim).await?;
        trimmed(reply).ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// How many entries lie below `point`, but no more than `most`: what trimming could cut. Changes nothing. Each command looks at a
    /// bounded number of entries.
    pub async fn count_below(&self, point: &SafePoint, most: u64) -> Result<u64, BrokerError> {
        let mut count = 0;
        let mut lowest = Some(EntryId::MIN);
        let below = format!("({}", point.id());
        while let Some(from) = lowest
            && count < most
        {
            let page = COUNT_PAGE.min(most - count);
            let mut script = self.scripts.count.key(self.keys.stream.as_str());
            script.arg(from.to_string()).arg(&below).arg(page);
            let (found, last): (u64, Option<String>) = self.commands.script("counting entries", &script).await?;
            count += found;
            lowest = last.filter(|_| found == page).and_then(|id| id.parse().ok()).and_then(EntryId::next);
        }
        Ok(count)
    }
}

fn trimmed(reply: redis::Value) -> Option<Trimmed> {
    let mut parts = reply::array(reply)?.into_iter();
    let state = match reply::text(parts.next()?)?.as_str() {
        "ok" => TrimState::Within,
        "more" => TrimState::More,
        "rest" => TrimState::Rest,
        "blocked" => TrimState::Blocked,
        _ => TrimState::Nothing,
    };
    let (cut, unacknowledged) = (reply::number(&parts.next()?)?, reply::number(&parts.next()?)?);
    let length = reply::number(&parts.next()?)?;
    let held_by = GroupName::from(reply::text(parts.next()?)?);
    let floor = floor_id(&reply::text(parts.next()?)?).map(|id| Floor { id, held_by });
    Some(Trimmed { state, cut, unacknowledged, length, floor })
}

/// The first id that is needed: as it stands there, or the one after it.
fn floor_id(text: &str) -> Option<EntryId> {
    match text.strip_prefix('(') {
        Some(last) => last.parse().ok().map(|id: EntryId| id.next().unwrap_or(EntryId::MAX)),
        None => text.parse().ok(),
    }
}
