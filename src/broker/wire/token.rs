//! The parts that every reply is made of (RESP2): a line, and a string of a length that is told beforehand.
//!
//! Owns: where a part ends, and the limits of what may be announced.
//! Never: memory taken because of a number that somebody sent.

/// The longest string that a server sends (`proto-max-bulk-len` is as much, unless somebody raises it).
const MAX_STRING: i64 = 512 * 1024 * 1024;
/// The most parts of a list.
const MAX_PARTS: i64 = 64 * 1024 * 1024;
/// The longest line: error replies are the longest, and some repeat what was sent.
const MAX_LINE: usize = 64 * 1024;
/// The digits and the sign of the longest number, and the end of the line.
const MAX_NUMBER: usize = 22;

/// The bytes are no reply, or one that breaks a limit. Says nothing of what they are: they hold the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reply of an unknown shape")]
pub struct Malformed;

/// A part that may not have arrived as a whole: `None` until then, and else the part and the first byte behind it.
pub(super) type Arriving<T> = Result<Option<(T, usize)>, Malformed>;

/// A line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Line<'b> {
    /// `+OK`
    Text(&'b [u8]),
    /// `-ERR …`
    Error(&'b [u8]),
    /// `:1`
    Number(i64),
}

/// The line at `at`.
pub(in crate::broker) fn line(buffer: &[u8], at: usize) -> Arriving<Line<'_>> {
    let Some(rest) = buffer.get(at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
    if rest.first() == Some(&b':') {
        return Ok(number(buffer, at, b':')?.map(|(number, next)| (Line::Number(number), next)));
    }
    let Some(end) = rest.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
        return if rest.len() < MAX_LINE { Ok(None) } else { Err(Malformed) };
    };
    let text = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).and_then(<[u8]>::split_first);
    match text {
        Some((b'+', text)) => Ok(Some((Line::Text(text), at + end + 1))),
        Some((b'-', text)) => Ok(Some((Line::Error(text), at + end + 1))),
        _ => Err(Malformed),
    }
}

/// How many parts the list at `at` has; `None` in place of the number for the list that is not there.
pub(super) fn list(buffer: &[u8], at: usize) -> Arriving<Option<u32>> {
    // A list that is not there may also come as a string that is not there.
    let kind = if buffer.get(at) == Some(&b'$') { b'$' } else { b'*' };
    let Some((count, next)) = number(buffer, at, kind)? else { return Ok(None) };
    match count {
        0.. if kind == b'$' => Err(Malformed),
        -1 => Ok(Some((None, next))),
        0..=MAX_PARTS => Ok(Some((Some(u32::try_from(count).map_err(|_| Malformed)?), next))),
        _ => Err(Malformed),
    }
}

/// Where the string at `at` begins and ends.
pub(super) fn string(buffer: &[u8], at: usize) -> Arriving<(usize, usize)> {
    let Some((length, from)) = number(buffer, at, b'$')? else { return Ok(None) };
    if !(0..=MAX_STRING).contains(&length) {
        return Err(Malformed);
    }
    let to = from + usize::try_from(length).map_err(|_| Malformed)?;
    match buffer.get(to..to + 2) {
        Some(b"\r\n") => Ok(Some(((from, to), to + 2))),
        Some(_) => Err(Malformed),
        None => Ok(None),
    }
}

/// Where the whole answer at `at` ends, whatever it is made of.
pub(super) fn whole(buffer: &[u8], mut at: usize) -> Arriving<()> {
    let mut parts = 1_u64;
    while parts > 0 {
        parts -= 1;
        let next = match buffer.get(at) {
            Some(b'*') => list(buffer, at)?.map(|(count, next)| {
                parts += u64::from(count.unwrap_or_default());
                next
            }),
            Some(b'$') if buffer.get(at + 1) == Some(&b'-') => list(buffer, at)?.map(|(_, next)| next),
            Some(b'$') => string(buffer, at)?.map(|(_, next)| next),
            _ => line(buffer, at)?.map(|(_, next)| next),
        };
        let Some(next) = next else { return Ok(None) };
        at = next;
    }
    Ok(Some(((), at)))
}

/// The number of a line that has to begin with `kind`.
fn number(buffer: &[u8], at: usize, kind: u8) -> Arriving<i64> {
    // Nearly all have one digit or two, and there is one before each part of each entry.
    match buffer.get(at..at + 5) {
        Some(&[first, digit @ b'0'..=b'9', b'\r', b'\n', _]) if first == kind => {
            Ok(Some((i64::from(digit - b'0'), at + 4)))
        }
        Some(&[first, ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', b'\n']) if first == kind => {
            Ok(Some((i64::from(ten - b'0') * 10 + i64::from(one - b'0'), at + 5)))
        }
        _ => long_number(buffer, at, kind),
    }
}

/// The same, whatever its length, and where it may not have arrived as a whole.
fn long_number(buffer: &[u8], at: usize, kind: u8) -> Arriving<i64> {
    let Some((&first, rest)) = buffer.get(at..).and_then(<[u8]>::split_first) else { return Ok(None) };
    if first != kind {
        return Err(Malformed);
    }
    let (negative, digits) = match rest.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, rest),
    };
    let mut number: i64 = 0;
    for (length, &byte) in digits.iter().take(MAX_NUMBER).enumerate() {
        match byte {
            b'0'..=b'9' => {
                let more = number.checked_mul(10).and_then(|number| number.checked_add(i64::from(byte - b'0')));
                number = more.ok_or(Malformed)?;
            }
            b'\r' if length > 0 => {
                let next = at + 1 + usize::from(negative) + length + 2;
                return match digits.get(length + 1) {
                    Some(b'\n') => Ok(Some((if negative { -number } else { number }, next))),
                    Some(_) => Err(Malformed),
                    None => Ok(None),
                };
            }
            _ => return Err(Malformed),
        }
    }
    if digits.len() < MAX_NUMBER { Ok(None) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_has_not_arrived_is_waited_for_and_one_that_is_none_is_refused() {
        assert_eq!(string(b"$3\r\nabc\r\n", 0), Ok(Some(((4, 7), 9))));
        assert_eq!(list(b"*-1\r\n", 0), Ok(Some((None, 5))));
        assert_eq!(line(b":-12\r\n", 0), Ok(Some((Line::Number(-12), 6))));
        assert_eq!(line(b"-ERR no\r\n", 0), Ok(Some((Line::Error(b"ERR no"), 9))));
        for whole in [&b"$3\r\nabc\r\n"[..], b"$0\r\n\r\n"] {
            assert!((0..whole.len()).all(|cut| string(&whole[..cut], 0) == Ok(None)));
        }
        for odd in
            [&b"$3\r\nabcd\r\n"[..], b"$-1\r\n", b"$+3\r\nabc\r\n", b"$\r\n", b"*3\r\n", b"$3\rabc", b"$536870913\r\n"]
        {
            assert_eq!(string(odd, 0), Err(Malformed), "{:?}", String::from_utf8_lossy(odd));
        }
        for odd in [&b"*67108865\r\n"[..], b"*-2\r\n", b"*99999999999999999999\r\n", b"*0000000000000000000000001"] {
            assert_eq!(list(odd, 0), Err(Malformed), "{:?}", String::from_utf8_lossy(odd));
        }
        assert_eq!(line(&vec![b'+'; MAX_LINE], 0), Err(Malformed), "a line without an end");
        assert_eq!(line(b"+OK\n", 0), Err(Malformed), "half an end");
    }

    #[test]
    fn an_answer_ends_with_the_last_of_its_parts_however_deep_it_lies() {
        let role = b"*3\r\n$6\r\nmaster\r\n:9\r\n*2\r\n*3\r\n$1\r\na\r\n$-1\r\n+x\r\n*-1\r\n";
        assert_eq!(whole(role, 0), Ok(Some(((), role.len()))));
        assert!((0..role.len()).all(|cut| whole(&role[..cut], 0) == Ok(None)));
        assert_eq!(whole(b"-ERR no\r\n:1\r\n", 0), Ok(Some(((), 9))));
        assert_eq!(whole(b"*1\r\n?\r\n", 0), Err(Malformed));
    }
}
