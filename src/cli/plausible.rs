//! Plausible order events, as a shop would add them.
//!
//! Owns: whole histories of orders, many under way at once, the same for the same seed.
//! Never: a clock, or dice that it was not given; an event that its order could not accept.

use super::draft::Draft;

/// What is to be made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// How many events.
    pub count: u64,
    /// How many orders are under way at the same time; one that is finished makes room for a new one.
    pub orders: usize,
    /// The same seed makes the same events. It is part of each order id, so that two runs do not meet in one order.
    pub seed: u64,
}

/// The ways that an order can go, each with its share of a hundred.
const COURSES: [(u64, &[&str]); 5] = [
    (80, &["created", "paid", "shipped", "delivered"]),
    (10, &["created", "cancelled"]),
    (4, &["created", "paid", "refunded"]),
    (3, &["created", "paid", "shipped", "refunded"]),
    (3, &["created", "paid", "shipped", "delivered", "refunded"]),
];

/// How many users order something.
const USERS: u64 = 500;

/// The events of a [`Recipe`], in the order in which they are to be added.
#[derive(Debug, Clone)]
pub struct Plausible {
    dice: Dice,
    recipe: Recipe,
    events_left: u64,
    orders_made: u64,
    under_way: Vec<Order>,
}

impl Plausible {
    /// Starts with no order under way.
    pub fn new(recipe: Recipe) -> Self {
        let dice = Dice(recipe.seed);
        Self { dice, recipe, events_left: recipe.count, orders_made: 0, under_way: Vec::new() }
    }

    /// How many orders have begun so far.
    pub fn orders_made(&self) -> u64 {
        self.orders_made
    }

    fn begin_order(&mut self) -> Order {
        self.orders_made += 1;
        let cents = 500 + self.dice.below(49_500);
        Order {
            id: format!("order-{:x}-{}", self.recipe.seed, self.orders_made),
            user: format!("user-{}", 1 + self.dice.below(USERS)),
            amount: format!("{}.{:02}", cents / 100, cents % 100),
            rest: course(self.dice.below(100)),
        }
    }
}

impl Iterator for Plausible {
    type Item = Draft;

    fn next(&mut self) -> Option<Draft> {
        self.events_left = self.events_left.checked_sub(1)?;
        let room = self.under_way.len() < self.recipe.orders;
        if self.under_way.is_empty() || (room && self.dice.below(3) == 0) {
            let order = self.begin_order();
            self.under_way.push(order);
            return self.under_way.last_mut()?.advance();
        }
        let index = usize::try_from(self.dice.below(self.under_way.len() as u64)).ok()?;
        let event = self.under_way.get_mut(index)?.advance();
        if self.under_way.get(index)?.rest.is_empty() {
            self.under_way.swap_remove(index);
        }
        event
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.events_left).unwrap_or(usize::MAX);
        (left, usize::try_from(self.events_left).ok())
    }
}

/// An order under way, and what is still to come.
#[derive(Debug, Clone)]
struct Order {
    id: String,
    user: String,
    amount: String,
    rest: &'static [&'static str],
}

impl Order {
    fn advance(&mut self) -> Option<Draft> {
        let (action, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(Draft {
            action: (*action).to_owned(),
            order: self.id.clone(),
            amount: matches!(*action, "created" | "paid" | "refunded").then(|| self.amount.clone()),
            user: (*action == "created").then(|| self.user.clone()),
            extra: Vec::new(),
        })
    }
}

fn course(mut percent: u64) -> &'static [&'static str] {
    for (share, course) in COURSES {
        if percent < share {
            return course;
        }
        percent -= share;
    }
    COURSES[0].1
}

/// `SplitMix64` (Steele, Lea, Flood 2014): a few lines that give the same numbers with every version of every library.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to `limit`, which is not 0. The bias of the remainder is far too small to matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::domain::decode::{FieldNames, decode};
    use crate::domain::entry::Entry;
    use crate::domain::id::EntryId;

    const RECIPE: Recipe = Recipe { count: 5_000, orders: 200, seed: 7 };

    /// The actions of each order, in the order in which they were made.
    fn histories(events: &[Draft]) -> BTreeMap<String, Vec<String>> {
        let mut histories: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in events {
            histories.entry(event.order.clone()).or_default().push(event.action.clone());
        }
        histories
    }

    #[test]
    fn every_order_takes_steps_that_an_order_can_take_and_begins_at_the_beginning() {
        let follows = |before: Option<&str>| -> &[&str] {
            match before {
                None => &["created"],
                Some("created") => &["paid", "cancelled"],
                Some("paid") => &["shipped", "refunded"],
                Some("shipped") => &["delivered", "refunded"],
                Some("delivered") => &["refunded"],
                Some(_) => &[],
            }
        };
        for (order, actions) in histories(&Plausible::new(RECIPE).collect::<Vec<_>>()) {
            let mut before = None;
            for action in &actions {
                assert!(follows(before).contains(&action.as_str()), "{order}: {actions:?}");
                before = Some(action.as_str());
            }
        }
    }

    #[test]
    fn every_event_can_be_decoded() {
        let names = FieldNames {
            action: "action".into(),
            order: "orderId".into(),
            amount: "amount".into(),
            user: "userId".into(),
            event_id: None,
            json: None,
        };
        for draft in Plausible::new(RECIPE) {
            let entry = Entry { id: EntryId::new(1, 0), fields: draft.fields(&names).into() };
            assert!(decode(entry, &names).is_ok(), "{draft:?}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_events_and_another_seed_other_orders() {
        let events = |seed| Plausible::new(Recipe { seed, ..RECIPE }).collect::<Vec<_>>();
        assert_eq!(events(7), events(7));
        let orders = |seed| events(seed).into_iter().map(|event| event.order).collect::<BTreeSet<_>>();
        assert!(orders(7).is_disjoint(&orders(8)));
    }

    #[test]
    fn it_makes_as_many_events_as_were_asked_for() {
        for count in [0, 1, 2, 199, 5_000] {
            for orders in [0, 1, 3, 10_000] {
                let events = Plausible::new(Recipe { count, orders, seed: 1 });
                assert_eq!(events.count() as u64, count, "{orders} orders");
            }
        }
    }

    #[test]
    fn orders_are_interleaved_and_end_in_every_way() {
        let events: Vec<Draft> = Plausible::new(RECIPE).collect();
        let alone = events.windows(2).filter(|pair| pair[0].order == pair[1].order).count();
        assert!(alone < events.len() / 20, "{alone} events follow one of the same order");

        let endings: BTreeSet<String> = histories(&events).into_values().map(|actions| actions.join(" ")).collect();
        for (_, course) in COURSES {
            assert!(endings.contains(&course.join(" ")), "{course:?} is missing");
        }
        assert_eq!(COURSES.iter().map(|(share, _)| share).sum::<u64>(), 100);
    }

    #[test]
    fn a_refund_is_of_what_was_paid() {
        let mut paid = BTreeMap::new();
        for event in Plausible::new(RECIPE) {
            match event.action.as_str() {
                "paid" => drop(paid.insert(event.order, event.amount)),
                "refunded" => assert_eq!(paid.get(&event.order), Some(&event.amount)),
                _ => {}
            }
        }
    }
}
