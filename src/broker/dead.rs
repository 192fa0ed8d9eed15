//! Dead letters: what was given up, kept until somebody has looked at it.
//!
//! Owns: reading the stream of dead letters in bounded pages, and moving one back to the stream in one step.
//! Never: adding a letter (that is `settle`); deleting one whose event is not back on the stream, except where that is what was asked for.

use redis::Value;

use super::Broker;
use super::error::BrokerError;
use super::reply;
use super::settle::{FACTS, SCRIPT_FIELDS};
use crate::domain::entry::{Entry, Field};
use crate::domain::id::{ConsumerName, EntryId, GroupName};
use crate::domain::replay;

/// The most letters that one page reads.
const PAGE: usize = 100;
const OPERATION: &str = "reading dead letters";

/// An entry that was given up, and what is known of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id of the letter.
    pub id: EntryId,
    /// The entry as it was: its id, and its fields byte for byte.
    pub entry: Entry,
    /// The group that gave it up.
    pub group: GroupName,
    /// The consumer that had it last.
    pub consumer: ConsumerName,
    /// How many times it was handed out.
    pub deliveries: u32,
    /// How often it failed.
    pub failures: u32,
    /// How many workers died with it in hand.
    pub crashes: u32,
    /// Why it was given up, in one word.
    pub reason: String,
    /// The last error, for people.
    pub error: String,
    /// When the worker that gave it up first saw it, in milliseconds since the Unix epoch.
    pub first_seen_ms: u64,
    /// When it was given up, in milliseconds since the Unix epoch.
    pub dead_at_ms: u64,
}

/// Some dead letters, oldest first.
#[derive(Debug, Default)]
pub struct Letters {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// Entries of that stream that are no letters: somebody else has put them there.
    pub odd: Vec<EntryId>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<EntryId>,
}

/// What came of replaying a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// Its event is on the stream again, under this id, and the letter is gone.
    Done(EntryId),
    /// The letter was gone already: somebody else has replayed or discarded it.
    Gone,
    /// There is no stream to add it to.
    NoStream,
}

impl DeadLetter {
    /// The entry that carried the event first: the one that was given up, unless that was a replay itself.
    pub fn origin(&self) -> EntryId {
        replay::replayed(&self.entry).ok().flatten().unwrap_or(self.entry.id)
    }
}

impl Broker {
    /// A page of dead letters of every group, from `lowest` on.
    pub async fn letters(&self, lowest: EntryId) -> Result<Letters, BrokerError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.dead()).arg(lowest.to_string()).arg("+").arg("COUNT").arg(PAGE);
        let letters = letters(self.commands.query(OPERATION, &range).await?);
        letters.ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// The newest dead letters of every group, newest first. No more than a page.
    pub async fn newest_letters(&self, most: usize) -> Result<Letters, BrokerError> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(self.keys.dead()).arg("+").arg("-").arg("COUNT").arg(most.min(PAGE));
        let letters = letters(self.commands.query(OPERATION, &range).await?);
        letters.ok_or_else(|| BrokerError::reply(OPERATION))
    }

    /// The letter with this id.
    pub async fn letter(&self, id: EntryId) -> Result<Option<DeadLetter>, BrokerError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.dead()).arg(id.to_string()).arg(id.to_string());
        let found = letters(self.commands.query(OPERATION, &range).await?);
        Ok(found.ok_or_else(|| BrokerError::reply(OPERATION))?.letters.pop())
    }

    /// Adds the event of a letter to the stream again and deletes the letter, in one step.
    pub async fn replay(&self, letter: &DeadLetter) -> Result<Replayed, BrokerError> {
        const OPERATION: &str = "replaying a dead letter";
        let fields = replay::replay(&letter.entry);
        if fields.len() > SCRIPT_FIELDS {
            return self.replay_in_two_steps(letter.id, &fields).await;
        }
        let mut script = self.scripts.replay.key(self.keys.stream.as_str());
        script.key(self.keys.dead()).arg(letter.id.to_string());
        for (name, value) in &fields {
            script.arg(name.as_slice()).arg(value.as_slice());
        }
        let reply: Value = self.commands.script(OPERATION, &script).await?;
        match (reply::entry_id(&reply), reply::text(reply).as_deref()) {
            (Some(id), _) => Ok(Replayed::Done(id)),
            (None, Some("gone")) => Ok(Replayed::Gone),
            (None, Some("no-stream")) => Ok(Replayed::NoStream),
            _ => Err(BrokerError::reply(OPERATION)),
        }
    }

    /// For a letter with more fields than a script can pass on: first the event, then, when its reply is there, the letter goes. Two that
    /// do so at the same time leave two entries of one event, which the ledger knows for what they are; none leaves none.
    async fn replay_in_two_steps(&self, id: EntryId, fields: &[Field]) -> Result<Replayed, BrokerError> {
        const OPERATION: &str = "replaying a large dead letter";
        if self.letter(id).await?.is_none() {
            return Ok(Replayed::Gone);
        }
        let mut add = redis::cmd("XADD");
        add.arg(self.keys.stream.as_str()).arg("NOMKSTREAM").arg("*");
        for (name, value) in fields {
            add.arg(name.as_slice()).arg(value.as_slice());
        }
        let added: Value = self.commands.query(OPERATION, &add).await?;
        if added == Value::Nil {
            return Ok(Replayed::NoStream);
        }
        let added = reply::entry_id(&added).ok_or_else(|| BrokerError::reply(OPERATION))?;
        self.discard(id).await?;
        Ok(Replayed::Done(added))
    }

    /// Deletes a letter. `false` when it was gone already.
    pub async fn discard(&self, id: EntryId) -> Result<bool, BrokerError> {
        let mut delete = redis::cmd("XDEL");
        delete.arg(self.keys.dead()).arg(id.to_string());
        self.commands.query("discarding a dead letter", &delete).await
    }
}

fn letters(reply: Value) -> Option<Letters> {
    let entries = reply::entries(reply)?;
    let full = entries.len() >= PAGE;
    let mut page =
        Letters { next: entries.last().filter(|_| full).and_then(|(id, _)| id.next()), ..Letters::default() };
    for (id, fields) in entries {
        match fields.and_then(|fields| letter(id, fields)) {
            Some(letter) => page.letters.push(letter),
            None => page.odd.push(id),
        }
    }
    Some(page)
}

/// Takes a letter apart. The facts are its last fields, whatever the names of those before are.
fn letter(id: EntryId, mut fields: Vec<Field>) -> Option<DeadLetter> {
    let facts = fields.split_off(fields.len().checked_sub(FACTS.len())?);
    if facts.iter().zip(FACTS).any(|((name, _), fact)| name != fact.as_bytes()) {
        return None;
    }
    let mut facts = facts.into_iter().map(|(_, value)| String::from_utf8_lossy(&value).into_owned());
    // In the order of `FACTS`.
    Some(DeadLetter {
        id,
        entry: Entry { id: facts.next()?.parse().ok()?, fields: fields.into() },
        group: facts.next()?.into(),
        consumer: facts.next()?.into(),
        deliveries: facts.next()?.parse().ok()?,
        failures: facts.next()?.parse().ok()?,
        crashes: facts.next()?.parse().ok()?,
        reason: facts.next()?,
        error: facts.next()?,
        first_seen_ms: facts.next()?.parse().ok()?,
        dead_at_ms: facts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    fn facts() -> Vec<Field> {
        let values = ["5-1", "g", "w-0", "4", "2", "1", "permanent", "no", "1000", "2000"];
        fields(&FACTS.iter().copied().zip(values).collect::<Vec<_>>())
    }

    #[test]
    fn facts_are_told_from_fields_by_where_they_stand() {
        let original = fields(&[("_id", "mine"), ("_reason", "mine"), ("_id", "again")]);
        let found = letter(EntryId::new(9, 0), [original.clone(), facts()].concat()).unwrap();
        assert_eq!((found.entry.id, found.entry.fields), (EntryId::new(5, 1), original.into()));
        assert_eq!((found.deliveries, found.failures, found.crashes), (4, 2, 1));
        assert_eq!((found.reason.as_str(), found.error.as_str()), ("permanent", "no"));
        assert_eq!((found.first_seen_ms, found.dead_at_ms), (1000, 2000));
    }

    #[test]
    fn what_is_no_letter_is_not_taken_for_one() {
        let mut late = facts();
        late.push((b"note".to_vec(), b"x".to_vec()));
        let mut odd = facts();
        odd[3].1 = b"many".to_vec();
        for fields in [Vec::new(), fields(&[("_id", "5-1")]), late, odd] {
            assert_eq!(letter(EntryId::new(9, 0), fields), None);
        }
        assert!(letter(EntryId::new(9, 0), facts()).unwrap().entry.fields.is_empty());
    }
}
