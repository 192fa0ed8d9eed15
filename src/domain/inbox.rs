//! The inbox: what an entry is known by once it was applied.
//!
//! Owns: the digest of an entry, and the rule that tells an entry that is delivered again from one that merely has the same id.
//! Never: how the inbox is stored.
//!
//! An id alone is not a name. After a `DEL`, or a failover to a server that lags behind, a stream gives out ids again, for other
//! entries. So the inbox remembers a digest of the fields beside each id, and numbers the lives of a stream: its *generations*.

use super::entry::Fields;
use super::replay::REPLAY_OF;

/// A number made of the names and values of an entry, in their order: FNV-1a of 64 bits over each text, its length before it as
/// eight bytes, the lowest first. It is stored, so it must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u64);

/// Where an entry belongs in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It stands there already.
    Known,
    /// It is new, in the present generation.
    New(u64),
    /// It is new, and so is its generation: an entry of the present one had the same id and other fields.
    Restarted(u64),
}

impl Digest {
    /// The digest of these fields.
    pub fn of(fields: &Fields) -> Self {
        let originals = fields.iter().filter(|(name, _)| *name != REPLAY_OF.as_bytes());
        Self(originals.fold(OFFSET, |hash, (name, value)| mix_text(mix_text(hash, name), value)))
    }

    /// The number itself.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl From<u64> for Digest {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Where an entry with this `digest` belongs. `same_id` are the entries of its source that had the same id: the generation of each,
/// and its digest where that is known. `present` is the generation that the source is in.
pub fn place(same_id: &[(u64, Option<Digest>)], digest: Digest, present: u64) -> Place {
    // Of an entry whose digest nobody noted, the id is all there is to know it by.
    if same_id.iter().any(|(_, known)| known.is_none_or(|known| known == digest)) {
        return Place::Known;
    }
    match same_id.iter().map(|(generation, _)| *generation).max() {
        Some(latest) if latest >= present => Place::Restarted(latest + 1),
        _ => Place::New(present),
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

fn mix_text(hash: u64, text: &[u8]) -> u64 {
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    mix(mix(hash, &length.to_le_bytes()), text)
}

fn mix(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(fields: &[(&str, &str)]) -> Digest {
        Digest::of(&fields.iter().copied().collect())
    }

    #[test]
    fn the_digest_is_what_it_was_when_the_first_ledger_was_written() {
        // FNV's own test vectors, without the lengths.
        assert_eq!(mix(OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(mix(OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(digest(&[]).number(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(&[("action", "paid"), ("amount", "49.99")]).number(), 0x4ae4_944b_8db7_a13d);
    }

    #[test]
    fn every_byte_of_an_entry_counts_and_so_does_where_it_stands() {
        let different = [
            digest(&[("a", "bc"), ("d", "e")]),
            digest(&[("ab", "c"), ("d", "e")]),
            digest(&[("d", "e"), ("a", "bc")]),
            digest(&[("a", "bc"), ("d", "e"), ("d", "e")]),
            digest(&[("a", "bc"), ("d", "e"), ("", "")]),
            digest(&[("a", "bc"), ("d", "f")]),
        ];
        for (later, one) in different.iter().enumerate() {
            assert!(!different[..later].contains(one), "{later}");
        }
    }

    #[test]
    fn a_replayed_entry_has_the_digest_of_its_original() {
        let original = digest(&[("action", "paid"), ("orderId", "o")]);
        assert_eq!(digest(&[("action", "paid"), ("orderId", "o"), ("_replay_of", "1-0")]), original);
    }

    #[test]
    fn an_entry_is_known_by_its_id_and_its_fields_in_whichever_generation() {
        let [a, b, c] = [1, 2, 3].map(Digest::from);
        assert_eq!(place(&[], a, 0), Place::New(0));
        assert_eq!(place(&[], a, 4), Place::New(4));
        assert_eq!(place(&[(0, Some(a))], a, 0), Place::Known);
        assert_eq!(place(&[(0, Some(a))], b, 0), Place::Restarted(1));
        // In a generation that has begun, the ids of the one before come again one by one.
        assert_eq!(place(&[(0, Some(a))], b, 1), Place::New(1));
        assert_eq!(place(&[(0, Some(a)), (1, Some(b))], a, 1), Place::Known);
        assert_eq!(place(&[(0, Some(a)), (1, Some(b))], b, 1), Place::Known);
        assert_eq!(place(&[(0, Some(a)), (1, Some(b))], c, 1), Place::Restarted(2));
        assert_eq!(place(&[(0, None)], a, 0), Place::Known, "noted by an orderd that knew no digests");
    }
}
