//! An entry as it stands on the stream.
//!
//! Owns: the bytes, exactly as the producer wrote them: in order, duplicates too, whatever the encoding. The entries of one reply share
//! the bytes of that reply, so that taking one apart copies nothing.
//! Never: meaning. What the fields say is `decode`'s business.

use std::fmt;
use std::sync::Arc;

use super::id::EntryId;

/// Name and value of one field, on their own.
pub type Field = (Vec<u8>, Vec<u8>);

/// An entry of the stream, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Names and values in the producer's order.
    pub fields: Fields,
}

/// The fields of one entry, in order. Cheap to clone.
#[derive(Clone, Default)]
pub struct Fields {
    sheet: Arc<Sheet>,
    first: u32,
    count: u32,
}

/// Bytes, and where in them the fields of one or of many entries lie.
#[derive(Debug, Default)]
pub struct Sheet {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// Where one field lies in its sheet: the first byte, and the first one behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Of the name.
    pub name: (u32, u32),
    /// Of the value.
    pub value: (u32, u32),
}

/// A field stands in the entry more than once, so nobody can say which of them is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

impl Entry {
    /// The value of the field `name`; `None` where there is no such field.
    pub fn field(&self, name: &[u8]) -> Result<Option<&[u8]>, Repeated> {
        let mut found = self.fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| value);
        let first = found.next();
        if found.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// The size of all names and values together, in bytes.
    pub fn size(&self) -> usize {
        let length = |(from, to): (u32, u32)| to.saturating_sub(from) as usize;
        self.fields.marks().iter().map(|mark| length(mark.name) + length(mark.value)).sum()
    }

    /// The same entry with its bytes for itself: what is kept for long must not keep the reply that it came with.
    #[must_use]
    pub fn on_its_own(&self) -> Self {
        Self { id: self.id, fields: self.fields.iter().collect() }
    }
}

impl Fields {
    /// `count` fields of `sheet`, from number `first` on. What lies outside of it is empty.
    pub fn of(sheet: &Arc<Sheet>, first: u32, count: u32) -> Self {
        Self { sheet: Arc::clone(sheet), first, count }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.marks().iter().map(|mark| (self.sheet.part(mark.name), self.sheet.part(mark.value)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.marks().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn marks(&self) -> &[Mark] {
        let first = self.first as usize;
        self.sheet.marks.get(first..first + self.count as usize).unwrap_or_default()
    }
}

impl Sheet {
    /// A sheet of these bytes, with fields at these places.
    pub fn new(bytes: Vec<u8>, marks: Vec<Mark>) -> Arc<Self> {
        Arc::new(Self { bytes, marks })
    }

    fn part(&self, (from, to): (u32, u32)) -> &[u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }

    /// Writes one more part at the end. A sheet holds 4 GiB; what is more than that is left out.
    fn write(&mut self, part: &[u8]) -> (u32, u32) {
        let from = u32::try_from(self.bytes.len());
        let to = u32::try_from(self.bytes.len().saturating_add(part.len()));
        let (Ok(from), Ok(to)) = (from, to) else { return (0, 0) };
        self.bytes.extend_from_slice(part);
        (from, to)
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut sheet = Sheet::default();
        for (name, value) in fields {
            let mark = Mark { name: sheet.write(name.as_ref()), value: sheet.write(value.as_ref()) };
            sheet.marks.push(mark);
        }
        let count = u32::try_from(sheet.marks.len()).unwrap_or(u32::MAX);
        Self { sheet: Arc::new(sheet), first: 0, count }
    }
}

impl From<Vec<Field>> for Fields {
    fn from(fields: Vec<Field>) -> Self {
        fields.into_iter().collect()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_sheet_see_their_own_fields_and_are_the_same_on_their_own() {
        let bytes = b"action:paid;action:shipped".to_vec();
        let mark = |name, value| Mark { name, value };
        let sheet = Sheet::new(bytes, vec![mark((0, 6), (7, 11)), mark((12, 18), (19, 26))]);
        let first = Entry { id: EntryId::new(1, 0), fields: Fields::of(&sheet, 0, 1) };
        let second = Entry { id: EntryId::new(2, 0), fields: Fields::of(&sheet, 1, 1) };
        assert_eq!(first.field(b"action"), Ok(Some(b"paid".as_slice())));
        assert_eq!(second.field(b"action"), Ok(Some(b"shipped".as_slice())));
        assert_eq!(second.on_its_own(), second);
        assert_eq!(second.on_its_own().fields.sheet.bytes, b"actionshipped");
    }

    #[test]
    fn fields_keep_their_order_and_their_repetitions() {
        let fields = vec![(b"b".to_vec(), vec![0xff]), (b"a".to_vec(), vec![]), (b"b".to_vec(), b"2".to_vec())];
        let entry = Entry { id: EntryId::new(1, 0), fields: Fields::from(fields.clone()) };
        assert!(entry.fields.iter().eq(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))));
        assert_eq!((entry.size(), entry.field(b"b")), (5, Err(Repeated)));
    }
}
