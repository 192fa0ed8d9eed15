//! The broker before a backlog: it is cut up to where the group needs it, and a read says why it failed.

use std::sync::Arc;
use std::time::Duration;

use orderd::broker::Broker;
use orderd::broker::address::Address;
use orderd::broker::connect::Connector;
use orderd::broker::delivery::Window;
use orderd::broker::error::Trouble;
use orderd::broker::keys::Keys;
use orderd::broker::read::Reader;
use orderd::broker::trim::{TrimState, Trimmed};
use orderd::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use crate::harness::{GROUP, STREAM, World, servers};

/// A broker for the stream of `world`.
fn broker(world: &World) -> Broker {
    let address = Address::parse(&world.server.url(), None).expect("an address");
    let connector = Connector::new(address, "test", Telemetry::new().expect("telemetry")).expect("a connector");
    Broker::new(Arc::new(connector), Keys::new(STREAM.into(), GROUP.into()))
}

/// Adds `count` entries with the ids `1-0`, `2-0` and so on, reads `read` of them and acknowledges these but for `pending`.
fn fill(world: &World, count: usize, read: usize, pending: &[usize]) {
    let mut redis = world.redis();
    let mut pipeline = redis::pipe();
    for n in 1..=count {
        pipeline.cmd("XADD").arg(STREAM).arg(format!("{n}-0")).arg("n").arg(n).ignore();
    }
    pipeline.cmd("XGROUP").arg("CREATE").arg(STREAM).arg(GROUP).arg("0").ignore();
    pipeline.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg("c").arg("COUNT").arg(read);
    pipeline.arg("STREAMS").arg(STREAM).arg(">").ignore();
    for n in (1..=read).filter(|n| !pending.contains(n)) {
        pipeline.cmd("XACK").arg(STREAM).arg(GROUP).arg(format!("{n}-0")).ignore();
    }
    pipeline.query::<()>(&mut redis).expect("a filled stream");
}

/// The oldest entry.
fn first(world: &World) -> String {
    let range: Vec<(String, redis::Value)> = redis::cmd("XRANGE")
        .arg(STREAM)
        .arg("-")
        .arg("+")
        .arg("COUNT")
        .arg(1)
        .query(&mut world.redis())
        .expect("XRANGE");
    range.into_iter().next().expect("an entry").0
}

/// Trims step by step until there is no more to cut. Returns what was cut, and how it ended.
async fn trim(broker: &Broker, keep: u64, most: u64) -> (u64, Trimmed) {
    let mut cut = 0;
    loop {
        let trimmed = broker.trim(keep, most, false).await.expect("trimming");
        cut += trimmed.cut;
        if !matches!(trimmed.state, TrimState::More | TrimState::Rest) {
            return (cut, trimmed);
        }
        assert!((1..=most).contains(&trimmed.cut), "a step that cuts {} of at most {most}", trimmed.cut);
    }
}

#[tokio::test]
async fn before_a_backlog_the_stream_is_cut_up_to_the_oldest_pending_entry_and_no_further() {
    for (name, options) in servers::all() {
        let world = World::with(options);
        fill(&world, 5_000, 2_000, &[1_237, 1_900]);
        let (cut, end) = trim(&broker(&world), 1_000, 1_000).await;
        assert_eq!((cut, end.state, end.length), (1_236, TrimState::Blocked, 3_764), "{name}");
        assert_eq!(first(&world), "1237-0", "{name}");
        assert_eq!(end.unacknowledged, 0, "{name}");
    }
}

#[tokio::test]
async fn before_a_backlog_a_step_asks_for_another_only_where_its_bound_ended_it() {
    for (name, options) in servers::all() {
        let world = World::with(options);
        fill(&world, 5_000, 2_000, &[1_237]);
        let broker = broker(&world);
        let mut ends = Vec::new();
        for most in [1_000, 1_000, 10_000] {
            let trimmed = broker.trim(1_000, most, false).await.expect("trimming");
            ends.push((trimmed.cut, trimmed.state));
        }
        let expected = [(1_000, TrimState::More), (200, TrimState::Rest), (36, TrimState::Blocked)];
        assert_eq!(ends, expected, "{name}");
    }
}

#[tokio::test]
async fn before_a_backlog_nothing_that_was_not_read_is_cut() {
    for (name, options) in servers::all() {
        let world = World::with(options);
        fill(&world, 5_000, 1_500, &[]);
        let (_, end) = trim(&broker(&world), 1_000, 1_000).await;
        assert_eq!(end.state, TrimState::Blocked, "{name}");
        // The last entry that was delivered may stay.
        assert!(["1500-0", "1501-0"].contains(&first(&world).as_str()), "{name}: {}", first(&world));
    }
}

#[tokio::test]
async fn a_backlog_that_is_shorter_than_what_is_kept_leaves_so_many_entries() {
    for (name, options) in servers::all() {
        let world = World::with(options);
        fill(&world, 5_000, 4_500, &[4_400]);
        let (cut, end) = trim(&broker(&world), 1_000, 1_000).await;
        assert_eq!((cut, end.state, end.length), (4_000, TrimState::Within, 1_000), "{name}");
    }
}

#[tokio::test]
async fn a_read_from_a_group_that_is_gone_fails_and_says_so() {
    let world = World::new();
    let mut reader = Reader::new(Arc::new(broker(&world)), "c".into());
    reader.connect().await.expect("a connection");
    let window = Window::new(8, Telemetry::new().expect("telemetry"));
    let places = window.take(8).await;
    reader.ask(places, Some(Duration::from_millis(100))).await.expect("a way to the server");
    let read = reader.receive(&CancellationToken::new()).await;
    let error = read.expect_err("there is no group");
    assert!(matches!(error.trouble, Trouble::GroupGone(_)), "{error}");
    assert!(reader.is_connected(), "an answer of the server does not break the connection");
    assert_eq!(window.in_hand(), 0, "the places went back");
}
