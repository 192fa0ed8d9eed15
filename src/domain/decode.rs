//! From an entry to an order event.
//!
//! Owns: which fields an event needs, and the reason why an entry is not one.
//! Never: the value of a field in an error, for these texts reach the log.

use super::entry::{Entry, Repeated};
use super::event::{Action, Amount, OrderEvent};
use super::id::{EntryId, EventId, OrderId, UserId};
use super::json;
use super::replay::{self, BadReplay, REPLAY_OF};

/// The largest entry that is decoded, in bytes of names and values together.
pub const MAX_ENTRY_BYTES: usize = 1024 * 1024;
/// The longest order id, user id or action, in bytes.
pub const MAX_TEXT_BYTES: usize = 512;

/// Which field says what (the `[event]` table of the configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldNames {
    /// The field with the action.
    pub action: String,
    /// The field with the order id.
    pub order: String,
    /// The field with the amount.
    pub amount: String,
    /// The field with the user id.
    pub user: String,
    /// Where set, the field with what the producer calls the event (`ledger.event_id_field`).
    pub event_id: Option<String>,
    /// Where set, the one field that carries all of these as a JSON object.
    pub json: Option<String>,
}

/// An entry that is not an order event, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// The entry, untouched.
    pub entry: Entry,
    /// What is wrong with it.
    pub error: DecodeError,
}

/// Why an entry is not an order event. Names fields, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field that this event needs is not there.
    #[error("the field '{0}' is missing")]
    Missing(String),
    /// A field that may not be empty is.
    #[error("the field '{0}' is empty")]
    Empty(String),
    /// A field stands there more than once.
    #[error("the field '{0}' stands there more than once")]
    Repeated(String),
    /// A field is not text.
    #[error("the field '{0}' is not valid UTF-8")]
    NotUtf8(String),
    /// The amount is not an amount.
    #[error(
        "the field '{0}' is not an amount: a decimal number of at most 28 digits and not below zero, such as 49.99"
    )]
    BadAmount(String),
    /// The JSON field holds something else than one object of texts and numbers.
    #[error("the field '{0}' does not hold a JSON object")]
    BadJson(String),
    /// The entry says that it repeats another one, and names none that it could repeat.
    #[error("the field '{REPLAY_OF}' does not name one earlier entry")]
    BadReplay,
    /// The entry, or one of its texts, is larger than what is decoded.
    #[error("too large: {what} has {bytes} bytes, and {limit} are the limit")]
    TooLarge {
        /// What is too large: `the entry`, or the name of a field.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl DecodeError {
    /// An entry of `bytes`, which is more than is decoded.
    pub fn entry_too_large(bytes: usize) -> Self {
        Self::TooLarge { what: "the entry".to_owned(), bytes, limit: MAX_ENTRY_BYTES }
    }

    /// The reason in one word, for the dead letter and the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing-field",
            Self::Empty(_) => "empty-field",
            Self::Repeated(_) => "duplicate-field",
            Self::NotUtf8(_) => "invalid-utf8",
            Self::BadAmount(_) => "bad-amount",
            Self::BadJson(_) => "bad-json",
            Self::BadReplay => "bad-replay",
            Self::TooLarge { .. } => "too-large",
        }
    }
}

/// Decodes `entry`; what cannot be decoded comes back untouched, with the reason.
pub fn decode(entry: Entry, names: &FieldNames) -> Result<OrderEvent, Undecodable> {
    match parts(&entry, names) {
        Ok(parts) => Ok(parts.with(entry)),
        Err(error) => Err(Undecodable { entry, error }),
    }
}

/// The same, with the event put behind other `events`: it is large, and this is where it is made.
pub fn decode_onto(events: &mut Vec<OrderEvent>, entry: Entry, names: &FieldNames) -> Result<(), Undecodable> {
    match parts(&entry, names) {
        Ok(parts) => {
            events.push(parts.with(entry));
            Ok(())
        }
        Err(error) => Err(Undecodable { entry, error }),
    }
}

/// The order that `entry` is about, as far as that can be told of an entry that may not be an event.
pub fn order_of(entry: &Entry, names: &FieldNames) -> Option<OrderId> {
    let order =
        |entry: &Entry| required(entry.field(names.order.as_bytes()).into(), &names.order).ok().map(OrderId::from);
    let Some(json_field) = &names.json else { return order(entry) };
    let fields = json::object_fields(entry.field(json_field.as_bytes()).ok()??).ok()?;
    order(&Entry { id: entry.id, fields: fields.into() })
}

struct Parts {
    order: OrderId,
    user: Option<UserId>,
    action: Action,
    amount: Option<Amount>,
    replay_of: Option<EntryId>,
    event_id: Option<EventId>,
}

impl Parts {
    fn with(self, entry: Entry) -> OrderEvent {
        let Self { order, user, action, amount, replay_of, event_id } = self;
        OrderEvent { order, user, action, amount, replay_of, event_id, entry }
    }
}

fn parts(entry: &Entry, names: &FieldNames) -> Result<Parts, DecodeError> {
    limit("the entry", entry.size(), MAX_ENTRY_BYTES)?;
    let replay_of = replay::replayed(entry).map_err(|BadReplay| DecodeError::BadReplay)?;
    let Some(json_field) = &names.json else {
        return parts_of(entry, names, replay_of);
    };
    let document = entry.field(json_field.as_bytes()).map_err(|Repeated| DecodeError::Repeated(json_field.clone()))?;
    let document = document.ok_or_else(|| DecodeError::Missing(json_field.clone()))?;
    let fields = json::object_fields(document).map_err(|json::NotAnObject| DecodeError::BadJson(json_field.clone()))?;
    parts_of(&Entry { id: entry.id, fields: fields.into() }, names, replay_of)
}

/// What was found of a field.
#[derive(Clone, Copy, Default)]
enum Found<'e> {
    #[default]
    Nothing,
    Once(&'e [u8]),
    Twice,
}

/// What was found of each field that an event may need.
#[derive(Default)]
struct AllFound<'e> {
    action: Found<'e>,
    order: Found<'e>,
    amount: Found<'e>,
    user: Found<'e>,
    event_id: Found<'e>,
}

impl<'e> Found<'e> {
    fn note(&mut self, value: &'e [u8]) {
        *self = if let Self::Nothing = self { Self::Once(value) } else { Self::Twice };
    }
}

impl<'e> From<Result<Option<&'e [u8]>, Repeated>> for Found<'e> {
    fn from(field: Result<Option<&'e [u8]>, Repeated>) -> Self {
        match field {
            Ok(None) => Self::Nothing,
            Ok(Some(value)) => Self::Once(value),
            Err(Repeated) => Self::Twice,
        }
    }
}

impl<'e> AllFound<'e> {
    /// Goes through the fields once, for there are more of these lookups than of anything else.
    fn of(entry: &'e Entry, names: &FieldNames) -> Self {
        let mut found = Self::default();
        for (name, value) in entry.fields.iter() {
            let places = [
                (Some(&names.action), &mut found.action),
                (Some(&names.order), &mut found.order),
                (Some(&names.amount), &mut found.amount),
                (Some(&names.user), &mut found.user),
                (names.event_id.as_ref(), &mut found.event_id),
            ];
            // Two of them may have the same name.
            for (wanted, place) in places {
                if wanted.is_some_and(|wanted| is(name, wanted.as_bytes())) {
                    place.note(value);
                }
            }
        }
        found
    }
}

/// Whether a field has this name. Most are told apart by their first letter, without a call to compare the rest.
fn is(name: &[u8], wanted: &[u8]) -> bool {
    name.first() == wanted.first() && name == wanted
}

fn parts_of(entry: &Entry, names: &FieldNames, replay_of: Option<EntryId>) -> Result<Parts, DecodeError> {
    let found = AllFound::of(entry, names);
    let action = Action::from(required(found.action, &names.action)?);
    let order = OrderId::from(required(found.order, &names.order)?);
    let amount = match text(found.amount, &names.amount)? {
        Some(digits) => Some(digits.parse::<Amount>().map_err(|_| DecodeError::BadAmount(names.amount.clone()))?),
        None if action.needs_amount() => return Err(DecodeError::Missing(names.amount.clone())),
        None => None,
    };
    let user = if action.needs_user() {
        Some(required(found.user, &names.user)?)
    } else {
        text(found.user, &names.user)?.filter(|user| !user.is_empty())
    };
    let event_id = event_id(found.event_id, names)?;
    Ok(Parts { order, user: user.map(UserId::from), action, amount, replay_of, event_id })
}

/// What the producer calls the event. Not every producer has to: without it, or empty, the event is known by its entry alone.
fn event_id(found: Found<'_>, names: &FieldNames) -> Result<Option<EventId>, DecodeError> {
    let Some(name) = &names.event_id else { return Ok(None) };
    Ok(text(found, name)?.filter(|id| !id.is_empty()).map(EventId::from))
}

/// The text of a field that has to be there and has to say something.
fn required<'e>(found: Found<'e>, name: &str) -> Result<&'e str, DecodeError> {
    match text(found, name)? {
        None => Err(DecodeError::Missing(name.to_owned())),
        Some("") => Err(DecodeError::Empty(name.to_owned())),
        Some(text) => Ok(text),
    }
}

fn text<'e>(found: Found<'e>, name: &str) -> Result<Option<&'e str>, DecodeError> {
    let bytes = match found {
        Found::Nothing => return Ok(None),
        Found::Once(bytes) => bytes,
        Found::Twice => return Err(DecodeError::Repeated(name.to_owned())),
    };
    limit(name, bytes.len(), MAX_TEXT_BYTES)?;
    std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::NotUtf8(name.to_owned()))
}

fn limit(what: &str, bytes: usize, limit: usize) -> Result<(), DecodeError> {
    if bytes > limit { Err(DecodeError::TooLarge { what: what.to_owned(), bytes, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> FieldNames {
        FieldNames {
            action: "action".into(),
            order: "orderId".into(),
            amount: "amount".into(),
            user: "userId".into(),
            event_id: None,
            json: None,
        }
    }

    fn entry(fields: &[(&str, &str)]) -> Entry {
        Entry { id: EntryId::new(1, 0), fields: fields.iter().copied().collect() }
    }

    fn reason(fields: &[(&str, &str)]) -> &'static str {
        decode(entry(fields), &names()).unwrap_err().error.reason()
    }

    const CREATED: [(&str, &str); 4] =
        [("action", "created"), ("orderId", "order-789"), ("amount", "49.99"), ("userId", "user-123")];

    #[test]
    fn the_entry_of_the_tutorial_is_an_event_and_keeps_its_other_fields() {
        let mut fields = CREATED.to_vec();
        fields.push(("coupon", "SPRING"));
        let event = decode(entry(&fields), &names()).unwrap();
        assert_eq!(event.order.as_str(), "order-789");
        assert_eq!(event.user.as_ref().unwrap().as_str(), "user-123");
        assert_eq!(event.action, Action::Created);
        assert_eq!(event.amount.unwrap().to_string(), "49.99");
        assert_eq!(event.entry.field(b"coupon"), Ok(Some(b"SPRING".as_slice())));
    }

    #[test]
    fn each_action_needs_what_it_needs_and_no_more() {
        for word in ["shipped", "delivered", "cancelled", "parked-by-customs"] {
            assert!(decode(entry(&[("action", word), ("orderId", "o")]), &names()).is_ok(), "{word}");
        }
        for word in ["paid", "refunded"] {
            assert_eq!(reason(&[("action", word), ("orderId", "o")]), "missing-field");
            assert!(decode(entry(&[("action", word), ("orderId", "o"), ("amount", "1")]), &names()).is_ok(), "{word}");
        }
        for gone in ["action", "orderId", "amount", "userId"] {
            let rest: Vec<_> = CREATED.into_iter().filter(|(name, _)| *name != gone).collect();
            assert_eq!(reason(&rest), "missing-field", "{gone}");
        }
    }

    #[test]
    fn each_defect_has_its_reason() {
        assert_eq!(reason(&[("action", "shipped"), ("orderId", "")]), "empty-field");
        assert_eq!(reason(&[("action", "paid"), ("orderId", "o"), ("amount", "12,50")]), "bad-amount");
        assert_eq!(reason(&[("action", "shipped"), ("orderId", "o"), ("amount", "much")]), "bad-amount");
        assert_eq!(reason(&[("action", "shipped"), ("orderId", "a"), ("orderId", "b")]), "duplicate-field");
        assert_eq!(reason(&[("action", "shipped"), ("orderId", &"x".repeat(MAX_TEXT_BYTES + 1))]), "too-large");
        let padding = "x".repeat(MAX_ENTRY_BYTES);
        assert_eq!(reason(&[("action", "shipped"), ("orderId", "o"), ("note", &padding)]), "too-large");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_text_is_needed_and_kept_elsewhere() {
        let bytes =
            |fields: &[(&[u8], &[u8])]| Entry { id: EntryId::new(1, 0), fields: fields.iter().copied().collect() };
        let broken = bytes(&[(b"action", b"shipped"), (b"orderId", &[0xff])]);
        let refused = decode(broken.clone(), &names()).unwrap_err();
        assert_eq!((refused.error.reason(), &refused.entry), ("invalid-utf8", &broken));

        let odd = bytes(&[(b"action", b"shipped"), (b"orderId", b"o"), (&[0xfe], &[0, 0xff])]);
        assert!(decode(odd, &names()).is_ok());
    }

    #[test]
    fn a_replay_knows_where_it_came_from_and_one_that_cannot_be_read_is_refused() {
        let replay = |id: &str| {
            let mut replay = entry(&[&CREATED[..], &[("_replay_of", id)]].concat());
            replay.id = EntryId::new(7, 0);
            decode(replay, &names())
        };
        let event = replay("3-1").unwrap();
        assert_eq!((event.id(), event.origin()), (EntryId::new(7, 0), EntryId::new(3, 1)));
        for odd in ["", "3", "7-0", "8-0"] {
            assert_eq!(replay(odd).unwrap_err().error.reason(), "bad-replay", "{odd}");
        }
    }

    #[test]
    fn the_order_of_an_entry_that_is_no_event_is_told_where_it_can_be() {
        let order = |entry: Entry, names: &FieldNames| order_of(&entry, names).map(|order| order.to_string());
        assert_eq!(order(entry(&[("orderId", "o-1")]), &names()).as_deref(), Some("o-1"));
        assert_eq!(order(entry(&[("orderId", "a"), ("orderId", "b")]), &names()), None);
        let names = FieldNames { json: Some("data".into()), ..names() };
        assert_eq!(order(entry(&[("data", r#"{"orderId":"o-2"}"#)]), &names).as_deref(), Some("o-2"));
        assert_eq!(order(entry(&[("data", "{"), ("orderId", "o-1")]), &names), None);
    }

    #[test]
    fn what_a_producer_calls_an_event_is_read_where_that_is_asked_for() {
        let id = |fields: &[(&str, &str)], field: Option<&str>| {
            let names = FieldNames { event_id: field.map(str::to_owned), ..names() };
            let decoded = decode(entry(&[&[("action", "shipped"), ("orderId", "o")], fields].concat()), &names);
            decoded.map(|event| event.event_id.map(|id| id.to_string())).map_err(|refused| refused.error.reason())
        };
        assert_eq!(id(&[("eventId", "e-1")], Some("eventId")), Ok(Some("e-1".to_owned())));
        assert_eq!(id(&[("eventId", "")], Some("eventId")), Ok(None));
        assert_eq!(id(&[], Some("eventId")), Ok(None));
        assert_eq!(id(&[("eventId", "e-1")], None), Ok(None));
        assert_eq!(id(&[("eventId", "a"), ("eventId", "b")], Some("eventId")), Err("duplicate-field"));
        assert_eq!(id(&[("eventId", "a"), ("eventId", "b")], None), Ok(None), "nobody reads it");
    }

    #[test]
    fn an_error_never_shows_a_value() {
        let refused =
            decode(entry(&[("action", "paid"), ("orderId", "o"), ("amount", "secret")]), &names()).unwrap_err();
        assert!(!refused.error.to_string().contains("secret"));
    }

    #[test]
    fn an_event_can_come_as_one_json_object() {
        let names = FieldNames { json: Some("data".into()), ..names() };
        let json = r#"{"action":"created","orderId":"o-1","amount":49.90,"userId":"u","lines":[1,2],"note":null}"#;
        let event = decode(entry(&[("data", json)]), &names).unwrap();
        assert_eq!(event.amount.unwrap().to_string(), "49.90");
        assert_eq!(event.entry.fields.len(), 1, "the entry itself is kept as it was");

        let reason = |text: &str| decode(entry(&[("data", text)]), &names).unwrap_err().error.reason();
        assert_eq!(reason("[1]"), "bad-json");
        assert_eq!(reason("{"), "bad-json");
        assert_eq!(reason(r#"{"action":"shipped","orderId":"a","orderId":"b"}"#), "duplicate-field");
        assert_eq!(decode(entry(&[("other", "{}")]), &names).unwrap_err().error.reason(), "missing-field");
    }
}
