//! What the lanes promise, by example and against a model.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop, proptest};

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct Job {
    id: EntryId,
    order: OrderId,
    alone: bool,
}

impl Item for Job {
    fn id(&self) -> EntryId {
        self.id
    }

    fn order(&self) -> &OrderId {
        &self.order
    }

    fn alone(&self) -> bool {
        self.alone
    }
}

fn job(order: &str, id: u64) -> Job {
    Job { id: EntryId::new(id, 0), order: order.into(), alone: false }
}

fn ids(run: &Run<Job>) -> Vec<u64> {
    run.items.iter().map(|item| item.id.ms).collect()
}

#[test]
fn an_order_that_is_running_does_not_run_twice() {
    let mut lanes = Lanes::new(4);
    lanes.admit(job("a", 1));
    let first = lanes.take(10, true).unwrap();
    lanes.admit(job("a", 2));
    assert!(lanes.take(10, true).is_none());
    lanes.finish(&first.lanes);
    assert_eq!(ids(&lanes.take(10, true).unwrap()), [2]);
}

#[test]
fn a_lane_that_begins_with_what_is_preferred_comes_first() {
    let mut lanes = Lanes::new(4096);
    (1..=5).for_each(|n| lanes.admit(job(&format!("order-{n}"), n)));
    assert!(lanes.prefer(|item| item.id.ms == 4) && !lanes.prefer(|item| item.id.ms == 9));
    assert_eq!(ids(&lanes.take(1, true).unwrap()), [4]);
    assert_eq!(ids(&lanes.take(10, true).unwrap()), [1, 2, 3, 5], "nothing is lost by it");
}

#[test]
fn a_failed_event_holds_up_its_order_and_no_other_of_its_lane() {
    let now = Instant::now();
    let mut lanes = Lanes::new(1);
    [job("a", 1), job("a", 2), job("b", 3)].into_iter().for_each(|item| lanes.admit(item));
    let mut run = lanes.take(1, true).unwrap();
    lanes.block(run.items.remove(0), now + Duration::from_secs(1));
    lanes.finish(&run.lanes);

    let run = lanes.take(10, true).unwrap();
    assert_eq!(ids(&run), [3]);
    lanes.finish(&run.lanes);
    lanes.admit(job("a", 4));
    assert!(lanes.take(10, true).is_none());
    assert_eq!((lanes.queued(), lanes.blocked()), (0, 3));

    lanes.release(now);
    assert!(lanes.take(10, true).is_none(), "its time has not come");
    assert_eq!(lanes.next_due(), Some(now + Duration::from_secs(1)));
    lanes.release(now + Duration::from_secs(1));
    assert_eq!(ids(&lanes.take(10, true).unwrap()), [1, 2, 4]);
    assert_eq!(lanes.next_due(), None);
}

#[test]
fn an_older_event_of_a_waiting_order_goes_first_and_at_once() {
    let now = Instant::now();
    let mut lanes = Lanes::new(1);
    lanes.admit(job("a", 5));
    let mut run = lanes.take(1, true).unwrap();
    lanes.block(run.items.remove(0), now + Duration::from_mins(1));
    lanes.finish(&run.lanes);
    lanes.admit(job("a", 3));
    assert_eq!(ids(&lanes.take(10, true).unwrap()), [3, 5]);
}

#[test]
fn an_older_event_that_comes_while_a_later_one_fails_goes_first_and_at_once() {
    let now = Instant::now();
    let mut lanes = Lanes::new(1);
    lanes.admit(job("a", 5));
    let mut run = lanes.take(1, true).unwrap();
    lanes.admit(job("a", 3));
    lanes.admit(job("a", 7));
    lanes.block(run.items.remove(0), now + Duration::from_mins(1));
    lanes.finish(&run.lanes);
    assert_eq!((ids(&lanes.take(10, true).unwrap()), lanes.next_due()), (vec![3, 5, 7], None));
}

#[test]
fn an_order_that_waits_can_be_told_to_go_on_and_others_go_on_waiting() {
    let now = Instant::now();
    let mut lanes = Lanes::new(1);
    for (order, id) in [("a", 1), ("b", 2)] {
        lanes.block(job(order, id), now + Duration::from_mins(1));
        lanes.admit(job(order, id + 2));
    }
    let waiting: Vec<_> = lanes.waiting().map(|(first, count)| (first.id.ms, count)).collect();
    assert!(waiting.contains(&(1, 2)) && waiting.contains(&(2, 2)), "{waiting:?}");
    lanes.hurry(|first| first.id.ms == 2);
    assert_eq!((lanes.queued(), lanes.blocked()), (2, 2));
    assert_eq!(ids(&lanes.take(10, true).unwrap()), [2, 4]);
    lanes.release(now + Duration::from_mins(1));
    assert_eq!(lanes.next_due(), None);
}

#[test]
fn a_suspect_runs_in_a_batch_of_its_own() {
    let mut lanes = Lanes::new(1);
    [1, 2, 3].into_iter().for_each(|id| lanes.admit(Job { alone: id == 2, ..job("a", id) }));
    for expected in [1, 2, 3] {
        let run = lanes.take(10, true).unwrap();
        assert_eq!(ids(&run), [expected]);
        lanes.finish(&run.lanes);
    }
}

#[test]
fn while_a_suspect_runs_a_second_one_waits_and_others_do_not() {
    let mut lanes = Lanes::new(64);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(order, id)| {
        lanes.admit(Job { alone: order != "c", ..job(order, id) });
    });
    let first = lanes.take(10, true).unwrap();
    assert_eq!(ids(&first), [1]);
    assert_eq!(ids(&lanes.take(10, false).unwrap()), [3]);
    assert!(lanes.take(10, false).is_none());
    lanes.finish(&first.lanes);
    assert_eq!(ids(&lanes.take(10, true).unwrap()), [2]);
}

#[test]
fn what_is_taken_out_is_gone_from_every_count() {
    let now = Instant::now();
    let mut lanes = Lanes::new(2);
    lanes.admit(job("a", 1));
    let mut run = lanes.take(1, true).unwrap();
    lanes.block(run.items.remove(0), now);
    lanes.finish(&run.lanes);
    lanes.admit(job("b", 2));
    assert_eq!(lanes.iter().count(), 2);
    assert_eq!(lanes.remove(|_| true).len(), 2);
    assert_eq!((lanes.queued(), lanes.blocked(), lanes.next_due()), (0, 0, None));
    assert!(lanes.take(10, true).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Admit {
        order: u8,
        alone: bool,
    },
    Take {
        most: usize,
    },
    /// Ends the oldest run; the events that these bits name fail.
    Finish {
        failures: u16,
    },
    Wait,
    /// Orders that wait go on at once.
    Hurry,
}

fn step() -> impl Strategy<Value = Step> {
    (0..9u8, any::<u16>()).prop_map(|(kind, n)| match kind {
        0..=3 => Step::Admit { order: (n % 5) as u8, alone: n % 16 == 0 },
        4 | 5 => Step::Take { most: usize::from(n % 7) + 1 },
        6 => Step::Finish { failures: n },
        7 => Step::Hurry,
        _ => Step::Wait,
    })
}

/// Runs events as a handler would, with failures, and holds what the lanes promise against it.
struct Model {
    lanes: Lanes<Job>,
    running: VecDeque<Run<Job>>,
    now: Instant,
    done: HashMap<OrderId, Vec<EntryId>>,
}

impl Model {
    fn take(&mut self, most: usize) {
        let Some(run) = self.lanes.take(most, true) else { return };
        assert!(run.items.len() <= most);
        assert!(run.items.len() == 1 || run.items.iter().all(|item| !item.alone));
        for item in &run.items {
            let elsewhere = self.running.iter().flat_map(|run| &run.items).any(|other| other.order == item.order);
            assert!(!elsewhere, "two runs hold {:?}", item.order);
        }
        self.running.push_back(run);
    }

    fn finish(&mut self, failures: u16) {
        let Some(run) = self.running.pop_front() else { return };
        let mut failed: Vec<OrderId> = Vec::new();
        for (n, item) in run.items.into_iter().enumerate() {
            if failed.contains(&item.order) {
                self.lanes.put_back(item);
            } else if failures >> (n % 16) & 1 == 1 {
                failed.push(item.order.clone());
                self.lanes.block(item, self.now + Duration::from_secs(1));
            } else {
                self.done.entry(item.order).or_default().push(item.id);
            }
        }
        self.lanes.finish(&run.lanes);
    }

    fn wait(&mut self) {
        self.now += Duration::from_secs(1);
        self.lanes.release(self.now);
    }
}

proptest! {
    #[test]
    fn every_event_is_done_once_and_each_order_in_its_sequence(count in 1usize..4, steps in prop::collection::vec(step(), 1..200)) {
        let mut model = Model { lanes: Lanes::new(count), running: VecDeque::new(), now: Instant::now(), done: HashMap::new() };
        let mut admitted = 0u64;
        for step in steps {
            match step {
                Step::Admit { order, alone } => {
                    admitted += 1;
                    model.lanes.admit(Job { alone, ..job(&format!("o{order}"), admitted) });
                }
                Step::Take { most } => model.take(most),
                Step::Finish { failures } => model.finish(failures),
                Step::Wait => model.wait(),
                Step::Hurry => model.lanes.hurry(|first| first.id.ms % 2 == 0),
            }
            let held = model.running.iter().map(|run| run.items.len()).sum::<usize>() + model.lanes.queued() + model.lanes.blocked();
            let done: usize = model.done.values().map(Vec::len).sum();
            assert_eq!(held + done, usize::try_from(admitted).unwrap(), "nothing vanishes");
        }
        while model.lanes.queued() + model.lanes.blocked() + model.running.len() > 0 {
            model.wait();
            model.take(100);
            model.finish(0);
        }
        for sequence in model.done.values() {
            assert!(sequence.is_sorted(), "{sequence:?}");
        }
        let done: usize = model.done.values().map(Vec::len).sum();
        assert_eq!(done, usize::try_from(admitted).unwrap());
    }
}
