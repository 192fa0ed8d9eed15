//! An event, from its `XADD` until its notification is heard.
//!
//! Owns: the pace of the events, and the plain socket that hears of them, whoever tells: orderd, or a client written by hand.
//! Never: two workers at once.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, bail};
use redis::cmd;

use super::pace::{Sent, number_in};
use super::raw::Raw;
use super::report::Measure;
use super::scene::{GROUP, STREAM, Scene};
use super::spread::Spread;
use super::wait::Deadline;

const A_SECOND: u32 = 1_000;
const COUNT: usize = 2_000;

pub(crate) fn until_heard(_: u32, deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let plain = by_hand()?;
    let own = by_orderd(&["handler.kind=none"], deadline)?;
    let ledger = by_orderd(&[], deadline)?;
    let mut measures = Vec::from(plain.measures(["client by hand, p50", "client by hand, p99"]));
    measures.extend(own.measures(["orderd, p50", "orderd, p99"]));
    measures.push(Measure::share("orderd's p50 of the client's by hand", own.p50, plain.p50));
    measures.extend(ledger.measures(["orderd with the ledger, p50", "orderd with the ledger, p99"]));
    Ok(measures)
}

/// Adds events at a pace, each for the user that `user` names by its number, on a thread of its own.
pub(crate) fn add(port: u16, sent: &Sent, a_second: u32, user: fn(usize) -> usize) -> JoinHandle<anyhow::Result<()>> {
    let sent = sent.clone();
    thread::spawn(move || {
        let mut producer = Raw::connect(port)?;
        sent.pace(a_second, |number| {
            let (id, order) = (format!("{}-1", number + 1), format!("order-{number}"));
            let user = format!("user-{}", user(number));
            let words =
                ["XADD", STREAM, &id, "action", "created", "orderId", &order, "amount", "49.99", "userId", &user];
            producer.queue(&words.map(str::as_bytes))?;
            producer.send()?;
            producer.reply().map(drop)
        })
    })
}

/// Waits for the end of a thread, and for what it ended with.
pub(crate) fn join<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    match thread.join() {
        Ok(ended) => ended,
        Err(_) => bail!("a thread panicked"),
    }
}

fn by_hand() -> anyhow::Result<Spread> {
    let mut scene = Scene::new(&[])?;
    scene.ask::<()>(cmd("XGROUP").arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM"))?;
    let port = scene.server.port().context("the server has no port")?;
    let mut worker = Raw::connect(port)?;
    let working = thread::spawn(move || worker.work(COUNT));
    let spread = hear(port)?;
    join(working)?;
    Ok(spread)
}

fn by_orderd(set: &[&str], deadline: &Deadline) -> anyhow::Result<Spread> {
    let mut scene = Scene::new(&[])?;
    let set = [set, &["notify.enabled=true"]].concat();
    let mut worker = scene.ready_worker("worker", &set)?;
    let port = scene.server.port().context("the server has no port")?;
    let spread = hear(port).with_context(|| worker.last_lines())?;
    scene.wait_until_settled(deadline)?;
    worker.stop()?;
    Ok(spread)
}

fn hear(port: u16) -> anyhow::Result<Spread> {
    let mut ear = Raw::subscribed(port, "PSUBSCRIBE", "notifications:user:*")?;
    let sent = Sent::new(COUNT);
    let adding = add(port, &sent, A_SECOND, |_| 1);
    let age = |_| -> anyhow::Result<Duration> {
        let message = ear.message()?;
        sent.age(number_in(&message).context("a message about nothing")?)
    };
    let ages = (0..sent.count()).map(age).collect::<Result<_, _>>()?;
    join(adding)?;
    Spread::of(ages)
}
