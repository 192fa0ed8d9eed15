//! Versions of orders, as somebody hears of them.
//!
//! Owns: seeing that a version was skipped, for as many orders as are worth remembering.
//! Never: a claim about an order that was not heard of before.

use std::collections::HashMap;
use std::mem;
use std::ops::RangeInclusive;

use super::json::object_fields;

/// Remembers the last version that was heard of each order.
///
/// The orders heard of longest ago are forgotten: at most twice as many are kept as were asked for.
#[derive(Debug)]
pub struct Versions {
    size: usize,
    recent: HashMap<String, u64>,
    before: HashMap<String, u64>,
}

/// Some versions of an order were not heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The order.
    pub order: String,
    /// The versions.
    pub versions: RangeInclusive<u64>,
}

impl Versions {
    /// Remembers at least the `size` orders that were heard of last.
    pub fn new(size: usize) -> Self {
        Self { size: size.max(1), recent: HashMap::new(), before: HashMap::new() }
    }

    /// Takes note of a message, and says which versions were skipped before it. A message without order and version says nothing.
    pub fn note_message(&mut self, payload: &[u8]) -> Option<Skipped> {
        let fields = object_fields(payload).ok()?;
        let value = |name: &str| {
            let (_, value) = fields.iter().find(|(field, _)| field == name.as_bytes())?;
            std::str::from_utf8(value).ok()
        };
        self.note(value("orderId")?, value("version")?.parse().ok()?)
    }

    /// Takes note of a version, and says which were skipped before it.
    pub fn note(&mut self, order: &str, version: u64) -> Option<Skipped> {
        let known = self.recent.get(order).or_else(|| self.before.get(order)).copied();
        let newest = known.map_or(version, |known| known.max(version));
        if self.recent.len() >= self.size && !self.recent.contains_key(order) {
            self.before = mem::take(&mut self.recent);
        }
        self.recent.insert(order.to_owned(), newest);
        let first = known?.checked_add(1)?;
        (first < version).then(|| Skipped { order: order.to_owned(), versions: first..=version - 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_named_and_what_comes_late_or_twice_is_not() {
        let mut versions = Versions::new(10);
        assert_eq!(versions.note("a", 3), None, "nobody knows what was before");
        assert_eq!(versions.note("a", 4), None);
        assert_eq!(versions.note("b", 1), None);
        let skipped = Skipped { order: "a".to_owned(), versions: 5..=6 };
        assert_eq!(versions.note("a", 7), Some(skipped));
        assert_eq!(versions.note("a", 5), None, "it came late");
        assert_eq!(versions.note("a", 8), None, "the late one has not set it back");
    }

    #[test]
    fn a_message_is_understood_where_it_names_order_and_version() {
        let mut versions = Versions::new(10);
        assert_eq!(versions.note_message(br#"{"type":"order.created","orderId":"a","version":1}"#), None);
        let skipped = versions.note_message(br#"{"orderId":"a","version":3}"#);
        assert_eq!(skipped.map(|skipped| skipped.versions), Some(2..=2));
        for other in [&b"hello"[..], b"{}", br#"{"orderId":"a","version":null}"#, br#"{"orderId":"a","version":"x"}"#] {
            assert_eq!(versions.note_message(other), None);
        }
    }

    #[test]
    fn memory_is_bounded_and_the_latest_orders_are_kept() {
        let mut versions = Versions::new(100);
        for order in 0..10_000 {
            versions.note(&order.to_string(), 1);
        }
        assert!(versions.recent.len() + versions.before.len() <= 200);
        assert!(versions.note("9950", 3).is_some());
        assert!(versions.note("1", 3).is_none(), "it was forgotten");
    }
}
