//! An order event that is about to be added to the stream.
//!
//! Owns: how an event is written down as the fields of an entry, under the names that the configuration gives them.
//! Never: whether the event makes sense; a producer may well add nonsense, and so may the one who tests what happens then.

use crate::domain::decode::FieldNames;
use crate::domain::entry::Field;

/// An event in the words of a producer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// What happened.
    pub action: String,
    /// To which order.
    pub order: String,
    /// How much money it is about.
    pub amount: Option<String>,
    /// Whose order it is.
    pub user: Option<String>,
    /// Further fields, in order.
    pub extra: Vec<(String, String)>,
}

impl Draft {
    /// The fields of the entry that carries this event: one for each part, or one JSON object where `names` asks for that.
    pub fn fields(&self, names: &FieldNames) -> Vec<Field> {
        let parts = self.parts(names);
        match &names.json {
            Some(json_field) => vec![field(json_field, &object(&parts))],
            None => parts.into_iter().map(|(name, value)| field(name, value)).collect(),
        }
    }

    fn parts<'a>(&'a self, names: &'a FieldNames) -> Vec<(&'a str, &'a str)> {
        let mut parts = vec![(names.action.as_str(), self.action.as_str()), (&names.order, &self.order)];
        parts.extend(self.amount.as_deref().map(|amount| (names.amount.as_str(), amount)));
        parts.extend(self.user.as_deref().map(|user| (names.user.as_str(), user)));
        parts.extend(self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        parts
    }
}

fn field(name: &str, value: &str) -> Field {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

/// Written by hand, name by name: a map would lose the order and one of two equal names.
fn object(parts: &[(&str, &str)]) -> String {
    let text = |part: &str| serde_json::Value::from(part).to_string();
    let members: Vec<String> = parts.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decode::decode;
    use crate::domain::entry::Entry;
    use crate::domain::event::Action;
    use crate::domain::id::EntryId;

    fn names(json: Option<&str>) -> FieldNames {
        FieldNames {
            action: "what".into(),
            order: "which".into(),
            amount: "money".into(),
            user: "who".into(),
            event_id: None,
            json: json.map(Into::into),
        }
    }

    fn draft() -> Draft {
        Draft {
            action: "created".into(),
            order: "order \"7\"\n".into(),
            amount: Some("49.90".into()),
            user: Some("usér".into()),
            extra: vec![("coupon".into(), "SPRING".into()), ("coupon".into(), "AUTUMN".into())],
        }
    }

    #[test]
    fn what_is_written_down_is_read_back_under_the_configured_names() {
        for names in [names(None), names(Some("data"))] {
            let event =
                decode(Entry { id: EntryId::new(1, 0), fields: draft().fields(&names).into() }, &names).unwrap();
            assert_eq!(event.action, Action::Created);
            assert_eq!(event.order.as_str(), "order \"7\"\n");
            assert_eq!(event.amount.unwrap().to_string(), "49.90");
            assert_eq!(event.user.unwrap().as_str(), "usér");
        }
    }

    #[test]
    fn further_fields_are_kept_in_order_and_as_often_as_they_were_given() {
        let fields = draft().fields(&names(None));
        let last = |n: usize| String::from_utf8(fields[fields.len() - n].1.clone()).unwrap();
        assert_eq!((fields.len(), last(2), last(1)), (6, "SPRING".into(), "AUTUMN".into()));

        let json = draft().fields(&names(Some("data")));
        assert_eq!(json.len(), 1);
        let text = String::from_utf8(json[0].1.clone()).unwrap();
        assert!(text.ends_with(r#""coupon":"SPRING","coupon":"AUTUMN"}"#), "{text}");
    }

    #[test]
    fn what_was_not_given_is_not_written() {
        let shipped = Draft { action: "shipped".into(), order: "o".into(), ..Draft::default() };
        let fields = shipped.fields(&names(None));
        assert_eq!(fields, [field("what", "shipped"), field("which", "o")]);
    }
}
