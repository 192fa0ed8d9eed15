//! The answers to a transaction.
//!
//! Owns: where they end, and which of the three ends it came to: carried out, refused as a whole, or something that is none.
//! Never: half of a transaction taken for one that was refused: what was carried out by itself is no answer.

use super::token::{self, Arriving, Line, Malformed};
use crate::broker::error::BrokerError;

/// What each command of a transaction was answered; or why none of them was carried out.
pub(in crate::broker) type Executed = Result<Vec<Result<i64, BrokerError>>, BrokerError>;

/// The answers to `MULTI`, `count` commands of which each is answered by a number, and `EXEC`, at the beginning of `buffer`.
pub(super) fn answer(operation: &'static str, buffer: &[u8], count: usize) -> Arriving<Executed> {
    let said = |text: &[u8]| BrokerError::said(operation, &String::from_utf8_lossy(text));
    let (mut at, mut refused) = (0, None);
    for _ in 0..=count {
        let Some((line, next)) = token::line(buffer, at)? else { return Ok(None) };
        at = next;
        match line {
            Line::Text(_) => {}
            Line::Error(text) => refused = refused.or_else(|| Some(said(text))),
            // It was carried out although nothing was to be yet.
            Line::Number(_) => return Err(Malformed),
        }
    }
    if buffer.get(at) == Some(&b'-') {
        let Some((line, next)) = token::line(buffer, at)? else { return Ok(None) };
        let Line::Error(text) = line else { return Err(Malformed) };
        return Ok(Some((Err(refused.unwrap_or_else(|| said(text))), next)));
    }
    let Some((length, next)) = token::list(buffer, at)? else { return Ok(None) };
    at = next;
    if refused.is_some() || length.map(u64::from) != Some(count as u64) {
        return Err(Malformed);
    }
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        let Some((line, next)) = token::line(buffer, at)? else { return Ok(None) };
        at = next;
        numbers.push(match line {
            Line::Number(number) => Ok(number),
            Line::Error(text) => Err(said(text)),
            Line::Text(_) => return Err(Malformed),
        });
    }
    Ok(Some((Ok(numbers), at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::error::Trouble;

    fn read(text: &str, count: usize) -> Arriving<Executed> {
        answer("testing", text.as_bytes(), count)
    }

    #[test]
    fn a_transaction_that_was_carried_out_is_answered_by_its_numbers_once_all_of_them_are_there() {
        let text = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:7\r\n";
        assert_eq!(read(text, 2), Ok(Some((Ok(vec![Ok(1), Ok(7)]), text.len()))));
        assert!((0..text.len()).all(|cut| read(&text[..cut], 2) == Ok(None)));
        assert_eq!(read("+OK\r\n*0\r\n:9\r\n", 0), Ok(Some((Ok(Vec::new()), 9))), "what follows is another's");
    }

    #[test]
    fn one_command_that_is_refused_beforehand_keeps_all_of_them_from_being_carried_out() {
        let text = "+OK\r\n-NOPERM no\r\n+QUEUED\r\n-EXECABORT Transaction discarded\r\n";
        let Ok(Some((Err(error), end))) = read(text, 2) else { panic!("{:?}", read(text, 2)) };
        assert_eq!((error.trouble, end), (Trouble::NoPermission("NOPERM no".to_owned()), text.len()));
        assert!((0..text.len()).all(|cut| read(&text[..cut], 2) == Ok(None)));
        let text = "+OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded\r\n";
        assert!(matches!(read(text, 1), Ok(Some((Err(_), _)))));
    }

    #[test]
    fn one_that_fails_while_it_is_carried_out_stops_no_other() {
        let Ok(Some((Ok(numbers), _))) = read("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n-WRONGTYPE no\r\n:3\r\n", 2) else {
            panic!("carried out");
        };
        assert!(numbers[0].is_err() && numbers[1] == Ok(3), "{numbers:?}");
    }

    #[test]
    fn commands_that_were_carried_out_outside_of_a_transaction_are_not_taken_for_one() {
        for text in [
            "-NOPERM no multi\r\n:1\r\n:0\r\n-ERR EXEC without MULTI\r\n",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n:1\r\n",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n",
            "+OK\r\n-ERR x\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n",
        ] {
            assert_eq!(read(text, 2), Err(Malformed), "{text:?}");
        }
    }
}
