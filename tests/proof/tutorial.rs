//! The loop that tutorials show, under the same producer and the same checker: what it loses is the measure of the rest.
//!
//! Owns: the loop (group at `$`, read ten, handle, acknowledge each; XAUTOCLAIM from `0-0`; XTRIM MAXLEN) and its violent deaths.
//! Never: anything that it does not do in the tutorials.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use orderd::cli::sandbox::PrivateServer;
use rusqlite::Connection;

use crate::checker::record::{RUN, Run, What};
use crate::checker::{Judgement, judge};
use crate::scenario::{Take, folder};
use crate::stage::book::Place;
use crate::stage::journal::Journal;
use crate::stage::producer::{Options, Producer};
use crate::stage::sampler;
use crate::stage::stream::{GROUP, Redis, STREAM, dump, text};

/// What it handles goes here. Like most handlers it does not know that an event may come twice.
const LEDGER: &str = r"
PRAGMA journal_mode = WAL;
CREATE TABLE rows (seq INTEGER PRIMARY KEY, entry_id TEXT, order_id TEXT, action TEXT, amount TEXT, applied_at INTEGER);
CREATE VIEW history AS SELECT seq FROM rows;
CREATE VIEW order_events AS SELECT seq, entry_id, order_id, action, amount, applied_at,
    row_number() OVER (PARTITION BY order_id ORDER BY seq) AS version FROM rows;
CREATE VIEW orders AS SELECT order_id, count(*) AS version,
    CAST(sum(CASE action WHEN 'refunded' THEN CAST(amount AS INTEGER) ELSE 0 END) AS TEXT) AS refunded
    FROM rows GROUP BY order_id;
";

const WORKERS: usize = 3;
/// How long it may take to come to the end of what it has not lost.
const PATIENCE: Duration = Duration::from_secs(20);

type Entries = Vec<(String, Option<Vec<(String, Vec<u8>)>>)>;

/// A loop in a thread. It dies between two of its steps, as a process that is killed does.
struct Looping {
    dead: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Runs it and judges it.
pub(crate) fn run(take: &Take) -> Judgement {
    let folder = folder().join("tutorial-loop");
    let journal = Journal::begin(&folder);
    let name = "tutorial loop".to_owned();
    let (group, needs) = (GROUP.to_owned(), vec![("kills".to_owned(), 3)]);
    let run =
        Run { name, seed: take.seed, group, one_at_a_time: false, calm: false, leases: false, witnessed: false, needs };
    journal.object(RUN, &run);
    play(take, &journal);
    judge(&folder).expect("the files of the run can be read")
}

fn play(take: &Take, journal: &Journal) {
    let server = PrivateServer::start(take.server.clone()).expect("a redis-server starts");
    let (socket, ledger) = (server.socket(), journal.path("orders.db"));
    Connection::open(&ledger).and_then(|ledger| ledger.execute_batch(LEDGER)).expect("a ledger");
    let mut redis = Redis::new(socket.clone());
    let mut create = redis::cmd("XGROUP");
    create.arg("CREATE").arg(STREAM).arg(GROUP).arg("$").arg("MKSTREAM");
    redis.ask(|connection| create.exec(connection)).expect("a group");
    let start = |index: usize| Looping::start(&socket, &ledger, &format!("w{index}-0"));
    let mut loops: Vec<Looping> = (0..WORKERS).map(start).collect();
    let options = Options { rate: 400, malformed: 0, too_early: 0, poison: false, own_ids: false };
    let mut producer = Producer::new(journal, socket.clone(), options, take.seed);
    producer.begin_orders();
    let sampler = sampler::sample(journal, socket.clone(), Place::File(ledger.clone()));
    let producing = producer.start();
    let mut rng = Rng::with_seed(take.seed);
    let end = Instant::now() + take.time;
    while Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(rng.u64(300..900)));
        let index = rng.usize(..WORKERS);
        let fresh = start(index);
        std::mem::replace(&mut loops[index], fresh).kill();
        journal.note(What::Killed { worker: format!("w{index}"), in_flight: 0 });
    }
    producing.stop();
    let is_done = |redis: &mut Redis| {
        let group = redis.look().and_then(|stream| Some((stream.last_generated, stream.groups.into_iter().next()?)));
        group.is_some_and(|(last, group)| group.last_delivered == last && group.pending.is_empty())
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_done(&mut redis) && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    sampler.stop();
    loops.into_iter().for_each(Looping::kill);
    dump(journal, &mut redis, &Place::File(ledger).open());
}

impl Looping {
    fn start(socket: &Path, ledger: &Path, consumer: &str) -> Self {
        let dead = Arc::new(AtomicBool::new(false));
        let (is_dead, socket, consumer) = (Arc::clone(&dead), socket.to_owned(), consumer.to_owned());
        let ledger: PathBuf = ledger.to_owned();
        let thread = std::thread::spawn(move || {
            let ledger = Connection::open(ledger).expect("the ledger");
            ledger.busy_timeout(PATIENCE).expect("a time to wait");
            // It is not to lose the race for being slow: what it loses, it loses by what it does.
            ledger.pragma_update(None, "synchronous", "OFF").expect("a fast handler");
            let mut redis = Redis::new(socket);
            while turn(&mut redis, &ledger, &consumer, &is_dead).is_some() {}
        });
        Self { dead, thread }
    }

    fn kill(self) {
        self.dead.store(true, Ordering::Release);
        self.thread.join().expect("a loop only dies when it is told to");
    }
}

/// One turn of the loop; `None` when it died on the way.
fn turn(redis: &mut Redis, ledger: &Connection, consumer: &str, dead: &AtomicBool) -> Option<()> {
    let alive = || (!dead.load(Ordering::Acquire)).then_some(());
    alive()?;
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg(consumer).arg("COUNT").arg(10).arg("BLOCK").arg(100);
    read.arg("STREAMS").arg(STREAM).arg(">");
    let read = redis.ask(|connection| read.query::<Option<Vec<(String, Entries)>>>(connection)).expect("a read");
    handle(redis, ledger, read.into_iter().flatten().flat_map(|(_, entries)| entries).collect(), &alive)?;

    let mut claim = redis::cmd("XAUTOCLAIM");
    claim.arg(STREAM).arg(GROUP).arg(consumer).arg(1_000).arg("0-0").arg("COUNT").arg(10);
    let (_, claimed, _) =
        redis.ask(|connection| claim.query::<(String, Entries, redis::Value)>(connection)).expect("a claim");
    handle(redis, ledger, claimed, &alive)?;

    let mut trim = redis::cmd("XTRIM");
    trim.arg(STREAM).arg("MAXLEN").arg(300);
    redis.ask(|connection| trim.exec(connection)).expect("a trim");
    Some(())
}

fn handle(redis: &mut Redis, ledger: &Connection, entries: Entries, alive: &dyn Fn() -> Option<()>) -> Option<()> {
    for (id, fields) in entries {
        alive()?;
        let fields = fields.unwrap_or_default();
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| text(value));
        if let (Some(order), Some(action)) = (field("orderId"), field("action")) {
            let insert = "INSERT INTO rows (entry_id, order_id, action, amount, applied_at) VALUES (?1, ?2, ?3, ?4, 0)";
            ledger.execute(insert, (&id, order, action, field("amount"))).expect("an effect");
        }
        alive()?;
        let mut ack = redis::cmd("XACK");
        redis.ask(|connection| ack.arg(STREAM).arg(GROUP).arg(&id).exec(connection)).expect("an ack");
    }
    Some(())
}
