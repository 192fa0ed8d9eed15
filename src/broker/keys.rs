//! The keys of a stream and of what orderd keeps beside it.
//!
//! Owns: their names, all in the slot of the stream, so that a script may touch them together and producers need not change.
//! Never: a key outside of that slot.

use crate::domain::id::{GroupName, StreamKey};

/// The keys that belong to one stream and one group.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The stream itself.
    pub stream: StreamKey,
    /// The group that is worked for.
    pub group: GroupName,
    tagged: String,
}

impl Keys {
    /// The keys of `stream`, for `group`.
    pub fn new(stream: StreamKey, group: GroupName) -> Self {
        let tagged = if has_hash_tag(stream.as_str()) { stream.to_string() } else { format!("{{{stream}}}") };
        Self { stream, group, tagged }
    }

    /// What the keys beside the stream begin with: `{orders:events}:`.
    pub fn beside(&self) -> String {
        format!("{}:", self.tagged)
    }

    /// The stream of dead letters: `{orders:events}:dead`.
    pub fn dead(&self) -> String {
        format!("{}:dead", self.tagged)
    }

    /// The hash of retry records: `{orders:events}:retry:<group>`.
    pub fn retry(&self) -> String {
        format!("{}:retry:{}", self.tagged, self.group)
    }

    /// The lock on an instance's name: `{orders:events}:instance:<group>:<name>`.
    pub fn instance(&self, name: &str) -> String {
        format!("{}:instance:{}:{name}", self.tagged, self.group)
    }

    /// Counts how often entries were handed back: `{orders:events}:handed-back:<group>`.
    pub fn handed_back(&self) -> String {
        format!("{}:handed-back:{}", self.tagged, self.group)
    }

    /// The id below which this group has settled everything: `{orders:events}:watermark:<group>`.
    pub fn watermark(&self) -> String {
        format!("{}:watermark:{}", self.tagged, self.group)
    }

    /// How far the ledger of this group has come: `{orders:events}:ledger:<group>`.
    pub fn ledger(&self) -> String {
        format!("{}:ledger:{}", self.tagged, self.group)
    }
}

/// Whether the key has a hash tag of its own: something between its first `{` and the next `}` (Redis Cluster specification, "Hash tags").
fn has_hash_tag(key: &str) -> bool {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helper_keys_carry_the_whole_stream_name_as_their_tag() {
        let keys = Keys::new("orders:events".into(), "g".into());
        assert_eq!(keys.dead(), "{orders:events}:dead");
        assert_eq!(keys.instance("web-1"), "{orders:events}:instance:g:web-1");
    }

    #[test]
    fn a_stream_that_has_a_tag_keeps_it() {
        assert_eq!(Keys::new("{shop}:events".into(), "g".into()).dead(), "{shop}:events:dead");
    }
}
