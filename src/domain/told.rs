//! What reaches those who watch: a notice as it came over Pub/Sub, or the word that some were missed.
//!
//! Owns: telling a notice from whatever else somebody published there.
//! Never: a notice of another user passed on.

use super::id::{EntryId, UserId};
use super::json::object_fields;
use super::template::Template;

/// What reaches those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A notice for a user.
    Notice {
        /// The user.
        user: UserId,
        /// The entry that it is about.
        entry: EntryId,
        /// The notice, on one line.
        text: String,
    },
    /// Notices since this time, in milliseconds since the Unix epoch, may have been missed.
    Missed {
        /// The time.
        since_ms: u64,
    },
}

impl Told {
    /// A notice that was published on `channel`, whose names are made from `template`; `None` for anything else.
    pub fn notice(template: &Template, channel: &str, payload: &[u8]) -> Option<Self> {
        let user = template.user_in(channel)?;
        let text = std::str::from_utf8(payload).ok().filter(|text| !text.contains(['\n', '\r']))?;
        let fields = object_fields(payload).ok()?;
        let (_, entry) = fields.iter().find(|(name, _)| name == b"entryId")?;
        Some(Self::Notice { user: user.into(), entry: EntryId::from_bytes(entry)?, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_notice_of_a_user_is_left_alone() {
        let template: Template = "notifications:user:{userId}".parse().unwrap();
        let told = |channel, payload: &str| Told::notice(&template, channel, payload.as_bytes());
        let notice = r#"{"type":"order.paid","entryId":"5-1"}"#;
        let expected = Told::Notice { user: "u".into(), entry: EntryId::new(5, 1), text: notice.to_owned() };
        assert_eq!(told("notifications:user:u", notice), Some(expected));
        assert_eq!(told("other:u", notice), None);
        for other in ["hello", "{}", r#"{"entryId":5}"#, "{\n\"entryId\":\"5-1\"}"] {
            assert_eq!(told("notifications:user:u", other), None, "{other}");
        }
    }
}
