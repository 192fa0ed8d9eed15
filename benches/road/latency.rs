//! Latency: how long an event takes from its `XADD` to its `XACK`, when they come at an even pace.
//!
//! Owns: the pace, and the clock: the server's own. `MONITOR` names each command with the microsecond in which it began, so one clock
//! sees both ends, and the way to the producer and back is not in it.
//! Never: a comparison with a run that was not watched: the watching itself costs the server some microseconds a command.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::backlog::{Desk, STREAM};
use super::client::{Client, RESPONSE_TIMEOUT, Stop};
use super::wait::Deadline;
use super::worker::Worker;

/// Events a second.
pub(crate) const RATES: [u64; 2] = [1_000, 10_000];

/// How the latencies are spread, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
    pub(crate) events: usize,
    /// For how much of the time the worker could have gone on and had no core.
    pub(crate) in_line: f64,
}

impl Spread {
    /// The median of each number; `None` where there are none.
    pub(crate) fn median(spreads: &[Self]) -> Option<Self> {
        let median = |number: fn(&Self) -> u64| {
            let mut numbers: Vec<u64> = spreads.iter().map(number).collect();
            numbers.sort_unstable();
            numbers.get(numbers.len() / 2).copied()
        };
        let mut in_line: Vec<f64> = spreads.iter().map(|spread| spread.in_line).collect();
        in_line.sort_unstable_by(f64::total_cmp);
        Some(Self {
            p50_us: median(|spread| spread.p50_us)?,
            p99_us: median(|spread| spread.p99_us)?,
            p999_us: median(|spread| spread.p999_us)?,
            max_us: median(|spread| spread.max_us)?,
            events: spreads.first()?.events,
            in_line: in_line.get(in_line.len() / 2).copied()?,
        })
    }
}

/// Adds `rate` events a second for `seconds` and follows each until it is acknowledged.
pub(crate) fn measure(
    desk: &Desk<'_>,
    worker: &Worker,
    rate: u64,
    seconds: u64,
    deadline: &Deadline,
) -> anyhow::Result<Spread> {
    desk.wait_until_somebody_waits(deadline)?;
    let port = desk.server.port().context("the server has no port")?;
    let mut monitor = TcpStream::connect(("127.0.0.1", port))?;
    monitor.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    monitor.write_all(b"MONITOR\r\n")?;
    let url = desk.server.url();
    let count = seconds * rate;
    let mut lines = BufReader::new(monitor);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let (before, began) = (worker.time()?, Instant::now());
    let producer = Client::start(move |stop| produce(&url, rate, count, stop))?;
    let mut watch = Watch::default();
    while watch.latencies.len() as u64 != count {
        deadline.check()?;
        line.clear();
        if lines.read_line(&mut line).context("nothing happens any more")? == 0 {
            bail!("the server closed the connection");
        }
        watch.see(&line).with_context(|| line.clone())?;
    }
    producer.stop()?;
    let in_line = worker.time()?.since(before).in_line.as_secs_f64() / began.elapsed().as_secs_f64();
    watch.spread(in_line).context("no event was seen")
}

/// Adds `count` events, each at its time. One that is late is made up for, so that the pace holds on the whole.
fn produce(url: &str, rate: u64, count: u64, stop: &Stop) -> anyhow::Result<()> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    connection.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    let began = Instant::now();
    for n in 0..count {
        let due = began + Duration::from_secs(n) / u32::try_from(rate)?;
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        if stop.is_asked_for() {
            break;
        }
        let mut add = redis::cmd("XADD");
        // An id of our own, so that the command itself says which entry it adds.
        add.arg(STREAM).arg(format!("{}-1", n + 1)).arg("action").arg("created");
        add.arg("orderId").arg(format!("order-{n}")).arg("amount").arg("49.99").arg("userId").arg("user-1");
        add.query::<()>(&mut connection)?;
    }
    Ok(())
}

/// What was seen so far.
#[derive(Default)]
struct Watch {
    added: HashMap<String, u64>,
    latencies: Vec<u64>,
}

impl Watch {
    /// Takes note of a line such as `+1700000000.123456 [0 127.0.0.1:40000] "XACK" "stream" "group" "1-1" "2-1"`.
    fn see(&mut self, line: &str) -> anyhow::Result<()> {
        let (head, command) = line.split_once("] ").context("not a line of MONITOR")?;
        let (seconds, rest) = head.trim_start_matches('+').split_once('.').context("no time")?;
        let micros = rest.split(' ').next().context("no time")?;
        let at = seconds.parse::<u64>()? * 1_000_000 + micros.parse::<u64>()?;
        let mut words = command.split_whitespace().map(|word| word.trim_matches('"'));
        match words.next() {
            Some("XADD") => {
                let id = words.nth(1).context("no id")?;
                self.added.insert(id.to_owned(), at);
            }
            Some("XACK") => {
                for id in words.skip(2) {
                    let added = self.added.remove(id).context("acknowledged twice, or never added")?;
                    self.latencies.push(at.saturating_sub(added));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn spread(mut self, in_line: f64) -> Option<Spread> {
        self.latencies.sort_unstable();
        let sorted = &self.latencies;
        let at = |mille: usize| sorted.get((sorted.len() * mille / 1000).min(sorted.len().saturating_sub(1))).copied();
        Some(Spread {
            p50_us: at(500)?,
            p99_us: at(990)?,
            p999_us: at(999)?,
            max_us: at(1000)?,
            events: sorted.len(),
            in_line,
        })
    }
}
