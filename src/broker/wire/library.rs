//! Our reading of what a server sends, held against the client library's.
//!
//! Owns: what has to hold of any bytes: that it does not matter how they are cut, and that whatever we read, the library reads too. For
//! tests and for the fuzzer (`fuzz/`); no part of a release.
//! Never: a server. Limits that only megabytes reach; the tests of each part have those.

use redis::Value;

use super::batch::{Answer, Decoder};
use super::token::{self, Arriving, Line, Malformed};
use super::transaction::{self, Executed};
use crate::broker::error::BrokerError;
use crate::broker::reply;
use crate::domain::entry::{Field, Fields};
use crate::domain::id::EntryId;

/// What an entry of an answer holds; `None` in place of the fields of one that was deleted.
pub(in crate::broker) type Content = Vec<(EntryId, Option<Vec<Field>>)>;

const OPERATION: &str = "holding replies against the library";
/// Follows the bytes that the library reads, so that it shows where their end is.
const BEHIND: i64 = 77;
/// The library gives up on lists that lie deeper than a hundred.
const DEEP: usize = 90;

/// The two do not agree: on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The same bytes in other pieces gave another answer.
    #[error("it matters how the bytes are cut")]
    Cut,
    /// What was read is not what the library reads, or does not end there.
    #[error("the library reads it in another way")]
    Library,
    /// What was written as a server does was not read as what it is.
    #[error("what a server wrote is not read")]
    Written,
}

/// What came of bytes that arrived piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct Reading<T> {
    /// Each answer, and the first byte behind it.
    pub(in crate::broker) answers: Vec<(T, usize)>,
    /// How many bytes wait for more; or that they are no answer.
    pub(in crate::broker) waiting: Result<usize, Malformed>,
}

/// A line, on its own.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Error(String),
    Number(i64),
}

/// Reads `input` in both ways. Its first byte says what it is: `0` answers to a read, `1` lines, `2` answers of any kind, `3` what a server
/// is to write, `4` to `7` answers to transactions of no to three commands. The second one says how many sizes of pieces follow, a byte
/// each (with none, each byte comes alone); the rest is what arrives. Only the low bits of these count, so that digits say what they are.
pub fn agrees(input: &[u8]) -> Result<(), Disagreement> {
    let [kind, count, rest @ ..] = input else { return Ok(()) };
    let (sizes, bytes) = rest.split_at(usize::from(count & 7).min(rest.len()));
    match kind & 7 {
        0 => entries_agree(bytes, sizes),
        1 => lines_agree(bytes, sizes),
        2 => wholes_agree(bytes, sizes),
        3 => what_is_written_is_read(bytes, sizes),
        commands => transactions_agree(bytes, sizes, usize::from(commands - 4)),
    }
}

fn entries_agree(bytes: &[u8], sizes: &[u8]) -> Result<(), Disagreement> {
    let whole = entries(bytes, &[bytes.len()]);
    for (from, answer, to) in parts(&whole) {
        let part = bytes.get(from..to).unwrap_or_default();
        // The library wants each line to be text.
        let beyond_it = matches!(answer, Answer::Error(_)) && str::from_utf8(part).is_err();
        if !beyond_it && by_the_library(part).as_ref() != Some(answer) {
            return Err(Disagreement::Library);
        }
    }
    same(&whole, &entries(bytes, &widths(sizes)))
}

fn lines_agree(bytes: &[u8], sizes: &[u8]) -> Result<(), Disagreement> {
    let next =
        |buffer: &mut Vec<u8>| taken(buffer, |buffer| Ok(token::line(buffer, 0)?.map(|(line, end)| (said(line), end))));
    let whole = in_pieces(bytes, &[bytes.len()], next);
    for (from, line, to) in parts(&whole) {
        let part = bytes.get(from..to).unwrap_or_default();
        let read = values(part, 1).and_then(|mut values| said_by_the_library(values.pop()?));
        if str::from_utf8(part).is_ok() && read.as_ref() != Some(line) {
            return Err(Disagreement::Library);
        }
    }
    same(&whole, &in_pieces(bytes, &widths(sizes), next))
}

fn wholes_agree(bytes: &[u8], sizes: &[u8]) -> Result<(), Disagreement> {
    let next = |buffer: &mut Vec<u8>| taken(buffer, |buffer| token::whole(buffer, 0));
    let whole = in_pieces(bytes, &[bytes.len()], next);
    for (from, (), to) in parts(&whole) {
        let part = bytes.get(from..to).unwrap_or_default();
        let beyond_it = str::from_utf8(part).is_err() || part.split(|&byte| byte == b'*').count() > DEEP;
        if !beyond_it && values(part, 1).is_none() {
            return Err(Disagreement::Library);
        }
    }
    same(&whole, &in_pieces(bytes, &widths(sizes), next))
}

fn transactions_agree(bytes: &[u8], sizes: &[u8], commands: usize) -> Result<(), Disagreement> {
    let next = |buffer: &mut Vec<u8>| taken(buffer, |buffer| transaction::answer(OPERATION, buffer, commands));
    let whole = in_pieces(bytes, &[bytes.len()], next);
    for (from, executed, to) in parts(&whole) {
        let part = bytes.get(from..to).unwrap_or_default();
        if str::from_utf8(part).is_ok() && executed_by_the_library(part, commands).as_ref() != Some(executed) {
            return Err(Disagreement::Library);
        }
    }
    same(&whole, &in_pieces(bytes, &widths(sizes), next))
}

/// Two answers, made of `text`: entries end with `;`, names and values with `,`, and `-` is an entry that was deleted.
fn what_is_written_is_read(text: &[u8], sizes: &[u8]) -> Result<(), Disagreement> {
    let entry = |(ms, text): (u64, &[u8])| {
        let parts: Vec<&[u8]> = text.split(|&byte| byte == b',').collect();
        let fields = parts.chunks_exact(2).filter_map(|pair| Some((pair.first()?.to_vec(), pair.last()?.to_vec())));
        (EntryId::new(ms, text.len() as u64), (text != b"-").then(|| fields.collect()))
    };
    let content: Content = (1..).zip(text.split(|&byte| byte == b';')).map(entry).collect();
    let bytes = written(&content);
    let fields = content.into_iter().map(|(id, fields)| (id, fields.map(Fields::from)));
    let answer = Answer::Entries(fields.collect());
    let answers = vec![(answer.clone(), bytes.len()), (answer, bytes.len() * 2)];
    let read = entries(&bytes.repeat(2), &widths(sizes));
    if read == (Reading { answers, waiting: Ok(0) }) { Ok(()) } else { Err(Disagreement::Written) }
}

/// What comes of bytes that arrive in pieces of these sizes, over and over, as answers to reads.
pub(in crate::broker) fn entries(bytes: &[u8], sizes: &[usize]) -> Reading<Answer> {
    let mut decoder = Decoder::default();
    in_pieces(bytes, sizes, |buffer| decoder.advance(buffer))
}

fn in_pieces<T>(
    bytes: &[u8],
    sizes: &[usize],
    mut next: impl FnMut(&mut Vec<u8>) -> Result<Option<T>, Malformed>,
) -> Reading<T> {
    let (mut buffer, mut answers, mut rest) = (Vec::with_capacity(64), Vec::new(), bytes);
    for &size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at(size.max(1).min(rest.len()));
        rest = behind;
        buffer.extend_from_slice(piece);
        while !buffer.is_empty() {
            match next(&mut buffer) {
                Ok(Some(answer)) => answers.push((answer, bytes.len() - rest.len() - buffer.len())),
                Ok(None) => break,
                Err(malformed) => return Reading { answers, waiting: Err(malformed) },
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    Reading { answers, waiting: Ok(buffer.len()) }
}

/// Takes the bytes of an answer out of the buffer, once all of it is there.
fn taken<T>(buffer: &mut Vec<u8>, read: impl Fn(&[u8]) -> Arriving<T>) -> Result<Option<T>, Malformed> {
    let Some((answer, end)) = read(buffer)? else { return Ok(None) };
    buffer.drain(..end);
    Ok(Some(answer))
}

/// Each answer between its first byte and the first one behind it.
fn parts<T>(reading: &Reading<T>) -> impl Iterator<Item = (usize, &T, usize)> {
    let begins = std::iter::once(0).chain(reading.answers.iter().map(|(_, end)| *end));
    begins.zip(&reading.answers).map(|(from, (answer, to))| (from, answer, *to))
}

fn same<T: PartialEq>(whole: &Reading<T>, cut: &Reading<T>) -> Result<(), Disagreement> {
    if whole == cut { Ok(()) } else { Err(Disagreement::Cut) }
}

fn widths(sizes: &[u8]) -> Vec<usize> {
    if sizes.is_empty() { vec![1] } else { sizes.iter().map(|size| usize::from(size & 15)).collect() }
}

/// The bytes of an answer, as a server sends them.
pub(in crate::broker) fn written(content: &Content) -> Vec<u8> {
    if content.is_empty() {
        return b"*-1\r\n".to_vec();
    }
    let mut bytes = b"*1\r\n*2\r\n$13\r\norders:events\r\n".to_vec();
    bytes.extend_from_slice(format!("*{}\r\n", content.len()).as_bytes());
    for (id, fields) in content {
        bytes.extend_from_slice(b"*2\r\n");
        string(&mut bytes, id.to_string().as_bytes());
        let Some(fields) = fields else {
            bytes.extend_from_slice(b"*-1\r\n");
            continue;
        };
        bytes.extend_from_slice(format!("*{}\r\n", fields.len() * 2).as_bytes());
        for (name, value) in fields {
            string(&mut bytes, name);
            string(&mut bytes, value);
        }
    }
    bytes
}

fn string(into: &mut Vec<u8>, text: &[u8]) {
    into.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    into.extend_from_slice(text);
    into.extend_from_slice(b"\r\n");
}

/// What the client library makes of the same bytes; `None` where they are not one answer to a read.
pub(in crate::broker) fn by_the_library(bytes: &[u8]) -> Option<Answer> {
    let entries = match values(bytes, 1)?.pop()? {
        Value::Nil => return Some(Answer::Entries(Vec::new())),
        Value::ServerError(error) => return Some(Answer::Error(words(&error))),
        Value::Array(streams) => {
            let [stream]: [Value; 1] = streams.try_into().ok()?;
            let [_, entries]: [Value; 2] = reply::array(stream)?.try_into().ok()?;
            reply::entries(entries)?
        }
        _ => return None,
    };
    Some(Answer::Entries(entries.into_iter().map(|(id, fields)| (id, fields.map(Fields::from))).collect()))
}

/// The same for the answers to `MULTI`, so many commands, and `EXEC`.
fn executed_by_the_library(bytes: &[u8], commands: usize) -> Option<Executed> {
    let failed = |text: &str| BrokerError::said(OPERATION, text);
    let mut lines = values(bytes, commands + 2)?;
    let last = lines.pop()?;
    let mut refused = None;
    for line in lines {
        match said_by_the_library(line)? {
            Said::Text(_) => {}
            Said::Error(text) => refused = refused.or_else(|| Some(failed(&text))),
            Said::Number(_) => return None,
        }
    }
    let answers = match last {
        Value::ServerError(error) => return Some(Err(refused.unwrap_or_else(|| failed(&words(&error))))),
        Value::Array(answers) if refused.is_none() && answers.len() == commands => answers,
        _ => return None,
    };
    let number = |answer| match said_by_the_library(answer)? {
        Said::Number(number) => Some(Ok(number)),
        Said::Error(text) => Some(Err(failed(&text))),
        Said::Text(_) => None,
    };
    Some(Ok(answers.into_iter().map(number).collect::<Option<_>>()?))
}

/// `bytes` as so many values; `None` where they are more, fewer, or none.
fn values(bytes: &[u8], count: usize) -> Option<Vec<Value>> {
    let mut list = format!("*{}\r\n", count + 1).into_bytes();
    list.extend_from_slice(bytes);
    list.extend_from_slice(format!(":{BEHIND}\r\n").as_bytes());
    let mut values = reply::array(redis::parse_redis_value(&list).ok()?)?;
    (values.pop()? == Value::Int(BEHIND)).then_some(values)
}

fn said(line: Line<'_>) -> Said {
    let text = |text| String::from_utf8_lossy(text).into_owned();
    match line {
        Line::Text(bytes) => Said::Text(text(bytes)),
        Line::Error(bytes) => Said::Error(text(bytes)),
        Line::Number(number) => Said::Number(number),
    }
}

fn said_by_the_library(value: Value) -> Option<Said> {
    match value {
        Value::Okay => Some(Said::Text("OK".to_owned())),
        Value::SimpleString(text) => Some(Said::Text(text)),
        Value::ServerError(error) => Some(Said::Error(words(&error))),
        Value::Int(number) => Some(Said::Number(number)),
        _ => None,
    }
}

fn words(error: &redis::ServerError) -> String {
    [Some(error.code()), error.details()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_the_fuzzer_begins_with_is_of_every_kind_and_agreed_on() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/decoder");
        let mut kinds = BTreeSet::new();
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let input = fs::read(&path).unwrap();
            assert_eq!(agrees(&input), Ok(()), "{}", path.display());
            kinds.insert(input[0] & 7);
            // Where somebody mended the ends of the lines, nothing would be read.
            if path.ends_with("entries") {
                assert_eq!(entries(&input[4..], &[1]).answers.len(), 1);
            }
        }
        assert!(kinds.is_superset(&BTreeSet::from([0, 1, 2, 3, 4, 6])), "{kinds:?}");
    }
}
