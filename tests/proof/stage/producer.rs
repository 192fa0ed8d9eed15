//! The producer: adds events of orders, and logs each add with its answer.
//!
//! Owns: what is added, and what is to become of it.
//! Never: an add that is tried again: whether one without an answer worked is for the checker to see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::journal::{Journal, Lines, now};
use super::stream::{COUNT, LIFE, Redis, STREAM, text};
use crate::checker::record::{ADDED, Added, Fate, Id, What};

const ORDERS: usize = 40;
/// More than all refunds of an order together.
const PAID: &str = "1000000000";

/// The order whose events kill every worker that tries them.
pub(crate) const POISON: &str = "poison";

/// Adds an entry under the next id of this life of the stream, and says in which life that was.
const ADD_AGAIN: &str = r"
local id = redis.call('INCR', KEYS[2]) .. '-0'
redis.call('XADD', KEYS[1], id, unpack(ARGV))
return id .. '@' .. (redis.call('GET', KEYS[3]) or '0')
";

/// What is produced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Events a second.
    pub rate: u32,
    /// So many of a hundred entries cannot be decoded.
    pub malformed: u32,
    /// So many orders a second get an event that comes too early, and that is tried for some seconds.
    pub too_early: u32,
    /// Whether there is an order that no worker survives.
    pub poison: bool,
    /// Whether the ids are the producer's own: from 1 on, and from 1 on again in each life of the stream.
    pub own_ids: bool,
}

/// A producer, not started yet.
pub(crate) struct Producer {
    options: Options,
    redis: Redis,
    journal: Journal,
    log: Lines,
    rng: Rng,
    /// How many refunds each order had.
    refunds: [u64; ORDERS],
    late: u64,
    poisoned: u32,
    malformed: u32,
    /// How often Redis refused, by the first word of its reply.
    refusals: BTreeMap<String, u64>,
}

/// A producer at work.
pub(crate) struct Producing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Producer {
    pub(crate) fn new(journal: &Journal, socket: PathBuf, options: Options, seed: u64) -> Self {
        Self {
            options,
            redis: Redis::new(socket),
            journal: journal.clone(),
            log: journal.lines(ADDED),
            rng: Rng::with_seed(seed),
            refunds: [0; ORDERS],
            late: 0,
            poisoned: 0,
            malformed: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// Begins every order, before anything is done to the system.
    pub(crate) fn begin_orders(&mut self) {
        for order in 0..ORDERS {
            let order = format!("order-{order}");
            for action in ["created", "paid"] {
                self.add(&event(&order, action, Some(PAID)), Fate::Applied).expect("an answer while nothing is wrong");
            }
        }
    }

    /// Adds events until it is told to stop.
    pub(crate) fn start(mut self) -> Producing {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut count = 0;
            while !told.load(Ordering::Acquire) {
                let due = began + Duration::from_secs(1) * count / self.options.rate;
                count += 1;
                std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
                if self.redis.is_there() {
                    self.step(count);
                } else {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            }
            for (word, count) in self.refusals {
                self.journal.note(What::Counted { kind: format!("adds refused ({word})"), count });
            }
        });
        Producing { stop, thread }
    }

    fn step(&mut self, count: u32) {
        let Options { rate, malformed, too_early, poison, .. } = self.options;
        if poison && count.is_multiple_of(2 * rate) {
            self.poisoned += 1;
            let amount = self.poisoned.to_string();
            self.add(&event(POISON, "refunded", Some(&amount)), Fate::Buried);
        } else if too_early > 0 && count.is_multiple_of(rate / too_early) {
            self.add_one_too_early();
        } else if self.rng.u32(..100) < malformed {
            let fields = self.malformed();
            self.add(&fields, Fate::Buried);
        } else {
            let order = self.rng.usize(..ORDERS);
            self.refunds[order] += 1;
            let amount = self.refunds[order].to_string();
            self.add(&event(&format!("order-{order}"), "refunded", Some(&amount)), Fate::Applied);
        }
    }

    /// An order that cannot be shipped, for nobody has paid. Every second one is called off, which has to wait for that to be clear,
    /// where one worker has both in hand; where two have, the order is called off at once, and nothing is tried again.
    fn add_one_too_early(&mut self) {
        self.late += 1;
        let order = format!("late-{}", self.late);
        if self.add(&event(&order, "created", Some("5")), Fate::Applied).is_some() {
            self.add(&event(&order, "shipped", None), Fate::Buried);
            if self.late.is_multiple_of(2) {
                self.add(&event(&order, "cancelled", None), Fate::Applied);
            }
        }
    }

    fn malformed(&mut self) -> Fields {
        let order = format!("order-{}", self.rng.usize(..ORDERS));
        // Each says something of its own, as every entry of this producer does.
        self.malformed += 1;
        let amount = self.malformed.to_string();
        let mut fields = event(&order, "refunded", Some(&amount));
        match self.rng.u32(..5) {
            0 => drop(fields.remove(0)),
            1 => fields[2].1 = format!("{amount},50").into_bytes(),
            2 => fields.push((b"orderId".to_vec(), b"another".to_vec())),
            3 => fields[1].1 = vec![b'o', 0xff, 0xfe],
            _ => fields[1].1.clear(),
        }
        fields
    }

    /// Adds an entry; its id, if Redis answered.
    fn add(&mut self, fields: &Fields, fate: Fate) -> Option<Id> {
        let mut add = if self.options.own_ids { redis::cmd("EVAL") } else { redis::cmd("XADD") };
        if self.options.own_ids {
            add.arg(ADD_AGAIN).arg(3).arg(STREAM).arg(COUNT).arg(LIFE).arg(fields);
        } else {
            add.arg(STREAM).arg("*").arg(fields);
        }
        let answer = self.redis.ask(|connection| add.query::<String>(connection));
        // Refused is not added; anything else that went wrong leaves it open.
        let refused = answer.as_ref().err().and_then(|error| error.code());
        if let Some(word) = refused {
            *self.refusals.entry(word.to_owned()).or_default() += 1;
        }
        let refused = refused.is_some();
        let id = answer.ok().map(|id| id.parse().expect("an id"));
        if refused {
            return None;
        }
        let fields = fields.iter().map(|(name, value)| (text(name), text(value)));
        self.log.write(&Added { at: now(), id, fields: fields.collect(), fate });
        id
    }
}

impl Producing {
    /// Stops it, and waits for its last add.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().expect("the producer lived to the end");
    }
}

fn event(order: &str, action: &str, amount: Option<&str>) -> Fields {
    let user = format!("user-of-{order}");
    let mut fields = vec![("action", action), ("orderId", order)];
    fields.extend(amount.map(|amount| ("amount", amount)));
    fields.push(("userId", &user));
    fields.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
