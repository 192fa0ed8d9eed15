//! The reply of `XREADGROUP` for one stream.
//!
//! Owns: taking it apart while it arrives, part by part, each part once however the bytes are cut. What comes of it shares the bytes
//! that were received: no text and no map for any field.
//! Never: the shapes of other replies; RESP3, which these connections never ask for.

use std::mem;
use std::sync::Arc;

use super::token::{self, Line, Malformed};
use crate::domain::entry::{Fields, Mark, Sheet};
use crate::domain::id::EntryId;

/// The most bytes of one reply. A mark reaches as far as 4 GiB.
const MAX_REPLY: usize = 2 * 1024 * 1024 * 1024;
/// A reply that fills less than this part of its buffer is copied out of it, so that a few events do not hold much memory.
const WORTH_KEEPING: usize = 4;

/// What a read was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Entries in the order of the stream; `None` in place of the fields of one that was deleted. May be empty.
    Entries(Vec<(EntryId, Option<Fields>)>),
    /// An error reply: its text.
    Error(String),
}

/// Takes answers apart, one after the other, from a buffer that fills.
#[derive(Debug, Default)]
pub struct Decoder {
    at: usize,
    stage: Stage,
    marks: Vec<Mark>,
    found: Vec<Found>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Beginning,
    /// The pair of a stream and its entries.
    Stream,
    Key,
    Entries,
    /// The pair of an id and its fields.
    Entry {
        left: u32,
    },
    Id {
        left: u32,
    },
    Fields {
        left: u32,
    },
    /// So many fields of this entry.
    Field {
        left: u32,
        fields: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Found {
    id: EntryId,
    first: u32,
    count: Option<u32>,
}

/// The end of an answer.
enum End {
    Entries,
    Error(String),
}

impl Decoder {
    /// Goes on with the answer at the beginning of `buffer`. `None` until all of it is there; then its bytes are taken out of the buffer,
    /// and the next call begins with the next answer. After an error, nothing more can be understood.
    pub fn advance(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Answer>, Malformed> {
        loop {
            let end = match self.step(buffer)? {
                Step::Further => continue,
                Step::Wait if buffer.len() > MAX_REPLY => return Err(Malformed),
                Step::Wait => return Ok(None),
                Step::End(end) => end,
            };
            let done = mem::take(self);
            return Ok(Some(match end {
                End::Error(text) => {
                    buffer.drain(..done.at);
                    Answer::Error(text)
                }
                End::Entries => Answer::Entries(done.entries(buffer)),
            }));
        }
    }

    /// Takes one part.
    fn step(&mut self, buffer: &[u8]) -> Result<Step, Malformed> {
        let at = self.at;
        match self.stage {
            Stage::Beginning => self.beginning(buffer),
            Stage::Stream => self.pair(buffer, Stage::Key),
            Stage::Key => {
                let Some((_, next)) = token::string(buffer, at)? else { return Ok(Step::Wait) };
                Ok(self.go_on(next, Stage::Entries))
            }
            Stage::Entries => {
                let Some((count, next)) = token::list(buffer, at)? else { return Ok(Step::Wait) };
                Ok(self.after_entry(next, count.ok_or(Malformed)?))
            }
            Stage::Entry { left } => self.pair(buffer, Stage::Id { left }),
            Stage::Id { left } => {
                let Some(((from, to), next)) = token::string(buffer, at)? else { return Ok(Step::Wait) };
                let id = buffer.get(from..to).and_then(EntryId::from_bytes).ok_or(Malformed)?;
                self.found.push(Found { id, first: offset(self.marks.len())?, count: None });
                Ok(self.go_on(next, Stage::Fields { left }))
            }
            Stage::Fields { left } => self.fields(buffer, left),
            Stage::Field { left, fields } => {
                let Some((name, behind)) = token::string(buffer, at)? else { return Ok(Step::Wait) };
                let Some((value, next)) = token::string(buffer, behind)? else { return Ok(Step::Wait) };
                let mark = |(from, to)| Ok((offset(from)?, offset(to)?));
                self.marks.push(Mark { name: mark(name)?, value: mark(value)? });
                if fields > 1 {
                    Ok(self.go_on(next, Stage::Field { left, fields: fields - 1 }))
                } else {
                    Ok(self.after_entry(next, left - 1))
                }
            }
        }
    }

    fn beginning(&mut self, buffer: &[u8]) -> Result<Step, Malformed> {
        match buffer.get(self.at) {
            None => Ok(Step::Wait),
            Some(b'-') => match token::line(buffer, self.at)? {
                Some((Line::Error(text), next)) => {
                    self.at = next;
                    Ok(Step::End(End::Error(String::from_utf8_lossy(text).into_owned())))
                }
                Some(_) => Err(Malformed),
                None => Ok(Step::Wait),
            },
            Some(_) => match token::list(buffer, self.at)? {
                Some((None, next)) => {
                    self.at = next;
                    Ok(Step::End(End::Entries))
                }
                Some((Some(1), next)) => Ok(self.go_on(next, Stage::Stream)),
                Some(_) => Err(Malformed),
                None => Ok(Step::Wait),
            },
        }
    }

    fn pair(&mut self, buffer: &[u8], then: Stage) -> Result<Step, Malformed> {
        match token::list(buffer, self.at)? {
            Some((Some(2), next)) => Ok(self.go_on(next, then)),
            Some(_) => Err(Malformed),
            None => Ok(Step::Wait),
        }
    }

    /// The head of the list of fields; there is none where the entry was deleted.
    fn fields(&mut self, buffer: &[u8], left: u32) -> Result<Step, Malformed> {
        match token::list(buffer, self.at)? {
            None => Ok(Step::Wait),
            Some((None, next)) => Ok(self.after_entry(next, left - 1)),
            Some((Some(parts), _)) if parts % 2 == 1 => Err(Malformed),
            Some((Some(parts), next)) => {
                if let Some(found) = self.found.last_mut() {
                    found.count = Some(parts / 2);
                }
                if parts == 0 {
                    Ok(self.after_entry(next, left - 1))
                } else {
                    Ok(self.go_on(next, Stage::Field { left, fields: parts / 2 }))
                }
            }
        }
    }

    fn after_entry(&mut self, next: usize, left: u32) -> Step {
        if left > 0 {
            return self.go_on(next, Stage::Entry { left });
        }
        self.at = next;
        Step::End(End::Entries)
    }

    fn go_on(&mut self, next: usize, stage: Stage) -> Step {
        (self.at, self.stage) = (next, stage);
        Step::Further
    }

    /// Takes the bytes of the answer out of `buffer`, and gives each entry its share.
    fn entries(self, buffer: &mut Vec<u8>) -> Vec<(EntryId, Option<Fields>)> {
        if self.found.is_empty() {
            buffer.drain(..self.at);
            return Vec::new();
        }
        let bytes = if self.at < buffer.capacity() / WORTH_KEEPING {
            buffer.drain(..self.at).collect()
        } else {
            let mut next = Vec::with_capacity(buffer.capacity());
            next.extend_from_slice(buffer.get(self.at..).unwrap_or_default());
            buffer.truncate(self.at);
            mem::replace(buffer, next)
        };
        let sheet: Arc<Sheet> = Sheet::new(bytes, self.marks);
        let fields = |found: &Found| found.count.map(|count| Fields::of(&sheet, found.first, count));
        self.found.iter().map(|found| (found.id, fields(found))).collect()
    }
}

/// What came of taking a part.
enum Step {
    Further,
    /// It is not there as a whole.
    Wait,
    End(End),
}

fn offset(at: usize) -> Result<u32, Malformed> {
    u32::try_from(at).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests;
