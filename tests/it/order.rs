//! Events of one order: one at a time, and in the order of the stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use orderd::domain::batch::Work;
use orderd::domain::id::EntryId;
use orderd::domain::outcome::{Failure, Outcome};

use super::harness::{World, column, scripted};

/// What a handler saw, order by order.
#[derive(Default)]
struct Diary {
    orders: HashMap<String, Page>,
}

#[derive(Default)]
struct Page {
    running: bool,
    applied: Vec<EntryId>,
    wrong: Vec<String>,
}

impl Diary {
    fn begins(&mut self, work: &Work) {
        let (order, id) = (work.event.order.to_string(), work.event.id());
        let page = self.orders.entry(order).or_default();
        if page.running {
            page.wrong.push(format!("{id} began while another one was running"));
        }
        if page.applied.last().is_some_and(|last| *last >= id) {
            page.wrong.push(format!("{id} began after {:?}", page.applied.last()));
        }
        page.running = true;
    }

    fn ends(&mut self, work: &Work, applied: bool) {
        let page = self.orders.entry(work.event.order.to_string()).or_default();
        page.running = false;
        if applied {
            page.applied.push(work.event.id());
        }
    }

    #[track_caller]
    fn check(&self, orders: usize, events: usize) {
        for (order, page) in &self.orders {
            assert!(page.wrong.is_empty(), "{order}: {:?}", page.wrong);
        }
        let applied: usize = self.orders.values().map(|page| page.applied.len()).sum();
        assert_eq!((self.orders.len(), applied), (orders, events));
    }
}

#[test]
fn events_of_one_order_run_one_at_a_time_and_in_stream_order_also_through_retries() {
    let world = World::new();
    let diary = Arc::new(Mutex::new(Diary::default()));
    let noted = Arc::clone(&diary);
    let handler = scripted(8, 8, move |work| {
        let diary = Arc::clone(&noted);
        async move {
            diary.lock().unwrap().begins(&work);
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..3_000))).await;
            let works = fastrand::u8(..) > 40;
            diary.lock().unwrap().ends(&work, works);
            if works { Outcome::Applied } else { Outcome::Failed(Failure::transient("not this time")) }
        }
        .boxed()
    });
    world.add_many(500, 40);
    let settings = [
        ("consumers.batch", "7"),
        ("retry.delay_min", "1ms"),
        ("retry.delay_max", "20ms"),
        ("retry.max_failures", "1000"),
    ];
    let daemon = world.embedded("w", &settings, handler);
    world.add_many(1_500, 40);
    world.wait_until_drained();
    assert!(daemon.metric("orderd_retries_total") > 100.0);
    daemon.stop().unwrap();
    diary.lock().unwrap().check(40, 2_000);
}

#[test]
fn the_order_holds_through_crashes_and_what_was_pending_comes_before_what_is_new() {
    let world = World::new();
    // The crashes are no event's fault: no number of them makes a dead letter.
    let settings = [("consumers.batch", "20"), ("retry.max_crashes", "1000000")];
    let mut crashes = 0;
    for round in 0..6 {
        for step in ["created", "paid", "shipped", "delivered"] {
            (0..50).for_each(|n| drop(world.add(&event(step, &format!("{round}-{n}")))));
        }
        let mut daemon = world.doomed_daemon("w", &settings, "before-ack:0.3");
        while daemon.is_running() && !world.is_drained() {
            std::thread::yield_now();
        }
        crashes += usize::from(!daemon.is_running());
    }
    assert!(crashes > 0, "no round had a crash");
    let daemon = world.daemon("w", &settings);
    world.wait_until_drained();
    assert_eq!(daemon.log_lines("an event failed"), Vec::<String>::new());
    assert_eq!(world.applied(), 1_200);
    let ids = column::<String>(
        &world.ledger(),
        "SELECT order_id || ' ' || entry_id FROM order_events ORDER BY order_id, seq",
    );
    let ids: Vec<(&str, EntryId)> =
        ids.iter().map(|row| row.split_once(' ').unwrap()).map(|(order, id)| (order, id.parse().unwrap())).collect();
    assert!(ids.is_sorted(), "an order's events were not applied in stream order");
}

fn event<'e>(action: &'e str, order: &'e str) -> [(&'e str, &'e str); 4] {
    [("action", action), ("orderId", order), ("amount", "1"), ("userId", "u")]
}
