//! The inbox in SQLite: which entries have been applied.
//!
//! Owns: its rows, the numbers of the sources, and their generations.
//! Never: the rule that tells entries apart (that is `domain::inbox`).

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, Statement};

use super::row::{stored, unstored};
use crate::bug;
use crate::domain::batch::{Source, Work};
use crate::domain::id::EntryId;
use crate::domain::inbox::{self, Digest, Place};

/// The statements of the inbox, prepared once, and what is known within one transaction.
pub(super) struct Inbox<'c> {
    note: Statement<'c>,
    same_id: Statement<'c>,
    strike: Statement<'c>,
    replayed: Statement<'c>,
    highest: Statement<'c>,
    begin: Statement<'c>,
    sources: Sources<'c>,
    begun: Vec<Begun>,
}

/// The row of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted {
    /// The number of its source.
    pub(super) source: i64,
    /// The halves of its id.
    pub(super) id: (i64, i64),
    generation: i64,
    /// Whether this generation was there before.
    restarted: bool,
}

/// A generation that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    /// Whose.
    pub(super) source: Arc<Source>,
    /// The entry with which it began.
    pub(super) entry: EntryId,
    /// Its number.
    pub(super) generation: u64,
    /// The highest id of the generations before.
    pub(super) highest: Option<EntryId>,
}

impl<'c> Inbox<'c> {
    /// Prepares the statements.
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        const ID: &str = "source = ?1 AND ms = ?2 AND sub = ?3";
        Ok(Self {
            note: conn.prepare(
                "INSERT INTO inbox (source, ms, sub, generation, digest) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )?,
            same_id: conn.prepare(&format!("SELECT generation, digest FROM inbox WHERE {ID}"))?,
            strike: conn.prepare(&format!("DELETE FROM inbox WHERE {ID} AND generation = ?4"))?,
            replayed: conn.prepare(
                "INSERT INTO replays (source, ms, sub, by_ms, by_sub) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET by_ms = excluded.by_ms, by_sub = excluded.by_sub",
            )?,
            highest: conn.prepare(
                "SELECT ms, sub FROM inbox WHERE source = ?1 AND generation < ?2 ORDER BY ms DESC, sub DESC LIMIT 1",
            )?,
            begin: conn.prepare("UPDATE sources SET generation = ?2 WHERE source = ?1")?,
            sources: Sources::new(conn)?,
            begun: Vec::new(),
        })
    }

    /// Notes an entry; `None` where it stands there already.
    pub(super) fn note(&mut self, work: &Work) -> Result<Option<Noted>> {
        let Known { number: source, generation: present, .. } = *self.sources.find(&work.context.source)?;
        // A replay is the same event as the entry it repeats.
        let id = work.event.origin();
        let (ms, sub) = (stored(id.ms), stored(id.seq));
        let digest = Digest::of(&work.event.entry.fields);
        if work.event.replay_of.is_some() {
            let by = work.event.entry.id;
            self.replayed.execute((source, ms, sub, stored(by.ms), stored(by.seq)))?;
        }
        // Nearly every source is in its first generation. There, an id that is not taken is new without a further look.
        if present == 0 && self.note.execute((source, ms, sub, 0, stored(digest.number())))? == 1 {
            return Ok(Some(Noted { source, id: (ms, sub), generation: 0, restarted: false }));
        }
        let same_id = self.same_id.query_map((source, ms, sub), generation_and_digest)?;
        let same_id = same_id.collect::<Result<Vec<_>>>()?;
        if bug::is("id-alone") && !same_id.is_empty() {
            return Ok(None);
        }
        let (generation, restarted) = match inbox::place(&same_id, digest, unstored(present)) {
            Place::Known if bug::is("no-inbox") => {
                return Ok(Some(Noted { source, id: (ms, sub), generation: present, restarted: false }));
            }
            Place::Known => return Ok(None),
            Place::New(generation) => (stored(generation), false),
            Place::Restarted(generation) => (stored(generation), true),
        };
        self.note.execute((source, ms, sub, generation, stored(digest.number())))?;
        Ok(Some(Noted { source, id: (ms, sub), generation, restarted }))
    }

    /// The entry was applied. If its generation is new, it has begun.
    pub(super) fn applied(&mut self, noted: Noted, work: &Work) -> Result<()> {
        let Noted { source, generation, .. } = noted;
        if noted.restarted {
            let highest = self.highest.query_row((source, generation), entry_id).optional()?;
            self.begin.execute((source, generation))?;
            self.sources.begin(source, generation);
            let of = Arc::clone(&work.context.source);
            let (entry, generation) = (work.event.origin(), unstored(generation));
            self.begun.push(Begun { source: of, entry, generation, highest });
        }
        Ok(())
    }

    /// The entry was not applied: there is no row for it.
    pub(super) fn strike(&mut self, Noted { source, id: (ms, sub), generation, .. }: Noted) -> Result<()> {
        self.strike.execute((source, ms, sub, generation))?;
        Ok(())
    }

    /// The entry with which nothing has begun after all: what was written for it is undone.
    pub(super) fn undo(&mut self, entry: EntryId) {
        self.sources.known.clear();
        self.begun.retain(|begun| begun.entry != entry);
    }

    /// Forgets what is known: another process may have written since the last transaction, or this one was undone.
    pub(super) fn forget(&mut self) {
        self.sources.known.clear();
        self.begun.clear();
    }

    /// The generations that have begun in this transaction.
    pub(super) fn take_begun(&mut self) -> Vec<Begun> {
        std::mem::take(&mut self.begun)
    }
}

fn generation_and_digest(row: &Row<'_>) -> Result<(u64, Option<Digest>)> {
    let digest: Option<i64> = row.get(1)?;
    Ok((unstored(row.get(0)?), digest.map(|number| Digest::from(unstored(number)))))
}

fn entry_id(row: &Row<'_>) -> Result<EntryId> {
    Ok(EntryId::new(unstored(row.get(0)?), unstored(row.get(1)?)))
}

/// The small number that stands for a stream and a group in the inbox, and the generation that the stream is in.
struct Sources<'c> {
    insert: Statement<'c>,
    select: Statement<'c>,
    known: Vec<Known>,
}

struct Known {
    source: Arc<Source>,
    number: i64,
    generation: i64,
}

impl<'c> Sources<'c> {
    fn new(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            insert: conn.prepare("INSERT INTO sources (stream, grp) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?,
            select: conn.prepare("SELECT source, generation FROM sources WHERE stream = ?1 AND grp = ?2")?,
            known: Vec::new(),
        })
    }

    fn find(&mut self, source: &Arc<Source>) -> Result<&Known> {
        // A process has one or a few of them, and the same `Arc` for each of its events.
        let same = |known: &Known| Arc::ptr_eq(&known.source, source) || known.source == *source;
        let place = match self.known.iter().position(same) {
            Some(place) => place,
            None => {
                let names = (source.stream.as_str(), source.group.as_str());
                self.insert.execute(names)?;
                let (number, generation) = self.select.query_row(names, |row| Ok((row.get(0)?, row.get(1)?)))?;
                self.known.push(Known { source: Arc::clone(source), number, generation });
                self.known.len() - 1
            }
        };
        Ok(&self.known[place])
    }

    fn begin(&mut self, number: i64, generation: i64) {
        self.known.iter_mut().filter(|known| known.number == number).for_each(|known| known.generation = generation);
    }
}
