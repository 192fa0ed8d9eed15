//! Which life of the stream is meant, where an id was given out in several.
//!
//! Owns: that neither the ledger, nor a dead letter, nor a worker says it: what they say of the entry does, for the producer says nothing
//! twice.
//! Never: a judgement: what fits no life stays with the last one, and is found there to be something else than what was added.

use std::collections::HashMap;

use super::history::History;
use super::record::{Added, Id};

/// Names and values, as they stand in an entry.
type Fields = [(String, String)];

/// What the producer added under an id, in each life of the stream.
struct Lives<'a>(HashMap<Id, Vec<(u64, &'a Fields)>>);

/// Gives each row, each letter and each line of the witness its life.
pub(super) fn tell_apart(history: &mut History) {
    let lives = Lives::of(&history.added);
    for row in &mut history.applied {
        let (order, action, amount) = (&row.order, &row.action, row.amount.as_deref());
        row.entry = row.entry.in_life(lives.find(row.entry, |fields| says(fields, order, action, amount)));
    }
    for line in &mut history.witness {
        let (order, action, amount) = (&line.order, &line.action, line.amount.as_deref());
        line.entry = line.entry.in_life(lives.find(line.entry, |fields| says(fields, order, action, amount)));
    }
    for letter in &mut history.letters {
        if let Some(id) = letter.entry() {
            letter.life = lives.find(id, |fields| letter.fields.starts_with(fields));
        }
    }
}

/// Whether an entry with these fields can have become this event.
pub(super) fn says(fields: &Fields, order: &str, action: &str, amount: Option<&str>) -> bool {
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    field("orderId") == Some(order)
        && field("action") == Some(action)
        && amount.is_none_or(|amount| field("amount") == Some(amount))
}

impl<'a> Lives<'a> {
    fn of(added: &'a [Added]) -> Self {
        let mut lives: HashMap<Id, Vec<(u64, &Fields)>> = HashMap::new();
        for added in added {
            if let Some(id) = added.id {
                lives.entry(id.in_life(0)).or_default().push((id.life, &added.fields));
            }
        }
        Self(lives)
    }

    fn find(&self, id: Id, fits: impl Fn(&Fields) -> bool) -> u64 {
        let known = self.0.get(&id.in_life(0)).map_or(&[][..], Vec::as_slice);
        let found = known.iter().find(|(_, fields)| fits(fields)).or(known.last());
        found.map_or(0, |(life, _)| *life)
    }
}
