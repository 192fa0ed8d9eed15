//! Names and ids.
//!
//! Owns: the id of an entry and its order, and a type for each kind of name, so that a group cannot be passed as a stream.
//! Never: checks against a server; a name that is well-formed here may still not exist there.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

/// The id of a stream entry: milliseconds and a sequence number, ordered as Redis orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// Milliseconds since the Unix epoch, by the clock of the server that gave the id.
    pub ms: u64,
    /// Counts the entries of one millisecond, from 0.
    pub seq: u64,
}

impl EntryId {
    /// Below every entry: `0-0` is never given to one.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The largest id there can be.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id `ms-seq`.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The smallest id above this one; `None` after [`EntryId::MAX`].
    pub const fn next(self) -> Option<Self> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(Self { ms: self.ms, seq }),
            (None, Some(ms)) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// Reads `ms-seq` from the bytes of a reply.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ms, behind) = number(bytes)?;
        let (seq, rest) = number(behind.strip_prefix(b"-")?)?;
        rest.is_empty().then_some(Self { ms, seq })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The text was not `<milliseconds>-<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry id is two whole numbers with a dash between them, such as 1700000000000-0")]
pub struct BadEntryId;

impl FromStr for EntryId {
    type Err = BadEntryId;

    fn from_str(text: &str) -> Result<Self, BadEntryId> {
        Self::from_bytes(text.as_bytes()).ok_or(BadEntryId)
    }
}

/// The whole number that `bytes` begin with, and what stands behind it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number: u64 = 0;
    let mut length = 0;
    for byte in bytes.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        length += 1;
    }
    if length == 0 { None } else { Some((number, bytes.get(length..)?)) }
}

/// Makes a type for one kind of name: cheap to clone, ordered, printed as it is. A short one, as nearly all are, takes no memory besides.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The key of the stream, such as `orders:events`.
    StreamKey
}
name! {
    /// The name of a consumer group, such as `order-processors`.
    GroupName
}
name! {
    /// The name of one consumer in the group: `<instance>-<index>`.
    ConsumerName
}
name! {
    /// Which order an event is about. Never empty.
    OrderId
}
name! {
    /// Whose order it is.
    UserId
}
name! {
    /// What the producer calls an event, the same however often it is published. Never empty.
    EventId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_milliseconds_and_then_by_sequence() {
        let mut ids: Vec<EntryId> =
            ["10-0", "9-5", "10-1", "9-18446744073709551615"].map(|t| t.parse().unwrap()).to_vec();
        ids.sort();
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["9-5", "9-18446744073709551615", "10-0", "10-1"]);
    }

    #[test]
    fn next_carries_into_the_milliseconds_and_ends_at_the_largest_id() {
        assert_eq!(EntryId::new(5, 1).next(), Some(EntryId::new(5, 2)));
        assert_eq!(EntryId::new(5, u64::MAX).next(), Some(EntryId::new(6, 0)));
        assert_eq!(EntryId::MAX.next(), None);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "5", "5-", "-5", "a-1", "+5-1", "5-1-2", "18446744073709551616-0"] {
            assert_eq!(text.parse::<EntryId>(), Err(BadEntryId), "{text:?}");
        }
    }
}
