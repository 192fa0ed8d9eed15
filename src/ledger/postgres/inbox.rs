//! The inbox in Postgres: which entries have been applied.
//!
//! Owns: its rows, the numbers of the sources, and their generations.
//! Never: the rule that tells entries apart (that is `domain::inbox`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use tokio_postgres::{Client, Error, Row, SimpleQueryMessage, Statement};

use super::fault::Fault;
use super::row::{stored, unstored};
use super::sheet::{Begun, Filed, InboxRow, Key};
use crate::domain::batch::Source;
use crate::domain::id::EntryId;
use crate::domain::inbox::Digest;

/// Begins a transaction. All that it asks of the session ends with it, so that a pooler may stand in between.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s';
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';";

/// The locks on sources: the letters `ords`. Whoever notes entries shares the one of their source, so that the generation they
/// are noted in stays the present one; to begin another, it is held alone.
const SOURCE_LOCKS: i32 = 0x6f72_6473;

const NOTE: &str = "INSERT INTO orderd.inbox (source, ms, sub, generation, digest)
    SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[], $5::int8[])
    ON CONFLICT DO NOTHING RETURNING source, ms, sub, generation";

const NOTE_REPLAYS: &str = "INSERT INTO orderd.replays (source, ms, sub, by_ms, by_sub)
    SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[], $5::int8[])
    ON CONFLICT (source, ms, sub) DO UPDATE SET by_ms = excluded.by_ms, by_sub = excluded.by_sub";

const SAME_ID: &str = "SELECT source, ms, sub, generation, digest
    FROM orderd.inbox JOIN unnest($1::int4[], $2::int8[], $3::int8[]) AS k (source, ms, sub) USING (source, ms, sub)";

const STRIKE: &str = "DELETE FROM orderd.inbox AS i
    USING unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[]) AS k (source, ms, sub, generation)
    WHERE i.source = k.source AND i.ms = k.ms AND i.sub = k.sub AND i.generation = k.generation";

const HIGHEST: &str = "SELECT ms, sub FROM orderd.inbox WHERE source = $1 AND generation < $2
    ORDER BY ms DESC, sub DESC LIMIT 1";

const BEGIN_GENERATION: &str = "UPDATE orderd.sources SET generation = $2 WHERE source = $1";

const FIND_SOURCE: &str = "SELECT source FROM orderd.sources WHERE stream = $1 AND grp = $2";
const NAME_SOURCE: &str = "INSERT INTO orderd.sources (stream, grp) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// The statements of the inbox, prepared once for a connection, and the numbers of the sources.
pub(super) struct Inbox {
    note: Statement,
    same_id: Statement,
    strike: Statement,
    sources: Vec<(Arc<Source>, i32)>,
}

/// What the inbox knew, and what has been noted ahead.
#[derive(Default)]
pub(super) struct Noted {
    /// For each id, the rows that were there.
    pub(super) known: HashMap<Key, Vec<(u64, Option<Digest>)>>,
    /// Rows that are there now, for events that are still to be applied.
    pub(super) ahead: HashSet<InboxRow>,
}

impl Inbox {
    /// Prepares the statements.
    pub(super) async fn new(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            note: client.prepare(NOTE).await?,
            same_id: client.prepare(SAME_ID).await?,
            strike: client.prepare(STRIKE).await?,
            sources: Vec::new(),
        })
    }

    /// The small number that stands for a stream and a group. Outside of any transaction: it stays, whatever becomes of those.
    pub(super) async fn source(&mut self, client: &Client, source: &Arc<Source>) -> Result<i32, Error> {
        // A process has one or a few of them, and the same `Arc` for each of its events.
        let same = |known: &Arc<Source>| Arc::ptr_eq(known, source) || known == source;
        if let Some((_, number)) = self.sources.iter().find(|(known, _)| same(known)) {
            return Ok(*number);
        }
        let (stream, group) = (source.stream.as_str(), source.group.as_str());
        if client.query_opt(FIND_SOURCE, &[&stream, &group]).await?.is_none() {
            client.execute(NAME_SOURCE, &[&stream, &group]).await?;
        }
        let number = client.query_one(FIND_SOURCE, &[&stream, &group]).await?.try_get(0)?;
        self.sources.push((Arc::clone(source), number));
        Ok(number)
    }

    /// Begins a transaction for entries of these sources, `alone` or beside others; the present generation of each.
    pub(super) async fn begin(
        client: &Client,
        sources: &BTreeSet<i32>,
        alone: bool,
    ) -> Result<HashMap<i32, u64>, Error> {
        let mut sql = BEGIN.to_owned();
        let lock = if alone { "pg_advisory_xact_lock" } else { "pg_advisory_xact_lock_shared" };
        for source in sources {
            let _ = write!(sql, "SELECT {lock}({SOURCE_LOCKS}, {source});");
        }
        // After the locks, in a statement of its own: it sees what was committed by those who held them.
        let numbers: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let _ = write!(sql, "SELECT source, generation FROM orderd.sources WHERE source IN ({})", numbers.join(", "));
        let generation = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) if row.len() == 2 => {
                Some((row.get(0)?.parse().ok()?, row.get(1)?.parse().ok()?))
            }
            _ => None,
        };
        Ok(client.simple_query(&sql).await?.iter().filter_map(generation).collect())
    }

    /// Notes the ids of `filed` that are not taken, and says of the others what they are taken by.
    pub(super) async fn note(
        &self,
        client: &Client,
        filed: &[&Filed<'_>],
        present: &HashMap<i32, u64>,
    ) -> Result<Noted, Fault> {
        let is_first = |key: &Key| present.get(&key.0).is_none_or(|present| *present == 0);
        // Nearly every source is in its first generation. There, an id that is not taken is new without a further look.
        let mut wanted: HashMap<Key, Digest> = HashMap::new();
        for Filed { key, digest, .. } in filed.iter().filter(|filed| is_first(&filed.key)) {
            wanted.entry(*key).or_insert(*digest);
        }
        let ahead = self
            .insert(client, wanted.into_iter().map(|(key, digest)| InboxRow { key, generation: 0, digest }))
            .await?;
        let noted: HashSet<Key> = ahead.iter().map(|row| row.key).collect();
        let taken =
            Columns::of(filed.iter().map(|filed| filed.key).filter(|key| !noted.contains(key)).map(|key| (key, 0, 0)));
        let mut known: HashMap<Key, Vec<(u64, Option<Digest>)>> = HashMap::new();
        if !taken.ms.is_empty() {
            for row in client.query(&self.same_id, &[&taken.sources, &taken.ms, &taken.subs]).await? {
                let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let digest = Digest::from(unstored(row.try_get(4)?));
                known.entry(key).or_default().push((unstored(row.try_get(3)?), Some(digest)));
            }
        }
        Ok(Noted { known, ahead })
    }

    /// Notes which entries are replays, so that what they repeat is remembered for as long as they could come again. Asks nothing where
    /// there are none.
    pub(super) async fn note_replays(&self, client: &Client, filed: &[&Filed<'_>]) -> Result<(), Error> {
        let replays = filed.iter().filter(|filed| filed.event.work.event.replay_of.is_some());
        // Of two replays of one event, the later one. By key, as all writers do it.
        let by: BTreeMap<Key, EntryId> = replays.map(|filed| (filed.key, filed.event.work.event.entry.id)).collect();
        if by.is_empty() {
            return Ok(());
        }
        let sources: Vec<i32> = by.keys().map(|(source, ..)| *source).collect();
        let ms: Vec<i64> = by.keys().map(|(_, ms, _)| *ms).collect();
        let subs: Vec<i64> = by.keys().map(|(.., sub)| *sub).collect();
        let by_ms: Vec<i64> = by.values().map(|by| stored(by.ms)).collect();
        let by_subs: Vec<i64> = by.values().map(|by| stored(by.seq)).collect();
        client.execute(NOTE_REPLAYS, &[&sources, &ms, &subs, &by_ms, &by_subs]).await?;
        Ok(())
    }

    /// Makes the rows what they have to be: takes those out that were noted ahead and not applied, and adds what is missing.
    pub(super) async fn settle(
        &self,
        client: &Client,
        ahead: &HashSet<InboxRow>,
        applied: &HashSet<InboxRow>,
    ) -> Result<(), Fault> {
        let struck = Columns::of(ahead.difference(applied).map(|row| (row.key, stored(row.generation), 0)));
        if !struck.ms.is_empty() {
            client.execute(&self.strike, &[&struck.sources, &struck.ms, &struck.subs, &struck.generations]).await?;
        }
        let missing: Vec<InboxRow> = applied.difference(ahead).copied().collect();
        let wanted = missing.len();
        if self.insert(client, missing.into_iter()).await?.len() < wanted {
            return Err(Fault::Crossed("another worker has noted the same entry".to_owned()));
        }
        Ok(())
    }

    /// Begins a generation; the highest id of those before.
    pub(super) async fn begin_generation(client: &Client, begun: &Begun) -> Result<Option<EntryId>, Error> {
        let generation = stored(begun.generation);
        client.execute(BEGIN_GENERATION, &[&begun.number, &generation]).await?;
        let highest = client.query_opt(HIGHEST, &[&begun.number, &generation]).await?;
        let id = |row: Row| Ok(EntryId::new(unstored(row.try_get(0)?), unstored(row.try_get(1)?)));
        highest.map(id).transpose()
    }

    /// Adds rows; those that were not there before.
    async fn insert(&self, client: &Client, rows: impl Iterator<Item = InboxRow>) -> Result<HashSet<InboxRow>, Error> {
        let rows: HashMap<(Key, i64), InboxRow> = rows.map(|row| ((row.key, stored(row.generation)), row)).collect();
        let parts = rows.values().map(|row| (row.key, stored(row.generation), stored(row.digest.number())));
        let Columns { sources, ms, subs, generations, digests } = Columns::of(parts);
        if ms.is_empty() {
            return Ok(HashSet::new());
        }
        let added = client.query(&self.note, &[&sources, &ms, &subs, &generations, &digests]).await?;
        let name = |row: &Row| Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), row.try_get(3)?));
        let keys: Vec<(Key, i64)> = added.iter().map(name).collect::<Result<_, Error>>()?;
        Ok(keys.iter().filter_map(|key| rows.get(key)).copied().collect())
    }
}

/// Rows as a statement takes them: each once, in the order that all writers share.
struct Columns {
    sources: Vec<i32>,
    ms: Vec<i64>,
    subs: Vec<i64>,
    generations: Vec<i64>,
    digests: Vec<i64>,
}

impl Columns {
    fn of(rows: impl Iterator<Item = (Key, i64, i64)>) -> Self {
        let mut rows: Vec<(Key, i64, i64)> = rows.collect();
        rows.sort_unstable();
        rows.dedup();
        Self {
            sources: rows.iter().map(|((source, ..), ..)| *source).collect(),
            ms: rows.iter().map(|((_, ms, _), ..)| *ms).collect(),
            subs: rows.iter().map(|((.., sub), ..)| *sub).collect(),
            generations: rows.iter().map(|(_, generation, _)| *generation).collect(),
            digests: rows.iter().map(|(.., digest)| *digest).collect(),
        }
    }
}
