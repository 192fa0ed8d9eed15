//! Those who look on while the run is under way: the sampler, and a second group that is slow.
//!
//! Owns: their threads.
//! Never: what they see being judged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::book::Place;
use super::journal::{Journal, now};
use super::stream::{Redis, SLOW_GROUP, STREAM};
use crate::checker::record::{SAMPLES, Sample};

/// How often those who look on do so.
pub(crate) const EVERY: Duration = Duration::from_millis(50);

/// Entries in a reply, of which only the ids are of interest.
type Entries = Vec<(String, redis::Value)>;

/// Something that goes on beside the run.
pub(crate) struct Beside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Looks at the stream and then at the ledger, twenty times a second.
pub(crate) fn sample(journal: &Journal, socket: PathBuf, ledger: Place) -> Beside {
    let mut samples = journal.lines(SAMPLES);
    let mut redis = Redis::new(socket);
    Beside::start(move || {
        let book = ledger.open();
        move || {
            let at = now();
            // In this order: what was acknowledged then has to be in the ledger now.
            let Some(stream) = redis.look() else { return };
            if let Some(mark) = book.mark() {
                samples.write(&Sample { at, stream, mark });
            }
        }
    })
}

/// Reads for a group of its own, a few entries at a time, and is always behind.
pub(crate) fn read_slowly(socket: PathBuf) -> Beside {
    let mut redis = Redis::new(socket);
    Beside::start(move || {
        move || {
            let mut read = redis::cmd("XREADGROUP");
            read.arg("GROUP").arg(SLOW_GROUP).arg("slow-0").arg("COUNT").arg(5).arg("STREAMS").arg(STREAM).arg(">");
            let Ok(Some(streams)) = redis.ask(|connection| read.query::<Option<Vec<(String, Entries)>>>(connection))
            else {
                return;
            };
            let mut ack = redis::cmd("XACK");
            let ids: Vec<&String> = streams.iter().flat_map(|(_, entries)| entries).map(|(id, _)| id).collect();
            ack.arg(STREAM).arg(SLOW_GROUP).arg(ids);
            // What is not acknowledged stays pending, which is as good for what this is about.
            let _ = redis.ask(|connection| ack.query::<u64>(connection));
        }
    })
}

impl Beside {
    pub(crate) fn start<T: FnMut()>(prepare: impl FnOnce() -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut act = prepare();
            while !told.load(Ordering::Acquire) {
                let next = Instant::now() + EVERY;
                act();
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().expect("it lived to the end");
    }
}
