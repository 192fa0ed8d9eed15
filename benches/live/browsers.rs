//! An event, from its `XADD` until browsers have heard of it.
//!
//! Owns: two hundred connections to the stream of server-sent events, read on one thread.
//! Never: a connection that is cut and not noticed.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::notices::{add, join};
use super::pace::{Sent, number_in};
use super::raw::PATIENCE;
use super::report::Measure;
use super::scene::Scene;
use super::spread::Spread;
use super::wait::Deadline;

const BROWSERS: usize = 200;

/// Each event is for one of the browsers, in turn.
pub(crate) fn one_of_many(_: u32, deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let ages = watch(2_000, 1_000, |number| number % BROWSERS, |browser| browser, deadline)?;
    Ok(Spread::of(ages)?.measures(["its browser has heard it, p50", "its browser has heard it, p99"]).into())
}

/// Each event is for all of them.
pub(crate) fn all_of_many(_: u32, deadline: &Deadline) -> anyhow::Result<Vec<Measure>> {
    let ages = watch(40, 20, |_| 1, |_| 1, deadline)?;
    let measures = Spread::of(ages)?.measures(["a browser has heard it, p50", "a browser has heard it, p99"]);
    Ok(measures.into())
}

/// Adds so many events, and returns after how long each browser that it concerns has heard of each.
fn watch(
    count: usize,
    a_second: u32,
    user_of_event: fn(usize) -> usize,
    user_of_browser: fn(usize) -> usize,
    deadline: &Deadline,
) -> anyhow::Result<Vec<Duration>> {
    let mut scene = Scene::new(&[])?;
    let mut worker = scene.ready_worker("worker", &["handler.kind=none", "notify.enabled=true", "notify.sse=true"])?;
    let admin = worker.admin().context("the admin server")?;
    deadline.wait_for("orderd listens", || {
        let listening: u64 = scene.ask(redis::cmd("PUBSUB").arg("NUMPAT"))?;
        Ok((listening > 0).then_some(()))
    })?;
    let sent = Sent::new(count);
    let (there, mut all_there) = mpsc::channel(BROWSERS);
    let expected = (0..BROWSERS)
        .map(|browser| (0..count).filter(|&event| user_of_event(event) == user_of_browser(browser)).count())
        .collect::<Vec<_>>();
    let (heard, clock) = (expected.iter().sum::<usize>(), sent.clone());
    let hearing = thread::spawn(move || {
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let browsers = expected
                .iter()
                .enumerate()
                .map(|(browser, &count)| listen(admin, user_of_browser(browser), count, clock.clone(), there.clone()));
            let all = tokio::time::timeout(PATIENCE * 2, futures_util::future::try_join_all(browsers)).await;
            anyhow::Ok(all.context("not everything is heard")??.concat())
        })
    });
    for _ in 0..BROWSERS {
        if all_there.blocking_recv().is_none() {
            break;
        }
    }
    let port = scene.server.port().context("the server has no port")?;
    let adding = add(port, &sent, a_second, user_of_event);
    let ages = join(hearing).with_context(|| worker.last_lines())?;
    join(adding)?;
    if ages.len() != heard {
        bail!("{} of {heard} were heard", ages.len());
    }
    worker.stop()?;
    Ok(ages)
}

async fn listen(
    admin: SocketAddr,
    user: usize,
    count: usize,
    sent: Sent,
    there: mpsc::Sender<()>,
) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(admin).await?;
    // HTTP/1.0: the body comes as it is, without the lengths of its chunks.
    let ask = format!("GET /users/user-{user}/orders/events HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let mut ages = Vec::with_capacity(count);
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("retry: ") {
            there.send(()).await?;
        }
        if let Some(number) = number_in(line.as_bytes()) {
            ages.push(sent.age(number)?);
        }
        if ages.len() == count {
            return Ok(ages);
        }
    }
    bail!("cut off after {} of {count}", ages.len())
}
