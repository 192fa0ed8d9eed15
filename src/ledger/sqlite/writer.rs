//! The writer: one thread, one connection, one transaction for all that waits.
//!
//! Owns: what goes into a transaction, and what is answered when one fails.
//! Never: an answer before the commit; a second attempt of its own (the events come again).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Transaction};

use super::book::Book;
use super::hook::Hook;
use super::inbox::Begun;
use super::lock::{self, PATIENCE};
use super::place::Place;
use super::{chores, failed, fault, open};
use crate::crash;
use crate::domain::outcome::{Failure, Outcome};
use crate::ledger::Parts;
use crate::ledger::chore::{Prune, Pruned};
use crate::ledger::queue::{Chore, Desk, Waiting};
use crate::telemetry::Telemetry;
use crate::telemetry::event::GenerationBegan;

/// What the writer works with.
pub(super) struct Job {
    /// The file.
    pub(super) path: PathBuf,
    /// The rules, and where what happens is told.
    pub(super) parts: Parts,
    /// What joins the transactions.
    pub(super) hook: Option<Arc<dyn Hook>>,
    /// Set when the disk did not take what was copied from the log into the file.
    pub(super) log_failed: Arc<AtomicBool>,
}

/// The thread: opens the file, says how that went, and writes until nobody can bring anything any more, or until it never can again.
pub(super) fn run(job: &Job, mut desk: Desk) {
    let conn = match open::for_writing(&job.path, &job.log_failed) {
        Ok(conn) => conn,
        Err(error) => return desk.opened(Err(error)),
    };
    let ended = match Writer::new(&conn, job, PATIENCE) {
        Ok(mut writer) => {
            desk.opened(Ok(()));
            writer.serve(&mut desk)
        }
        Err(error) => {
            desk.opened(Err(failed("prepare", &job.path, &error)));
            Ok(())
        }
    };
    if let Err(reason) = ended {
        desk.broke(reason);
        // Closing it would write to a disk, or into a place, that has just shown that it cannot be relied on.
        std::mem::forget(conn);
    }
}

struct Writer<'c> {
    conn: &'c Connection,
    path: &'c Path,
    place: Place,
    book: Book<'c>,
    telemetry: &'c Telemetry,
    log_failed: &'c AtomicBool,
    patience: Duration,
    contended: bool,
}

impl<'c> Writer<'c> {
    fn new(conn: &'c Connection, job: &'c Job, patience: Duration) -> rusqlite::Result<Self> {
        let Job { path, parts: Parts { rules, telemetry }, hook, log_failed } = job;
        if let Some(hook) = hook {
            let transaction = lock::begin(conn, patience)?.transaction;
            hook.prepare(conn)?;
            transaction.commit()?;
        }
        let book = Book::new(conn, rules, hook.as_deref())?;
        Ok(Self { conn, path, place: Place::of(path), book, telemetry, log_failed, patience, contended: false })
    }

    /// Serves until nobody can bring anything any more, or until the ledger can never be written again: then, why.
    fn serve(&mut self, desk: &mut Desk) -> Result<(), String> {
        while let Some(group) = desk.next_blocking() {
            self.write(group.batches)?;
            group.chores.into_iter().try_for_each(|chore| self.chore(chore))?;
        }
        Ok(())
    }

    /// Writes a group in one transaction and answers each batch. An error is the end of the ledger.
    fn write(&mut self, group: Vec<Waiting>) -> Result<(), String> {
        if group.is_empty() {
            return Ok(());
        }
        let (answers, ended) = match self.transact(&group) {
            Ok(answers) => (answers, Ok(())),
            Err(trouble) => {
                let answers = group.iter().map(|waiting| unavailable(&trouble, waiting.batch.len())).collect();
                (answers, trouble.or_end())
            }
        };
        for (waiting, outcomes) in group.into_iter().zip(answers) {
            // Who has gone away in the meantime gets the events again, and learns then that they are in place.
            let _ = waiting.reply.send(outcomes);
        }
        ended
    }

    /// The outcomes for each request, once they are on the disk. After an error the transaction is undone; where a commit fails
    /// and has happened nevertheless, the events come again and are found in the inbox.
    fn transact(&mut self, group: &[Waiting]) -> Result<Vec<Vec<Outcome>>, Trouble> {
        self.look_around()?;
        let transaction = self.begin()?;
        self.book.start();
        let now = now();
        let answers = group
            .iter()
            .map(|waiting| self.book.enter(&waiting.batch, waiting.effects, now))
            .collect::<Result<_, _>>()?;
        self.book.finish(now)?;
        crash::point("before-commit");
        transaction.commit()?;
        crash::point("after-commit");
        // What was written to a file without a name is not in place, whatever the commit says.
        self.look_around()?;
        self.tell_begun();
        Ok(answers)
    }

    fn look_around(&self) -> Result<(), Trouble> {
        if self.log_failed.load(Ordering::Relaxed) {
            return Err(Trouble::NotTaken);
        }
        self.place.missing().map_or(Ok(()), |file| Err(Trouble::Moved(file.display().to_string())))
    }

    /// Does a chore and answers. An error is the end of the ledger.
    fn chore(&mut self, chore: Chore) -> Result<(), String> {
        // Who has gone away in the meantime asks again.
        match chore {
            Chore::Prune(request, reply) => {
                let pruned = self.prune(&request);
                let _ = reply.send(pruned.as_ref().copied().map_err(|error| failed("prune", self.path, error)));
                pruned.err().map_or(Ok(()), |error| Trouble::from(error).or_end())
            }
            Chore::Standing(source, reply) => {
                let standing = chores::standing(self.conn, &source);
                let _ = reply.send(standing.map_err(|error| failed("read", self.path, &error)));
                Ok(())
            }
        }
    }

    fn prune(&mut self, request: &Prune) -> rusqlite::Result<Pruned> {
        let transaction = self.begin()?;
        let pruned = chores::prune(self.conn, request, now())?;
        crash::point("before-pruning");
        transaction.commit()?;
        crash::point("after-pruning");
        Ok(pruned)
    }

    /// Begins a transaction, once those who share the file had their turn.
    fn begin(&mut self) -> rusqlite::Result<Transaction<'c>> {
        if self.contended {
            lock::let_others();
        }
        let begun = lock::begin(self.conn, self.patience).inspect_err(|_| self.contended = true)?;
        self.contended = begun.contended;
        Ok(begun.transaction)
    }

    fn tell_begun(&mut self) {
        for Begun { source, entry, generation, highest } in self.book.take_begun() {
            let stream = source.stream.as_str();
            self.telemetry.emit(GenerationBegan { stream, entry, generation, highest });
        }
    }
}

/// Why a transaction was not written.
enum Trouble {
    /// `SQLite` said so.
    Sqlite(rusqlite::Error),
    /// The disk did not take what was copied from the log into the file.
    NotTaken,
    /// This file of the ledger was deleted, or another one stands in its place.
    Moved(String),
}

impl Trouble {
    /// Why the ledger can never be written again, if that is so.
    fn or_end(self) -> Result<(), String> {
        match self {
            Self::Sqlite(error) if !fault::is_final(&error) => Ok(()),
            other => Err(other.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => write!(f, "the ledger cannot be written: {}", fault::sentence(error)),
            Self::NotTaken => {
                f.write_str("the ledger cannot be written: the disk did not take what was copied from its log")
            }
            Self::Moved(file) => write!(f, "the ledger's file {file} was deleted or replaced"),
        }
    }
}

fn unavailable(trouble: &Trouble, events: usize) -> Vec<Outcome> {
    vec![Outcome::Failed(Failure::unavailable(trouble.to_string())); events]
}

/// The time of a transaction, in milliseconds since 1970.
fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::batch::{Context, Source, Work};
    use crate::domain::entry::{Entry, Fields};
    use crate::domain::event::{Action, OrderEvent, SharedEvent};
    use crate::domain::id::EntryId;
    use crate::domain::order::Rules;
    use crate::domain::outcome::FailureClass;

    fn work(ms: u64, order: &str, action: Action) -> Work {
        Work {
            event: SharedEvent::from(OrderEvent {
                order: order.into(),
                user: Some("u".into()),
                action,
                amount: Some("1".parse().unwrap()),
                replay_of: None,
                event_id: None,
                entry: Entry { id: EntryId::new(ms, 0), fields: Fields::default() },
            }),
            context: Context { source: Arc::new(Source { stream: "s".into(), group: "g".into() }), attempt: 1 },
        }
    }

    /// Orders that begin, one event each.
    fn beginnings(ids: std::ops::Range<u64>) -> Vec<Work> {
        ids.map(|ms| work(ms, &format!("order-with-a-long-name-{ms}"), Action::Created)).collect()
    }

    fn waiting(works: Vec<Work>) -> (Waiting, oneshot::Receiver<Vec<Outcome>>) {
        let (reply, answer) = oneshot::channel();
        (Waiting { batch: Arc::new(works), effects: false, reply }, answer)
    }

    fn with_writer(patience: Duration, test: impl FnOnce(&mut Writer<'_>, &Path)) {
        with_hooked_writer(patience, None, test);
    }

    fn with_hooked_writer(patience: Duration, hook: Option<Arc<dyn Hook>>, test: impl FnOnce(&mut Writer<'_>, &Path)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("orderd.db");
        let log_failed = Arc::default();
        let conn = open::for_writing(&path, &log_failed).unwrap();
        let parts = Parts { rules: Rules::default(), telemetry: Telemetry::new().unwrap() };
        let job = Job { path: path.clone(), parts, hook, log_failed };
        test(&mut Writer::new(&conn, &job, patience).unwrap(), &path);
    }

    fn write(writer: &mut Writer<'_>, ids: std::ops::Range<u64>) -> Vec<Outcome> {
        let (waiting, mut answer) = waiting(beginnings(ids));
        writer.write(vec![waiting]).unwrap();
        answer.try_recv().unwrap()
    }

    fn count(conn: &Connection, table: &str) -> i64 {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_full_disk_undoes_the_whole_transaction_and_the_events_can_come_again() {
        with_writer(PATIENCE, |writer, _| {
            let pages: i64 = writer.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
            writer.conn.pragma_update_and_check(None, "max_page_count", pages + 3, |_| Ok(())).unwrap();
            let outcomes = write(writer, 0..500);
            let full = |outcome: &Outcome| match outcome {
                Outcome::Failed(failure) => {
                    failure.class() == FailureClass::Unavailable && failure.message().contains("no room")
                }
                _ => false,
            };
            assert!(outcomes.len() == 500 && outcomes.iter().all(full), "{:?}", outcomes.first());
            for table in ["orders", "history", "inbox", "sources"] {
                assert_eq!(count(writer.conn, table), 0, "{table}");
            }

            writer.conn.pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
            assert_eq!(write(writer, 0..500), vec![Outcome::Applied; 500]);
            for table in ["order_events", "inbox_entries"] {
                assert_eq!(count(writer.conn, table), 500, "{table}");
            }
        });
    }

    #[test]
    fn batches_that_wait_share_a_transaction() {
        with_writer(PATIENCE, |writer, _| {
            let (waiting, _answers): (Vec<_>, Vec<_>) =
                [0, 2000, 4000].map(|first| waiting(beginnings(first..first + 2000))).into_iter().unzip();
            writer.write(waiting).unwrap();
            let times: i64 =
                writer.conn.query_row("SELECT count(DISTINCT applied_at) FROM history", [], |row| row.get(0)).unwrap();
            assert_eq!((count(writer.conn, "orders"), times), (6000, 1));
        });
    }

    /// Notes where an order stands in the ledger at each call, and refuses one event.
    #[derive(Default)]
    struct Witness(std::sync::Mutex<Vec<String>>);

    impl Hook for Witness {
        fn prepare(&self, _: &Connection) -> rusqlite::Result<()> {
            Ok(())
        }

        fn applied(&self, ledger: &Connection, work: &Work) -> rusqlite::Result<Result<(), Failure>> {
            let sql = "SELECT state || ' ' || version FROM orders WHERE order_id = ?1";
            self.0.lock().unwrap().push(ledger.query_row(sql, [work.event.order.as_str()], |row| row.get(0))?);
            Ok(if work.event.id().ms == 2 { Err(Failure::transient("not now")) } else { Ok(()) })
        }
    }

    #[test]
    fn a_hook_finds_the_order_as_its_event_has_made_it_and_so_does_the_event_after_one_that_was_refused() {
        let hook = Arc::new(Witness::default());
        with_hooked_writer(PATIENCE, Some(Arc::clone(&hook) as Arc<dyn Hook>), |writer, _| {
            let batches = [
                vec![work(1, "o", Action::Created), work(2, "o", Action::Paid)],
                vec![work(3, "o", Action::Paid), work(4, "o", Action::Shipped)],
            ];
            let (group, answers): (Vec<_>, Vec<_>) = batches.into_iter().map(waiting).unzip();
            writer.write(group).unwrap();
            let outcomes: Vec<Outcome> =
                answers.into_iter().flat_map(|mut answer| answer.try_recv().unwrap()).collect();
            let applied: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Outcome::Applied).collect();
            assert_eq!(applied, [true, false, true, true], "{outcomes:?}");
            assert_eq!(*hook.0.lock().unwrap(), ["created 1", "paid 2", "paid 2", "shipped 3"]);
        });
    }

    #[test]
    fn a_writer_that_had_to_wait_leaves_the_lock_to_others_for_once() {
        with_writer(Duration::from_millis(5), |writer, path| {
            let other = Connection::open(path).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(matches!(&write(writer, 0..1)[..], [Outcome::Failed(_)]));
            assert!(writer.contended);
            other.execute_batch("ROLLBACK").unwrap();
            assert_eq!(write(writer, 0..1), [Outcome::Applied]);
            assert!(!writer.contended);
        });
    }
}
