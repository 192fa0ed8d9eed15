//! An order event: what an entry means once it is decoded.
//!
//! Owns: the event, its action, and money as a decimal.
//! Never: a float for money; a decision about the order (that is `order`).

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::entry::Entry;
use super::id::{EntryId, EventId, OrderId, UserId};

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderEvent {
    /// The order.
    pub order: OrderId,
    /// Whose order it is, where the entry says so (always for `created`).
    pub user: Option<UserId>,
    /// What happened.
    pub action: Action,
    /// How much money it is about (always for `created`, `paid` and `refunded`).
    pub amount: Option<Amount>,
    /// Where its entry is a replay: the entry that carried it first.
    pub replay_of: Option<EntryId>,
    /// What its producer calls it, where that is asked for and the entry says so.
    pub event_id: Option<EventId>,
    /// The entry it was decoded from, with every field that is not named above.
    pub entry: Entry,
}

impl OrderEvent {
    /// The id of the entry that carried it.
    pub fn id(&self) -> EntryId {
        self.entry.id
    }

    /// The id of the entry that carried it first: its own, or that of the entry it repeats. By this one its effect is known.
    pub fn origin(&self) -> EntryId {
        self.replay_of.unwrap_or(self.entry.id)
    }
}

/// An event among those that came by one read: they share the memory, which is free again when none of them is left. Cheap to clone.
#[derive(Clone)]
pub struct SharedEvent {
    all: Arc<Vec<OrderEvent>>,
    place: usize,
}

impl SharedEvent {
    /// Each of `events`, in their order.
    pub fn each(events: Vec<OrderEvent>) -> impl Iterator<Item = Self> {
        let all = Arc::new(events);
        (0..all.len()).map(move |place| Self { all: Arc::clone(&all), place })
    }

    /// Its memory is for itself from now on: what is kept for long must not keep what it was read with.
    pub fn keep(&mut self) {
        let event = self.to_mut();
        event.entry = event.entry.on_its_own();
    }

    /// The event, to be changed. It leaves the others.
    pub fn to_mut(&mut self) -> &mut OrderEvent {
        if self.all.len() > 1 {
            *self = Self::from(OrderEvent::clone(self));
        }
        &mut Arc::make_mut(&mut self.all)[self.place]
    }
}

impl Deref for SharedEvent {
    type Target = OrderEvent;

    fn deref(&self) -> &OrderEvent {
        &self.all[self.place]
    }
}

impl From<OrderEvent> for SharedEvent {
    fn from(event: OrderEvent) -> Self {
        Self { all: Arc::new(vec![event]), place: 0 }
    }
}

impl fmt::Debug for SharedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OrderEvent::fmt(self, f)
    }
}

/// What happened to the order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// The order was placed; it needs an amount and a user.
    Created,
    /// Money came in; it needs an amount.
    Paid,
    /// The goods are on their way.
    Shipped,
    /// The goods have arrived.
    Delivered,
    /// The order was called off.
    Cancelled,
    /// Money went back; it needs an amount.
    Refunded,
    /// Another word, which orderd does not know.
    Other(Box<str>),
}

impl Action {
    /// The word as it stands on the stream.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Created => "created",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
            Self::Other(word) => word,
        }
    }

    /// Whether an event of this kind has to carry an amount.
    pub fn needs_amount(&self) -> bool {
        matches!(self, Self::Created | Self::Paid | Self::Refunded)
    }

    /// Whether an event of this kind has to say whose order it is.
    pub fn needs_user(&self) -> bool {
        matches!(self, Self::Created)
    }
}

impl From<&str> for Action {
    fn from(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "paid" => Self::Paid,
            "shipped" => Self::Shipped,
            "delivered" => Self::Delivered,
            "cancelled" => Self::Cancelled,
            "refunded" => Self::Refunded,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount of money: an exact decimal, zero or more, at most 28 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(Decimal);

impl Amount {
    /// No money.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The sum, exact to the last digit; `None` where it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = self.0.checked_add(other.0)?;
        // The library rounds a sum that has too many digits. Fewer places than both sides need is how that shows.
        let places = |amount: Self| if amount.is_zero() { 0 } else { amount.0.scale() };
        (sum.scale() >= places(self).max(places(other))).then_some(Self(sum))
    }

    /// Whether it is no money at all.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The number behind it.
    pub fn decimal(self) -> Decimal {
        self.0
    }
}

/// So many digits always fit 64 bits; an amount that is no longer needs no arithmetic of more.
const SHORT: usize = 18;

/// The text was not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a decimal number of at most 28 digits and not below zero, such as 49.99")]
pub struct BadAmount;

impl FromStr for Amount {
    type Err = BadAmount;

    /// Takes digits with at most one point between them: no sign, no exponent, no thousands separator, nothing to round.
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        let (mut number, mut point) = (0_i64, None);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                // What does not fit is not used.
                b'0'..=b'9' => number = number.wrapping_mul(10).wrapping_add(i64::from(byte - b'0')),
                b'.' if point.is_none() => point = Some(at),
                _ => return Err(BadAmount),
            }
        }
        let places = point.map(|at| text.len() - at - 1);
        if text.is_empty() || point == Some(0) || places == Some(0) {
            return Err(BadAmount);
        }
        match u32::try_from(places.unwrap_or_default()) {
            Ok(places) if text.len() <= SHORT => Ok(Self(Decimal::new(number, places))),
            _ => Decimal::from_str_exact(text).map(Self).map_err(|_| BadAmount),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::domain::entry::{Fields, Mark, Sheet};

    fn shipped(order: &str, fields: Fields) -> OrderEvent {
        OrderEvent {
            order: order.into(),
            user: None,
            action: Action::Shipped,
            amount: None,
            replay_of: None,
            event_id: None,
            entry: Entry { id: EntryId::new(1, 0), fields },
        }
    }

    #[test]
    fn an_event_that_is_changed_has_its_memory_for_itself_and_its_neighbours_are_as_they_were() {
        let event = |order: &str| shipped(order, Fields::default());
        let mut events: Vec<SharedEvent> = SharedEvent::each(vec![event("a"), event("b"), event("c")]).collect();
        events[1].to_mut().action = Action::Delivered;
        let told: Vec<String> = events.iter().map(|event| format!("{} {}", event.order, event.action)).collect();
        assert_eq!(told, ["a shipped", "b delivered", "c shipped"]);
        assert_eq!(events.iter().map(|event| event.all.len()).collect::<Vec<_>>(), [3, 1, 3]);

        let before = events[1].clone();
        events[1].to_mut().action = Action::Paid;
        assert_eq!((&before.action, &events[1].action), (&Action::Delivered, &Action::Paid));
    }

    #[test]
    fn an_event_that_is_kept_keeps_nothing_of_what_it_was_read_with() {
        let sheet = Sheet::new(
            b"orderId:a;orderId:b".to_vec(),
            vec![Mark { name: (0, 7), value: (8, 9) }, Mark { name: (10, 17), value: (18, 19) }],
        );
        let read = |first| shipped("o", Fields::of(&sheet, first, 1));
        let mut events: Vec<SharedEvent> = SharedEvent::each(vec![read(0), read(1)]).collect();
        let mut kept = events.remove(1);
        kept.keep();
        drop(events);
        assert_eq!(Arc::strong_count(&sheet), 1, "the reply is held by nobody but this test");
        assert_eq!(kept.entry.field(b"orderId"), Ok(Some(b"b".as_slice())));
    }

    #[test]
    fn amounts_keep_every_digit() {
        for text in ["0", "49.99", "0.10", "79228162514264337593543950335", "1.0000000000000000000000000001"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_exact_amount_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "1_000",
            " 1",
            "NaN",
            "1.2.3",
            "٣",
            "79228162514264337593543950336",
        ] {
            assert_eq!(text.parse::<Amount>(), Err(BadAmount), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_is_the_number_that_the_library_reads(text in "0{0,2}[0-9]{1,20}(\\.[0-9]{1,12})?") {
            let amount = text.parse::<Amount>().ok().map(|Amount(decimal)| (decimal.mantissa(), decimal.scale()));
            let library = Decimal::from_str_exact(&text).ok().map(|decimal| (decimal.mantissa(), decimal.scale()));
            prop_assert_eq!(amount, library);
        }
    }

    #[test]
    fn a_sum_is_exact_or_there_is_none() {
        let sum = |a: &str, b: &str| {
            let sum = a.parse::<Amount>().unwrap().checked_add(b.parse().unwrap());
            sum.map(|sum| sum.to_string())
        };
        assert_eq!(sum("0", "1.50").as_deref(), Some("1.50"));
        assert_eq!(sum("0.000", "79228162514264337593543950335").as_deref(), Some("79228162514264337593543950335"));
        assert_eq!(sum("1.5", "0.25").as_deref(), Some("1.75"));
        assert_eq!(sum("7922816251426433759354395033.5", "0.05"), None);
        assert_eq!(sum("79228162514264337593543950335", "0.1"), None);
        assert_eq!(sum("79228162514264337593543950335", "1"), None);
    }

    #[test]
    fn known_actions_and_their_words_are_the_same_thing() {
        for word in ["created", "paid", "shipped", "delivered", "cancelled", "refunded"] {
            let action = Action::from(word);
            assert!(!matches!(action, Action::Other(_)), "{word}");
            assert_eq!(action.as_str(), word);
        }
        assert_eq!(Action::from("Created"), Action::Other("Created".into()));
    }
}
