//! Answers taken apart, held against the client library.
//!
//! Owns: bytes as a server sends them, cut at every place and damaged at any.
//! Never: a server.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use redis::Value;

use super::*;
use crate::broker::reply;

type Content = Vec<(EntryId, Option<Vec<(Vec<u8>, Vec<u8>)>>)>;

fn string(into: &mut Vec<u8>, text: &[u8]) {
    into.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    into.extend_from_slice(text);
    into.extend_from_slice(b"\r\n");
}

/// The bytes of an answer, as a server sends them.
fn written(content: &Content) -> Vec<u8> {
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

/// What the client library makes of the same bytes; `None` where it is no answer to a read.
fn by_the_library(bytes: &[u8]) -> Option<Answer> {
    let entries = match redis::parse_redis_value(bytes).ok()? {
        Value::Nil => return Some(Answer::Entries(Vec::new())),
        Value::ServerError(error) => {
            let text = [Some(error.code()), error.details()].into_iter().flatten().collect::<Vec<_>>().join(" ");
            return Some(Answer::Error(text));
        }
        Value::Array(streams) => {
            let [stream]: [Value; 1] = streams.try_into().ok()?;
            let [_, entries]: [Value; 2] = reply::array(stream)?.try_into().ok()?;
            reply::entries(entries)?
        }
        _ => return None,
    };
    Some(Answer::Entries(entries.into_iter().map(|(id, fields)| (id, fields.map(Fields::from))).collect()))
}

/// What comes of bytes that arrive in pieces of these sizes, and what is left of them.
fn in_pieces(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> Result<(Vec<Answer>, Vec<u8>), Malformed> {
    let (mut decoder, mut buffer, mut answers) = (Decoder::default(), Vec::with_capacity(64), Vec::new());
    let mut rest = bytes;
    for size in sizes {
        let (piece, behind) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        rest = behind;
        buffer.extend_from_slice(piece);
        while !buffer.is_empty()
            && let Some(answer) = decoder.advance(&mut buffer)?
        {
            answers.push(answer);
        }
        if rest.is_empty() {
            break;
        }
    }
    Ok((answers, buffer))
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = || vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..12);
    let fields = vec((bytes(), bytes()), 0..5);
    let entry = ((any::<u64>(), 0..3_u64).prop_map(|(ms, seq)| EntryId::new(ms, seq)), option::weighted(0.9, fields));
    vec(entry, 0..6)
}

proptest! {
    #[test]
    fn whatever_a_server_sends_is_read_as_the_library_reads_it_however_it_is_cut(
        contents in vec(content(), 1..4),
        sizes in vec(1..40_usize, 1..8),
    ) {
        let bytes: Vec<u8> = contents.iter().flat_map(written).collect();
        let expected: Vec<Answer> = contents.iter().map(|content| by_the_library(&written(content)).unwrap()).collect();
        let whole = in_pieces(&bytes, std::iter::once(bytes.len())).unwrap();
        prop_assert_eq!(&whole, &(expected.clone(), Vec::new()));
        let cut = in_pieces(&bytes, sizes.iter().copied().cycle()).unwrap();
        prop_assert_eq!(cut, (expected, Vec::new()));
    }

    #[test]
    fn bytes_that_were_damaged_are_refused_or_read_as_the_library_reads_them(
        content in content(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        sizes in vec(1..40_usize, 1..8),
    ) {
        let mut bytes = written(&content);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = in_pieces(&bytes, std::iter::once(bytes.len()));
        // Where an answer ends, another one begins, and that may be damaged too.
        let first = |read: &Result<(Vec<Answer>, Vec<u8>), Malformed>| match read {
            Ok((answers, rest)) if rest.is_empty() && answers.len() == 1 => answers.first().cloned(),
            _ => None,
        };
        if let Some(answer) = first(&whole) {
            prop_assert_eq!(Some(answer), by_the_library(&bytes));
        }
        prop_assert_eq!(in_pieces(&bytes, sizes.iter().copied().cycle()), whole);
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in vec(any::<u8>(), 0..200), sizes in vec(1..20_usize, 1..4)) {
        let _ = in_pieces(&bytes, sizes.iter().copied().cycle());
    }
}

#[test]
fn an_answer_can_be_cut_at_every_place() {
    let odd = vec![(vec![0xff], vec![]), (vec![0xff], b"\r\n".to_vec())];
    let content = vec![(EntryId::new(1, 0), None), (EntryId::new(2, 7), Some(odd)), (EntryId::new(3, 0), Some(vec![]))];
    let bytes = written(&content);
    let expected = by_the_library(&bytes).unwrap();
    for cut in 1..bytes.len() {
        let (mut decoder, mut buffer) = (Decoder::default(), bytes[..cut].to_vec());
        assert_eq!(decoder.advance(&mut buffer), Ok(None), "cut at {cut}");
        buffer.extend_from_slice(&bytes[cut..]);
        buffer.extend_from_slice(b"*-1");
        assert_eq!(decoder.advance(&mut buffer), Ok(Some(expected.clone())), "cut at {cut}");
        assert_eq!(buffer, b"*-1", "the beginning of the next answer stays");
    }
}

#[test]
fn an_error_reply_is_read_as_what_it_says() {
    let mut buffer = b"-NOGROUP No such key 's'\r\n*-1\r\n".to_vec();
    let mut decoder = Decoder::default();
    let said = Answer::Error("NOGROUP No such key 's'".to_owned());
    assert_eq!(decoder.advance(&mut buffer), Ok(Some(said.clone())));
    assert_eq!(by_the_library(b"-NOGROUP No such key 's'\r\n"), Some(said));
    assert_eq!(decoder.advance(&mut buffer), Ok(Some(Answer::Entries(Vec::new()))));
    assert!(buffer.is_empty());
}

#[test]
fn what_is_announced_takes_no_memory_before_it_arrives() {
    let mut buffer = b"*1\r\n*2\r\n$1\r\ns\r\n*67108864\r\n*2\r\n$3\r\n1-1\r\n*67108864\r\n".to_vec();
    let mut decoder = Decoder::default();
    assert_eq!(decoder.advance(&mut buffer), Ok(None));
    assert!(decoder.found.capacity() < 100 && decoder.marks.capacity() < 100 && buffer.capacity() < 1000);
}

#[test]
fn other_shapes_are_refused() {
    let one = |rest: &str| format!("*1\r\n*2\r\n$1\r\ns\r\n{rest}");
    let shapes = [
        "+OK\r\n".to_owned(),
        ":1\r\n".to_owned(),
        "*2\r\n".to_owned(),
        "%1\r\n".to_owned(),
        "*1\r\n*3\r\n".to_owned(),
        one("*-1\r\n"),
        one("*1\r\n*2\r\n$1\r\n1\r\n"),
        one("*1\r\n*2\r\n$3\r\n1-1\r\n*1\r\n"),
        one("*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$-1\r\n"),
    ];
    for shape in shapes {
        assert_eq!(Decoder::default().advance(&mut shape.clone().into_bytes()), Err(Malformed), "{shape:?}");
    }
}
