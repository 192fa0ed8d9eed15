//! The life of an order: what may happen to it, and in which state.
//!
//! Owns: the states, what a step does to an order, and the sums that go with it. The table of steps is in `order::steps`.
//! Never: how an order is stored; what follows from a refusal (that is `retry`).

use std::fmt;
use std::str::FromStr;

use self::steps::{NO_ORDER, Steps};
use super::event::{Action, Amount, OrderEvent};
use super::id::UserId;
use super::outcome::Failure;

pub mod steps;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Placed, and not paid.
    Created,
    /// Paid.
    Paid,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Called off.
    Cancelled,
    /// All of the money went back.
    Refunded,
}

/// The text is not the name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order is created, paid, shipped, delivered, cancelled or refunded")]
pub struct BadState;

/// An order, as its events have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Whose it is.
    pub user: UserId,
    /// Where it stands.
    pub state: State,
    /// What it costs.
    pub amount: Amount,
    /// What was paid.
    pub paid: Amount,
    /// What went back, of all refunds together. Never more than what was paid.
    pub refunded: Amount,
    /// How many events have been applied to it.
    pub version: u64,
}

/// Why an event cannot be applied. Names actions and states, and nothing else that the event carries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The order can still come to a state in which the event may happen.
    #[error("{action} comes too early: {}", Standing(*.state))]
    TooEarly {
        /// The event's action.
        action: Action,
        /// Where the order stands; `None` where there is no order.
        state: Option<State>,
    },
    /// No step leads from where the order stands to a state in which the event may happen.
    #[error("{action} is impossible: {}", Standing(*.state))]
    Impossible {
        /// The event's action.
        action: Action,
        /// Where the order stands; `None` where there is no order.
        state: Option<State>,
    },
    /// The state would allow it, and the sums do not.
    #[error("{action} is impossible: {why}")]
    Sums {
        /// The event's action.
        action: Action,
        /// What is wrong with the sums.
        why: &'static str,
    },
    /// The event lacks what its action needs.
    #[error("{action} is impossible: the event carries no {field}")]
    Incomplete {
        /// The event's action.
        action: Action,
        /// What is missing.
        field: &'static str,
    },
    /// No step of any order has its name. Without the word, which may be anything: the log is no place for it, and the entry has it.
    #[error("the action is unknown: it does not stand in ledger.transitions")]
    UnknownAction,
}

/// What may happen to an order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The steps that it can take.
    pub steps: Steps,
    /// What becomes of an event whose action is no step.
    pub unknown: UnknownAction,
}

/// What becomes of an event whose action is no step of any order (`ledger.unknown_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownAction {
    /// It is refused for good.
    #[default]
    DeadLetter,
    /// It is acknowledged and leaves no trace.
    Ignore,
    /// It is entered into the history of its order, whose state stays as it is.
    Record,
}

impl Rules {
    /// What becomes of the order `current` by `event`; `None` stands for an order that does not exist yet.
    pub fn apply(&self, current: Option<&Order>, event: &OrderEvent) -> Result<Order, Refusal> {
        let to = self.step(current.map(|order| order.state), &event.action)?;
        let mut order = current.map_or_else(|| blank(event, to), |order| Ok(order.clone()))?;
        order.version += 1;
        match event.action {
            Action::Paid => order.paid = sum(order.paid, event)?,
            Action::Refunded => order.refunded = refunded(&order, event)?,
            _ => {}
        }
        // While some of the money has stayed, the order goes its way: what is left of it can still be shipped.
        if event.action != Action::Refunded || order.refunded == order.paid {
            order.state = to;
        }
        Ok(order)
    }

    /// Whether `action` can be the first that happens to an order.
    pub fn begins(&self, action: &Action) -> bool {
        self.steps.of(action).is_some_and(|step| step.from.contains(&NO_ORDER))
    }

    /// Whether events with this `action` leave no trace.
    pub fn ignores(&self, action: &Action) -> bool {
        self.unknown == UnknownAction::Ignore && self.steps.of(action).is_none()
    }

    /// The state that `action` leads to from `state`.
    fn step(&self, state: Option<State>, action: &Action) -> Result<State, Refusal> {
        let Some(step) = self.steps.of(action) else { return self.no_step(state, action) };
        if step.from.contains(&state) {
            Ok(step.to)
        } else if self.steps.can_still_reach(state, &step.from) {
            Err(Refusal::TooEarly { action: action.clone(), state })
        } else {
            Err(Refusal::Impossible { action: action.clone(), state })
        }
    }

    /// Where an unknown action leaves an order.
    fn no_step(&self, state: Option<State>, action: &Action) -> Result<State, Refusal> {
        match self.unknown {
            UnknownAction::Record => state.ok_or_else(|| Refusal::TooEarly { action: action.clone(), state }),
            _ => Err(Refusal::UnknownAction),
        }
    }
}

impl State {
    /// All states, in the order in which a life passes through them.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Paid, Self::Shipped, Self::Delivered, Self::Cancelled, Self::Refunded];

    /// The word for it, as the ledger stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = BadState;

    fn from_str(text: &str) -> Result<Self, BadState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(BadState)
    }
}

/// Too early may work later; all else never will.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooEarly { .. } => Self::early(refusal.to_string()),
            _ => Self::permanent(refusal.to_string()),
        }
    }
}

/// An order to which nothing has happened.
fn blank(event: &OrderEvent, state: State) -> Result<Order, Refusal> {
    let lacks = |field| Refusal::Incomplete { action: event.action.clone(), field };
    let user = event.user.clone().ok_or_else(|| lacks("user"))?;
    let amount = event.amount.ok_or_else(|| lacks("amount"))?;
    Ok(Order { user, state, amount, paid: Amount::ZERO, refunded: Amount::ZERO, version: 0 })
}

/// What has gone back, with `event`.
fn refunded(order: &Order, event: &OrderEvent) -> Result<Amount, Refusal> {
    let refused = |why| Refusal::Sums { action: event.action.clone(), why };
    if order.paid.is_zero() {
        return Err(refused("nothing was paid"));
    }
    let refunded = sum(order.refunded, event)?;
    if refunded > order.paid {
        return Err(refused("more would go back than was paid"));
    }
    Ok(refunded)
}

/// `so_far` and the amount of `event`.
fn sum(so_far: Amount, event: &OrderEvent) -> Result<Amount, Refusal> {
    let action = &event.action;
    let amount = event.amount.ok_or_else(|| Refusal::Incomplete { action: action.clone(), field: "amount" })?;
    let too_long = || Refusal::Sums { action: action.clone(), why: "the sum has more than 28 digits" };
    so_far.checked_add(amount).ok_or_else(too_long)
}

/// Says in a sentence where an order stands.
struct Standing(Option<State>);

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(state) => write!(f, "the order is {state}"),
            None => f.write_str("there is no such order"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::entry::{Entry, Fields};
    use crate::domain::id::EntryId;
    use crate::domain::outcome::FailureClass;

    fn event(action: &str, amount: Option<&str>) -> OrderEvent {
        OrderEvent {
            order: "o-1".into(),
            user: Some("u-1".into()),
            action: Action::from(action),
            amount: amount.map(|digits| digits.parse().unwrap()),
            replay_of: None,
            event_id: None,
            entry: Entry { id: EntryId::new(1, 0), fields: Fields::default() },
        }
    }

    fn apply(current: Option<&Order>, event: &OrderEvent) -> Result<Order, Refusal> {
        Rules::default().apply(current, event)
    }

    /// The order after these events, all of which must be applied.
    fn after(events: &[(&str, &str)]) -> Option<Order> {
        events.iter().fold(None, |order, (action, amount)| {
            let amount = Some(*amount).filter(|digits| !digits.is_empty());
            Some(apply(order.as_ref(), &event(action, amount)).unwrap())
        })
    }

    fn sums(order: &Order) -> [String; 3] {
        [order.amount, order.paid, order.refunded].map(|amount| amount.to_string())
    }

    #[test]
    fn an_order_goes_from_created_to_delivered_and_counts_its_events() {
        let order = after(&[("created", "49.99"), ("paid", "49.99"), ("shipped", ""), ("delivered", "")]).unwrap();
        assert_eq!((order.state, order.version, order.user.as_str()), (State::Delivered, 4, "u-1"));
        assert_eq!(sums(&order), ["49.99", "49.99", "0"]);
    }

    #[test]
    fn partial_refunds_add_up_and_never_exceed_what_was_paid() {
        let order = after(&[("created", "50.00"), ("paid", "50.00"), ("refunded", "20.00"), ("refunded", "29.99")]);
        assert_eq!(sums(order.as_ref().unwrap()), ["50.00", "50.00", "49.99"]);
        let refusal = apply(order.as_ref(), &event("refunded", Some("0.02"))).unwrap_err();
        assert_eq!(refusal.to_string(), "refunded is impossible: more would go back than was paid");
        let whole = apply(order.as_ref(), &event("refunded", Some("0.01"))).unwrap();
        assert_eq!((sums(&whole)[2].as_str(), whole.version), ("50.00", 5));
    }

    #[test]
    fn an_order_is_refunded_when_all_of_the_money_is_back_and_until_then_it_goes_its_way() {
        let part = after(&[("created", "50.00"), ("paid", "50.00"), ("refunded", "20.00"), ("shipped", "")]).unwrap();
        assert_eq!((part.state, part.version), (State::Shipped, 4));
        let part = apply(Some(&part), &event("refunded", Some("29.99"))).unwrap();
        assert_eq!(part.state, State::Shipped);
        let whole = apply(Some(&part), &event("refunded", Some("0.01"))).unwrap();
        assert_eq!((whole.state, sums(&whole)[2].as_str()), (State::Refunded, "50.00"));
        assert!(apply(Some(&whole), &event("delivered", None)).is_err(), "nothing is left to be delivered");

        let cancelled = after(&[("created", "5"), ("paid", "5"), ("cancelled", ""), ("refunded", "4")]).unwrap();
        assert_eq!(cancelled.state, State::Cancelled);
    }

    #[test]
    fn an_action_without_a_step_is_refused_or_ignored_or_recorded() {
        let wrapped = event("gift-wrapped", Some("2.50"));
        let paid = after(&[("created", "50.00"), ("paid", "50.00")]);
        let rules = |unknown| Rules { unknown, ..Rules::default() };
        for (unknown, ignored) in [(UnknownAction::DeadLetter, false), (UnknownAction::Ignore, true)] {
            assert!(matches!(rules(unknown).apply(paid.as_ref(), &wrapped), Err(Refusal::UnknownAction)));
            assert_eq!(rules(unknown).ignores(&wrapped.action), ignored);
            assert!(!rules(unknown).ignores(&Action::Paid));
        }
        let record = rules(UnknownAction::Record);
        assert!(!record.ignores(&wrapped.action));
        assert!(matches!(record.apply(None, &wrapped), Err(Refusal::TooEarly { .. })), "its order may be on its way");
        let recorded = record.apply(paid.as_ref(), &wrapped).unwrap();
        assert_eq!(recorded, Order { version: 3, ..paid.unwrap() });
    }

    #[test]
    fn another_table_makes_another_life() {
        let steps = "order-placed: none -> created; paid: created|paid -> paid; parked: paid -> shipped";
        let rules = Rules { steps: steps.parse().unwrap(), ..Rules::default() };
        let mut order = rules.apply(None, &event("order-placed", Some("9"))).unwrap();
        for (action, amount, state) in
            [("paid", "4", State::Paid), ("paid", "5", State::Paid), ("parked", "0", State::Shipped)]
        {
            order = rules.apply(Some(&order), &event(action, Some(amount))).unwrap();
            assert_eq!(order.state, state, "{action}");
        }
        assert_eq!(sums(&order), ["9", "9", "0"]);
        let refusal = rules.apply(None, &event("created", Some("9"))).unwrap_err();
        assert_eq!(refusal.to_string(), "the action is unknown: it does not stand in ledger.transitions");
        assert!(matches!(rules.apply(None, &event("parked", None)), Err(Refusal::TooEarly { .. })));
    }

    #[test]
    fn what_was_never_paid_cannot_go_back() {
        let cancelled = after(&[("created", "50.00"), ("cancelled", "")]);
        for amount in ["0", "0.01", "50.00"] {
            let refusal = apply(cancelled.as_ref(), &event("refunded", Some(amount))).unwrap_err();
            assert_eq!(Failure::from(refusal).class(), FailureClass::Permanent, "{amount}");
        }
        let paid_first = after(&[("created", "50.00"), ("paid", "50.00"), ("cancelled", "")]);
        assert!(apply(paid_first.as_ref(), &event("refunded", Some("50.00"))).is_ok());
    }

    /// For each action what it comes to from: no order, created, paid, shipped, delivered, cancelled, refunded.
    /// `+` is a step, `<` too early, `x` impossible.
    const EXPECTED: [(&str, &str); 7] = [
        ("created", "+xxxxxx"),
        ("paid", "<+xxxxx"),
        ("shipped", "<<+xxxx"),
        ("delivered", "<<<+xxx"),
        ("cancelled", "<++xxxx"),
        ("refunded", "<<+++++"),
        ("gift-wrapped", "xxxxxxx"),
    ];

    #[test]
    fn each_action_is_a_step_or_too_early_or_impossible_from_each_state() {
        for (action, expected) in EXPECTED {
            let states = std::iter::once(None).chain(State::ALL.into_iter().map(Some));
            let found: String = states
                .map(|state| {
                    let order = state.map(|state| Order {
                        user: "u-1".into(),
                        state,
                        amount: "1".parse().unwrap(),
                        paid: "1".parse().unwrap(),
                        refunded: Amount::ZERO,
                        version: 1,
                    });
                    match apply(order.as_ref(), &event(action, Some("1"))) {
                        Ok(_) => '+',
                        Err(Refusal::TooEarly { .. }) => '<',
                        Err(_) => 'x',
                    }
                })
                .collect();
            assert_eq!(found, expected, "{action}");
        }
    }

    #[test]
    fn too_early_is_transient_and_every_other_refusal_permanent() {
        let early = apply(None, &event("paid", Some("1"))).unwrap_err();
        assert_eq!(early.to_string(), "paid comes too early: there is no such order");
        assert_eq!(Failure::from(early).class(), FailureClass::Transient);

        let created = after(&[("created", "1")]);
        let again = apply(created.as_ref(), &event("created", Some("1"))).unwrap_err();
        assert_eq!(again.to_string(), "created is impossible: the order is created");
        assert_eq!(Failure::from(again).class(), FailureClass::Permanent);

        let odd = apply(created.as_ref(), &event("gift\nwrapped", None)).unwrap_err();
        assert_eq!(odd.to_string(), "the action is unknown: it does not stand in ledger.transitions");
        assert_eq!(Failure::from(odd).class(), FailureClass::Permanent);
    }

    #[test]
    fn an_event_that_lacks_what_it_needs_is_refused() {
        let mut nobodys = event("created", Some("1"));
        nobodys.user = None;
        assert_eq!(apply(None, &nobodys).unwrap_err().to_string(), "created is impossible: the event carries no user");
        for (before, action) in [(None, "created"), (after(&[("created", "1")]), "paid")] {
            let refusal = apply(before.as_ref(), &event(action, None)).unwrap_err();
            assert!(matches!(refusal, Refusal::Incomplete { field: "amount", .. }), "{action}");
        }
    }

    #[test]
    fn only_created_begins_an_order() {
        for (action, _) in EXPECTED {
            assert_eq!(Rules::default().begins(&Action::from(action)), action == "created", "{action}");
        }
    }

    #[test]
    fn states_and_their_words_are_the_same_thing() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("Paid".parse::<State>(), Err(BadState));
    }

    fn any_action() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            3 => Just("created"),
            3 => Just("paid"),
            2 => Just("shipped"),
            2 => Just("delivered"),
            1 => Just("cancelled"),
            4 => Just("refunded"),
            1 => Just("gift-wrapped"),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_version_counts_what_was_applied_and_no_more_goes_back_than_came_in(
            events in prop::collection::vec((any_action(), 0u32..9, prop::bool::weighted(0.9)), 0..40)
        ) {
            let mut order: Option<Order> = None;
            let (mut applied, mut given_back) = (0, 0);
            for (action, halves, with_amount) in events {
                let digits = format!("{}.{}", halves / 2, halves % 2 * 5);
                let happened = event(action, with_amount.then_some(digits.as_str()));
                if let Ok(next) = apply(order.as_ref(), &happened) {
                    applied += 1;
                    given_back += if action == "refunded" { halves } else { 0 };
                    order = Some(next);
                }
                let Some(order) = &order else { continue };
                prop_assert_eq!(order.version, applied);
                prop_assert_eq!(order.refunded.decimal() * Decimal::TWO, Decimal::from(given_back));
                prop_assert!(order.refunded <= order.paid);
            }
        }
    }
}
