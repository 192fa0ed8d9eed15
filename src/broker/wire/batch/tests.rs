//! Answers taken apart, held against the client library.
//!
//! Owns: bytes as a server sends them, cut at every place and damaged at any.
//! Never: a server.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::broker::wire::library::{Content, Reading, by_the_library, entries, written};

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
        let mut end = 0;
        let answers = contents.iter().map(|content| {
            let part = written(content);
            end += part.len();
            (by_the_library(&part).unwrap(), end)
        });
        let expected = Reading { answers: answers.collect(), waiting: Ok(0) };
        prop_assert_eq!(&entries(&bytes, &[bytes.len()]), &expected);
        prop_assert_eq!(entries(&bytes, &sizes), expected);
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
        let whole = entries(&bytes, &[bytes.len()]);
        // Where an answer ends, another one begins, and that may be damaged too.
        if let ([(answer, _)], Ok(0)) = (&whole.answers[..], whole.waiting) {
            prop_assert_eq!(Some(answer.clone()), by_the_library(&bytes));
        }
        prop_assert_eq!(entries(&bytes, &sizes), whole);
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes in vec(any::<u8>(), 0..200), sizes in vec(1..20_usize, 1..4)) {
        let _ = entries(&bytes, &sizes);
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
