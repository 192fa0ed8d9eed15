//! JSON: the fields of an object, as an entry would carry them, and a text in quotes.
//!
//! Owns: reading one flat object without losing a digit of a number or a repeated name; what has to be escaped in a text.
//! Never: a JSON library's own map, which keeps the last of two equal names, or its floats.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::entry::Field;

/// The text is not one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAnObject;

/// Names and values of the object in `text`, in order. Strings lose their quotes; numbers, lists and objects stay as they are
/// written; a `null` counts as not being there.
pub(crate) fn object_fields(text: &[u8]) -> Result<Vec<Field>, NotAnObject> {
    let Fields(fields) = serde_json::from_slice(text).map_err(|_| NotAnObject)?;
    Ok(fields)
}

/// Appends `text` in quotes.
pub(crate) fn push_text(to: &mut String, text: &str) {
    let from = to.len();
    to.push_str(text);
    quote_from(to, from);
}

/// Puts what stands in `text` behind `from` into quotes.
pub(crate) fn quote_from(text: &mut String, from: usize) {
    let behind = text.get(from..).unwrap_or_default();
    if behind.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // A text can always be written.
        let quoted = serde_json::to_string(behind).unwrap_or_default();
        text.truncate(from);
        text.push_str(&quoted);
    } else {
        text.insert(from, '"');
        text.push('"');
    }
}

struct Fields(Vec<Field>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let value = value.get();
            if value == "null" {
                continue;
            }
            let value = if value.starts_with('"') {
                serde_json::from_str::<String>(value).map_err(serde::de::Error::custom)?
            } else {
                value.to_owned()
            };
            fields.push((name.into_bytes(), value.into_bytes()));
        }
        Ok(Fields(fields))
    }
}
