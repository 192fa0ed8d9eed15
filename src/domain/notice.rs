//! A notice: what is told of an event once it is settled.
//!
//! Owns: what it says, and its form, the same whether it is told live or read from the ledger later.
//! Never: when it may be told (only a receipt from settling allows that).

use std::fmt::Write as _;

use jiff::Timestamp;

use super::event::{Action, Amount, OrderEvent};
use super::id::{EntryId, OrderId, UserId};
use super::json::push_text;
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
        fill(&self.channel, notice)
    }

    /// `notice` as a JSON object on one line.
    pub fn text(&self, notice: &Notice) -> String {
        let mut text = String::with_capacity(200);
        text.push_str("{\"type\":");
        push_text(&mut text, &fill(&self.kind, notice));
        text.push_str(",\"orderId\":");
        push_text(&mut text, notice.order.as_str());
        // Writing to a `String` does not fail.
        let _ = match notice.standing {
            Some((state, _)) => write!(text, ",\"state\":\"{state}\""),
            None => write!(text, ",\"state\":null"),
        };
        let _ = match notice.amount {
            Some(amount) => write!(text, ",\"amount\":\"{amount}\""),
            None => write!(text, ",\"amount\":null"),
        };
        let _ = write!(text, ",\"entryId\":\"{}\"", notice.entry);
        let _ = match notice.standing {
            Some((_, version)) => write!(text, ",\"version\":{version}"),
            None => write!(text, ",\"version\":null"),
        };
        let at = i64::try_from(notice.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let _ = match at {
            Some(at) => write!(text, ",\"at\":\"{at:.3}\"}}"),
            None => write!(text, ",\"at\":null}}"),
        };
        text
    }
}

fn fill(template: &Template, notice: &Notice) -> String {
    template.fill(|place| match place {
        Place::User => notice.user.as_str(),
        Place::Order => notice.order.as_str(),
        Place::Action => notice.action.as_str(),
        Place::State => notice.standing.map_or("unknown", |(state, _)| state.as_str()),
    })
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
    fn without_a_ledger_the_event_alone_speaks_and_without_a_user_there_is_nobody_to_tell() {
        let notice = Notice::of(&event(Some("u")), None, 1_700_000_000_000).unwrap();
        let text = form().text(&notice);
        assert!(text.contains("\"state\":null") && text.contains("\"version\":null"), "{text}");
        assert!(text.ends_with("\"at\":\"2023-11-14T22:13:20.000Z\"}"), "{text}");
        assert_eq!(Notice::of(&event(None), None, 0), None);
    }
}
