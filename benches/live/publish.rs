//! A message, from its `PUBLISH` until it is heard.
//!
//! Owns: two who listen, one after the other in each round: a plain socket, and the listener that programs use.
//! Never: both at once; they would wait for each other.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use orderd::broker::address::Address;
use orderd::broker::connect::Connector;
use orderd::broker::pubsub::Topics;
use orderd::task::listener::{Heard, Listener, QUEUE};
use orderd::telemetry::Telemetry;
use tokio::runtime::Builder;

use super::notices::join;
use super::pace::Sent;
use super::raw::{PATIENCE, Raw};
use super::report::Measure;
use super::scene::Scene;
use super::spread::Spread;
use super::wait::Deadline;

const A_SECOND: u32 = 1_000;
const COUNT: usize = 2_000;
const SIZE: usize = 100;
const CHANNEL: &str = "bench";
/// The listener's median may be so much of the plain socket's, in per cent.
const SHARE: f64 = 130.0;

/// Who listens: tells when it is there, and returns what it heard after how long.
type Ear = fn(&Scene, &Sent, &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>>;

pub(crate) fn until_heard(round: u32, _: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let scene = Scene::new(&[])?;
    let (plain, own) = if round.is_multiple_of(2) {
        let own = heard(&scene, listener)?;
        (heard(&scene, socket)?, own)
    } else {
        (heard(&scene, socket)?, heard(&scene, listener)?)
    };
    let mut measures = Vec::from(plain.measures(["plain socket, p50", "plain socket, p99"]));
    measures.extend(own.measures(["listener, p50", "listener, p99"]));
    measures.push(Measure::share("the listener's p50 of the plain socket's", own.p50, plain.p50).at_most(SHARE));
    Ok(measures)
}

fn heard(scene: &Scene, ear: Ear) -> anyhow::Result<Spread> {
    let sent = Sent::new(COUNT);
    let port = scene.server.port().context("the server has no port")?;
    let mut publishing = None;
    let latencies = ear(scene, &sent, &mut || {
        let (pace, mut publisher) = (sent.clone(), Raw::connect(port)?);
        publishing = Some(thread::spawn(move || pace.pace(A_SECOND, |number| publish(&mut publisher, number))));
        Ok(())
    })?;
    join(publishing.context("nobody listened")?)?;
    Spread::of(latencies)
}

fn publish(publisher: &mut Raw, number: usize) -> anyhow::Result<()> {
    let text = format!("{number:<SIZE$}");
    publisher.queue(&[b"PUBLISH", CHANNEL.as_bytes(), text.as_bytes()])?;
    publisher.send()?;
    publisher.reply().map(drop)
}

fn socket(
    scene: &Scene,
    sent: &Sent,
    listening: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Duration>> {
    let port = scene.server.port().context("the server has no port")?;
    let mut ear = Raw::subscribed(port, "SUBSCRIBE", CHANNEL)?;
    listening()?;
    (0..sent.count()).map(|_| age(sent, &ear.message()?)).collect()
}

fn listener(
    scene: &Scene,
    sent: &Sent,
    listening: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Duration>> {
    let port = scene.server.port().context("the server has no port")?;
    let address = Address::parse(&format!("redis://127.0.0.1:{port}"), None)?;
    let connector = Arc::new(Connector::new(address, "bench", Telemetry::new()?)?);
    let topics = Topics { channels: vec![CHANNEL.to_owned()], patterns: Vec::new() };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut listener = Listener::new(connector, topics, QUEUE);
        let mut ages = Vec::with_capacity(sent.count());
        while ages.len() < sent.count() {
            match tokio::time::timeout(PATIENCE, listener.next()).await.context("nothing more is heard")? {
                Heard::Listening => listening()?,
                Heard::Message(message) => ages.push(age(sent, &message.payload)?),
                other => bail!("{other:?}"),
            }
        }
        Ok(ages)
    })
}

fn age(sent: &Sent, text: &[u8]) -> anyhow::Result<Duration> {
    sent.age(std::str::from_utf8(text)?.trim_end().parse()?)
}
