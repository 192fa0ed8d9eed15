//! Replies, taken apart value by value.
//!
//! Owns: the shapes that Redis answers in, for RESP2 and RESP3, and the odd cases of each (an entry without fields is gone).
//! Never: the library's typed stream reply, which fails a whole batch on one field name that is no text and keeps the last of two
//! equal fields.

use redis::Value;

use crate::domain::entry::Field;
use crate::domain::id::EntryId;

/// One entry of a reply; `None` in place of the fields when it was deleted.
pub(super) type Listed = (EntryId, Option<Vec<Field>>);

/// The entries of a plain list, as `XRANGE` answers.
pub(super) fn entries(list: Value) -> Option<Vec<Listed>> {
    array(list)?.into_iter().map(listed).collect()
}

fn listed(entry: Value) -> Option<Listed> {
    let mut parts = array(entry)?.into_iter();
    let id = entry_id(&parts.next()?)?;
    match parts.next()? {
        Value::Nil => Some((id, None)),
        fields => Some((id, Some(self::fields(fields)?))),
    }
}

/// Names and values in a flat list, byte for byte.
pub(super) fn fields(list: Value) -> Option<Vec<Field>> {
    let list = array(list)?;
    let mut fields = Vec::with_capacity(list.len() / 2);
    let mut list = list.into_iter();
    while let Some(name) = list.next() {
        fields.push((bytes(name)?, bytes(list.next()?)?));
    }
    Some(fields)
}

/// The pairs of a reply that is a map in RESP3 and a flat list in RESP2; empty for any other shape.
pub(super) fn pairs(reply: Value) -> impl Iterator<Item = (String, Value)> {
    let pairs = match reply {
        Value::Map(pairs) => pairs,
        Value::Array(list) => {
            let mut list = list.into_iter();
            std::iter::from_fn(|| Some((list.next()?, list.next()?))).collect()
        }
        _ => Vec::new(),
    };
    pairs.into_iter().filter_map(|(name, value)| Some((text(name)?, value)))
}

pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

pub(super) fn entry_id(value: &Value) -> Option<EntryId> {
    match value {
        Value::BulkString(bytes) => EntryId::from_bytes(bytes),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    #[test]
    fn an_entry_without_fields_is_gone_and_its_neighbours_are_not() {
        let gone = Value::Array(vec![bulk(b"1-0"), Value::Nil]);
        let odd =
            Value::Array(vec![bulk(b"2-0"), Value::Array(vec![bulk(&[0xff]), bulk(b""), bulk(&[0xff]), bulk(b"x")])]);
        let listed = entries(Value::Array(vec![gone, odd])).unwrap();
        assert_eq!(listed[0], (EntryId::new(1, 0), None));
        let fields = listed[1].1.as_ref().unwrap();
        assert_eq!(fields, &[(vec![0xff], vec![]), (vec![0xff], b"x".to_vec())]);
        assert_eq!(entries(Value::Int(1)), None);
    }
}
