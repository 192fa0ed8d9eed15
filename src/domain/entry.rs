//! An entry as it stands on the stream.
//!
//! Owns: the bytes, exactly as the producer wrote them: in order, duplicates too, whatever the encoding.
//! Never: meaning. What the fields say is `decode`'s business.

use super::id::EntryId;

/// Name and value of one field.
pub type Field = (Vec<u8>, Vec<u8>);

/// An entry of the stream, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Names and values in the producer's order.
    pub fields: Vec<Field>,
}

/// A field stands in the entry more than once, so nobody can say which of them is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

impl Entry {
    /// The value of the field `name`; `None` where there is no such field.
    pub fn field(&self, name: &[u8]) -> Result<Option<&[u8]>, Repeated> {
        let mut found = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_slice());
        let first = found.next();
        if found.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// The size of all names and values together, in bytes.
    pub fn size(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}
