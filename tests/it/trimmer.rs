//! The trimmer: bounds the stream, and cuts nothing that any group still needs.

use std::collections::{BTreeMap, BTreeSet};

use orderd::broker::trim::{TrimState, Trimmed};

use super::harness::{GROUP, STREAM, World, on_every_server, wait_for, wait_until};

const SHORT: [(&str, &str); 4] =
    [("trimmer.interval", "50ms"), ("trimmer.max_len", "100"), ("handler.kind", "none"), ("consumers.block", "1s")];

fn length(world: &World) -> u64 {
    redis::cmd("XLEN").arg(STREAM).query(&mut world.redis()).expect("XLEN")
}

fn group(world: &World, name: &str) {
    redis::cmd("XGROUP").arg(("CREATE", STREAM, name, "0", "MKSTREAM")).exec(&mut world.redis()).expect("XGROUP");
}

fn read(world: &World, name: &str, count: usize) -> Vec<String> {
    type Reply = Option<Vec<(String, Vec<(String, Vec<String>)>)>>;
    let read = ("GROUP", name, "other-0", "COUNT", count, "STREAMS", STREAM, ">");
    let reply: Reply = redis::cmd("XREADGROUP").arg(read).query(&mut world.redis()).expect("XREADGROUP");
    reply.into_iter().flatten().flat_map(|(_, entries)| entries).map(|(id, _)| id).collect()
}

#[test]
fn the_newest_entries_are_kept_and_the_rest_goes_once_it_is_settled() {
    let world = World::new();
    let daemon = world.daemon("w", &SHORT);
    world.add_many(5_000, 100);
    wait_until("the stream is short", || world.is_drained() && length(&world) == 100);
    wait_until("all of it is counted", || daemon.metric("orderd_trimmed_entries_total") == Some(4_900.0));
    assert_eq!(daemon.metric("orderd_trimmed_unacknowledged_total"), Some(0.0));
}

#[test]
fn what_a_slow_group_has_not_read_or_not_acknowledged_stays_and_the_group_is_named_once() {
    let world = World::new();
    group(&world, "slow");
    let daemon = world.daemon("w", &SHORT);
    world.add_many(3_000, 100);
    wait_for("the group is named", || daemon.log_lines("\"slow\"").pop());
    world.wait_until_drained();
    assert_eq!(length(&world), 3_000);

    // It has read all of it, and acknowledged all but one in the middle.
    let ids = read(&world, "slow", 3_000);
    let held = &ids[1_000];
    let done: Vec<&String> = ids.iter().filter(|id| *id != held).collect();
    redis::cmd("XACK").arg((STREAM, "slow")).arg(&done).exec(&mut world.redis()).expect("XACK");
    wait_until("what stands before it is cut", || length(&world) == 2_000);
    let first: Vec<(String, redis::Value)> =
        redis::cmd("XRANGE").arg((STREAM, "-", "+", "COUNT", 1)).query(&mut world.redis()).expect("XRANGE");
    assert_eq!(&first[0].0, held);
    wait_until("it is in the way where it stands now", || daemon.metric("orderd_trim_blocked") == Some(1.0));
    redis::cmd("XACK").arg((STREAM, "slow", held)).exec(&mut world.redis()).expect("XACK");
    wait_until("the rest is cut", || length(&world) == 100);
    wait_until("nobody is in the way any more", || daemon.metric("orderd_trim_blocked") == Some(0.0));
    // Each place at which it stood still is told of once, and so is its end.
    let (named, over) = (daemon.log_lines("\"slow\"").len(), daemon.log_lines("no group keeps the stream above").len());
    assert!(named == over && named <= 3, "{named} {over}: {}", daemon.log());
    assert_eq!(daemon.metric("orderd_trimmed_unacknowledged_total"), Some(0.0));
}

#[test]
fn of_two_groups_that_stand_in_the_way_at_one_place_the_one_that_is_left_behind_is_named_too() {
    let world = World::new();
    group(&world, "slow");
    let daemon = world.daemon("w", &[("trimmer.interval", "50ms"), ("trimmer.max_len", "100")]);
    daemon.wait_until_ready();
    let ledger = rusqlite::Connection::open(world.ledger()).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Both have the first entry in hand before the stream is over its bound.
    world.add_many_of("first", 100, 100);
    wait_until("ours has them in hand", || world.pending() == 100);
    let mut ids = read(&world, "slow", 100);
    world.add_many_of("then", 200, 100);
    ids.extend(read(&world, "slow", 200));
    let named =
        |name: &str| daemon.log_lines("a group keeps the stream").iter().filter(|line| line.contains(name)).count();
    wait_until("ours is named", || named(GROUP) == 1);
    ledger.execute_batch("ROLLBACK").unwrap();
    wait_until("the other one is named", || named("\"slow\"") == 1);
    world.wait_until_drained();
    redis::cmd("XACK").arg((STREAM, "slow")).arg(&ids).exec(&mut world.redis()).expect("XACK");
    wait_until("nobody is in the way any more", || {
        length(&world) == 100 && daemon.metric("orderd_trim_blocked") == Some(0.0)
    });
    assert_eq!((named(GROUP), named("\"slow\"")), (1, 1), "{}", daemon.log());
}

#[test]
fn on_request_what_a_group_still_needs_is_cut_and_counted() {
    let world = World::new();
    group(&world, "slow");
    let set: Vec<_> = SHORT.into_iter().chain([("trimmer.on_blocked", "trim")]).collect();
    let daemon = world.daemon("w", &set);
    world.add_many(1_000, 100);
    wait_until("the stream is short", || world.pending() == 0 && length(&world) == 100);
    wait_until("it is counted", || daemon.metric("orderd_trimmed_unacknowledged_total") == Some(900.0));
}

#[test]
fn the_step_never_cuts_what_a_group_needs_whatever_the_groups_do_on_every_server() {
    on_every_server(|options| {
        let world = World::with(options);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut model = Model {
            world: &world,
            dice: fastrand::Rng::with_seed(seed),
            groups: BTreeMap::new(),
            entries: BTreeSet::new(),
        };
        let broker = world.broker();
        for _ in 0..400 {
            model.step(|keep, most, force| runtime.block_on(broker.trim(keep, most, force)).expect("a trim"));
        }
    });
}

/// What the stream and its groups must hold, told by what was done to them.
struct Model<'w> {
    world: &'w World,
    dice: fastrand::Rng,
    groups: BTreeMap<&'static str, Group>,
    entries: BTreeSet<Id>,
}

#[derive(Default)]
struct Group {
    delivered: Id,
    pending: BTreeSet<Id>,
}

type Id = (u64, u64);

fn parse(id: &str) -> Id {
    let (ms, seq) = id.split_once('-').expect("an id");
    (ms.parse().expect("a number"), seq.parse().expect("a number"))
}

fn show((ms, seq): &Id) -> String {
    format!("{ms}-{seq}")
}

impl Model<'_> {
    fn step(&mut self, trim: impl Fn(u64, u64, bool) -> Trimmed) {
        let mut redis = self.world.redis();
        let name = ["a", "b", GROUP, GROUP][self.dice.usize(..4)];
        match self.dice.u8(..10) {
            0..3 => {
                let mut add = redis::pipe();
                for _ in 0..self.dice.usize(1..40) {
                    add.cmd("XADD").arg((STREAM, "*", "f", "v"));
                }
                let ids: Vec<String> = add.query(&mut redis).expect("XADD");
                self.entries.extend(ids.iter().map(|id| parse(id)));
            }
            3 if !self.groups.contains_key(name) && !self.entries.is_empty() => {
                group(self.world, name);
                self.groups.insert(name, Group::default());
            }
            3 if self.groups.contains_key(name) && self.dice.u8(..3) == 0 => {
                redis::cmd("XGROUP").arg(("DESTROY", STREAM, name)).exec(&mut redis).expect("XGROUP");
                self.groups.remove(name);
            }
            4 | 5 if self.groups.contains_key(name) => {
                let count = self.dice.usize(1..60);
                let ids: Vec<Id> = read(self.world, name, count).iter().map(|id| parse(id)).collect();
                let group = self.groups.get_mut(name).expect("a group");
                group.delivered = ids.last().copied().unwrap_or(group.delivered);
                group.pending.extend(ids);
            }
            6 if self.groups.contains_key(name) => {
                let dice = &mut self.dice;
                let group = self.groups.get_mut(name).expect("a group");
                let done: Vec<Id> = group.pending.iter().filter(|_| dice.u8(..) < 200).copied().collect();
                if !done.is_empty() {
                    let ids: Vec<String> = done.iter().map(show).collect();
                    redis::cmd("XACK").arg((STREAM, name)).arg(ids).exec(&mut redis).expect("XACK");
                    group.pending.retain(|id| !done.contains(id));
                }
            }
            7 if !self.entries.is_empty() => {
                let nth = self.dice.usize(..self.entries.len());
                let id = *self.entries.iter().nth(nth).expect("an entry");
                redis::cmd("XDEL").arg((STREAM, show(&id))).exec(&mut redis).expect("XDEL");
                self.entries.remove(&id);
            }
            _ => self.trim(trim),
        }
    }

    fn trim(&mut self, trim: impl Fn(u64, u64, bool) -> Trimmed) {
        let (keep, most) = (self.dice.u64(1..80), self.dice.u64(1..60));
        let trimmed = trim(keep, most, false);
        let left: Vec<(String, redis::Value)> =
            redis::cmd("XRANGE").arg((STREAM, "-", "+")).query(&mut self.world.redis()).expect("XRANGE");
        let left: BTreeSet<Id> = left.iter().map(|(id, _)| parse(id)).collect();
        let cut: Vec<Id> = self.entries.difference(&left).copied().collect();
        assert_eq!(trimmed.cut, cut.len() as u64, "{trimmed:?}");
        assert_eq!(trimmed.unacknowledged, 0, "{trimmed:?}");
        for (name, group) in &self.groups {
            let needed = cut.iter().find(|id| **id > group.delivered || group.pending.contains(id));
            assert_eq!(needed, None, "{name} needs it: {trimmed:?}, keep {keep}, at most {most}");
        }
        if !self.groups.contains_key(GROUP) {
            assert!(cut.is_empty(), "without our group nothing may go: {trimmed:?}");
        }
        assert!(cut.len() as u64 <= most, "{trimmed:?}, at most {most}");
        assert!(cut.is_empty() || left.len() as u64 >= keep, "{trimmed:?}, keep {keep}");
        // What is over the bound and needed by nobody does go, or the step says that there is more, and gets on.
        let over = (self.entries.len() as u64).saturating_sub(keep);
        let floor = self
            .groups
            .values()
            .map(|group| group.pending.first().copied().unwrap_or((group.delivered.0, group.delivered.1 + 1)))
            .min();
        let free = self.entries.iter().filter(|id| floor.is_some_and(|floor| **id < floor)).count() as u64;
        if self.groups.contains_key(GROUP) && matches!(trimmed.state, TrimState::More | TrimState::Rest) {
            assert!(
                (1..=over.min(free)).contains(&trimmed.cut),
                "{trimmed:?}, keep {keep}, at most {most}, {free} are free"
            );
        } else if self.groups.contains_key(GROUP) {
            assert_eq!(trimmed.cut, over.min(free), "{trimmed:?}, keep {keep}, at most {most}");
        }
        self.entries = left;
    }
}
