//! A notice: what is told of an event once it is settled.
//!
//! Owns: what it says, and its form, the same whether it is told live or read from the ledger later.
//! Never: when it may be told (only a receipt from settling allows that).

use std::fmt::Write as _;

use jiff::Timestamp;

use super::event::{Action, Amount, OrderEvent};
use super::id::{EntryId, OrderId, UserId};
use super::json::{push_text, quote_from};
use super::order::State;
use super::outcome::Effect;
use super::template::{Place, Template};

/// What is told of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose order it is.
    pub user: UserId,
    /// The order.
    pub order: OrderId,
    /// What happened.
    pub action: Action,
    /// The amount that the event carried.
    pub amount: Option<Amount>,
    /// Where the order stands, and its version; `None` where the handler does not say.
    pub standing: Option<(State, u64)>,
    /// The entry that carried the event first; its history names the same one.
    pub entry: EntryId,
    /// When it was applied, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// How a notice looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The channel that it goes to.
    pub channel: Template,
    /// What stands in its `type`.
    pub kind: Template,
}

/// The second of the last time that was written: in a batch, nearly all have the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp {
    second: Option<u64>,
    /// It, in the form of ISO 8601, behind a quotation mark and without the zone.
    text: String,
}

impl Notice {
    /// What is told of `event`; `None` where nobody knows whose order it is. `now_ms` counts where the handler names no time.
    pub fn of(event: &OrderEvent, effect: Option<&Effect>, now_ms: u64) -> Option<Self> {
        Some(Self {
            user: effect.map(|effect| &effect.user).or(event.user.as_ref())?.clone(),
            order: event.order.clone(),
            action: event.action.clone(),
            amount: event.amount,
            standing: effect.map(|effect| (effect.state, effect.version)),
            entry: event.origin(),
            at_ms: effect.map_or(now_ms, |effect| effect.at_ms),
        })
    }
}

impl Form {
    /// The channel for `notice`.
    pub fn channel(&self, notice: &Notice) -> String {
        let mut channel = String::new();
        self.write_channel(&mut channel, notice);
        channel
    }

    /// `notice` as a JSON object on one line.
    pub fn text(&self, notice: &Notice) -> String {
        let mut text = String::with_capacity(200);
        self.write_text(&mut text, &mut Stamp::default(), notice);
        text
    }

    /// The same as [`Form::channel`], written behind what is in `to`.
    pub fn write_channel(&self, to: &mut String, notice: &Notice) {
        self.channel.fill_into(to, value(notice));
    }

    /// The same as [`Form::text`], written behind what is in `to`. Whoever writes many keeps the `stamp`.
    pub fn write_text(&self, to: &mut String, stamp: &mut Stamp, notice: &Notice) {
        to.push_str("{\"type\":");
        let from = to.len();
        self.kind.fill_into(to, value(notice));
        quote_from(to, from);
        to.push_str(",\"orderId\":");
        push_text(to, notice.order.as_str());
        // Writing to a `String` does not fail.
        let _ = match notice.standing {
            Some((state, _)) => write!(to, ",\"state\":\"{}\"", state.as_str()),
            None => write!(to, ",\"state\":null"),
        };
        let _ = match notice.amount {
            Some(amount) => write!(to, ",\"amount\":\"{amount}\""),
            None => write!(to, ",\"amount\":null"),
        };
        let _ = write!(to, ",\"entryId\":\"{}\"", notice.entry);
        let _ = match notice.standing {
            Some((_, version)) => write!(to, ",\"version\":{version},\"at\":"),
            None => write!(to, ",\"version\":null,\"at\":"),
        };
        stamp.push(to, notice.at_ms);
        to.push('}');
    }
}

impl Stamp {
    fn push(&mut self, to: &mut String, at_ms: u64) {
        let second = at_ms / 1000;
        if self.second != Some(second) {
            let at = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            let Some(at) = at else { return to.push_str("null") };
            self.second = Some(second);
            self.text.clear();
            let _ = write!(self.text, "\"{at:.0}");
            // The zone follows behind the milliseconds.
            self.text.pop();
        }
        to.push_str(&self.text);
        let _ = write!(to, ".{:03}Z\"", at_ms % 1000);
    }
}

/// What stands at each place of a template.
fn value<'n>(notice: &'n Notice) -> impl Fn(Place) -> &'n str {
    |place| match place {
        Place::User => notice.user.as_str(),
        Place::Order => notice.order.as_str(),
        Place::Action => notice.action.as_str(),
        Place::State => notice.standing.map_or("unknown", |(state, _)| state.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entry::{Entry, Fields};
    use crate::domain::versions::Versions;

    fn form() -> Form {
        let template = |text: &str| text.parse().unwrap();
        Form { channel: template("notifications:user:{userId}"), kind: template("order.{action}") }
    }

    fn event(user: Option<&str>) -> OrderEvent {
        OrderEvent {
            order: "order-\"7\"".into(),
            user: user.map(Into::into),
            action: Action::Paid,
            amount: Some("49.90".parse().unwrap()),
            replay_of: None,
            event_id: None,
            entry: Entry { id: EntryId::new(1_700_000_000_000, 3), fields: Fields::default() },
        }
    }

    #[test]
    fn a_notice_says_what_happened_and_where_the_order_stands() {
        let effect = Effect { user: "u".into(), state: State::Paid, version: 2, at_ms: 1_700_000_000_005 };
        let notice = Notice::of(&event(None), Some(&effect), 0).unwrap();
        assert_eq!(form().channel(&notice), "notifications:user:u");
        assert_eq!(
            form().text(&notice),
            "{\"type\":\"order.paid\",\"orderId\":\"order-\\\"7\\\"\",\"state\":\"paid\",\"amount\":\"49.90\",\
             \"entryId\":\"1700000000000-3\",\"version\":2,\"at\":\"2023-11-14T22:13:20.005Z\"}"
        );
        let mut versions = Versions::new(1);
        versions.note("order-\"7\"", 1);
        assert_eq!(versions.note_message(form().text(&notice).as_bytes()), None, "a listener understands it");
    }

    #[test]
    fn a_second_that_was_written_is_used_again_for_its_own_milliseconds_and_no_others() {
        let (mut stamp, mut kept) = (Stamp::default(), String::new());
        for at_ms in [1_700_000_000_000, 1_700_000_000_999, 1_700_000_001_001, 1_700_000_000_020, u64::MAX, 0] {
            let mut anew = String::new();
            Stamp::default().push(&mut anew, at_ms);
            kept.clear();
            stamp.push(&mut kept, at_ms);
            let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let expected = at.map_or("null".to_owned(), |at| format!("\"{at:.3}\""));
            assert_eq!([&kept, &anew], [&expected, &expected]);
        }
    }

    #[test]
    fn whatever_stands_in_a_template_the_message_stays_one_object_on_a_line() {
        let kind = "say \"{orderId}\"\\\n{action}".parse().unwrap();
        let notice = Notice::of(&event(Some("u")), None, 0).unwrap();
        let text = Form { kind, ..form() }.text(&notice);
        assert!(!text.contains('\n'), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["type"], "say \"order-\"7\"\"\\\npaid");
    }

    #[test]
    fn without_a_ledger_the_event_alone_speaks_and_without_a_user_there_is_nobody_to_tell() {
        let notice = Notice::of(&event(Some("u")), None, 1_700_000_000_000).unwrap();
        let text = form().text(&notice);
        assert!(text.contains("\"state\":null") && text.contains("\"version\":null"), "{text}");
        assert!(text.ends_with("\"at\":\"2023-11-14T22:13:20.000Z\"}"), "{text}");
        assert_eq!(Notice::of(&event(None), None, 0), None);
    }
}
