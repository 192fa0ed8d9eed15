//! A connection of our own.
//!
//! Owns: the socket, what has arrived on it and is not understood yet, and the first words on it.
//! Never: a command sent twice; a reply given to somebody who did not ask.

use std::fmt;
use std::io;

use futures_util::FutureExt as _;
use redis::Cmd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::batch::{Answer, Decoder};
use super::token::{self, Line};
use super::transaction::{self, Executed};
use crate::broker::connect::{CONNECTING, Connector, RESPONSE_TIMEOUT};
use crate::broker::error::{BrokerError, Trouble};
use crate::broker::stream::Stream;

/// So much is made room for at least before more is received.
const ROOM: usize = 4 * 1024;
/// The buffer of a new connection.
const BUFFER: usize = 16 * 1024;

/// A connection to the server. What is asked on it is answered in the same order.
pub(in crate::broker) struct Link {
    socket: Stream,
    input: Vec<u8>,
    decoder: Decoder,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("waiting_bytes", &self.input.len()).finish_non_exhaustive()
    }
}

impl Link {
    /// Opens a connection for one purpose. Returns what the server calls it, too; `CLIENT UNBLOCK` takes that.
    pub(in crate::broker) async fn open(connector: &Connector, role: &str) -> Result<(Self, i64), BrokerError> {
        connector.opening(Self::open_untimed(connector, role)).await
    }

    async fn open_untimed(connector: &Connector, role: &str) -> Result<(Self, i64), BrokerError> {
        let input = Vec::with_capacity(BUFFER);
        let mut link = Self { socket: connector.stream().await?, input, decoder: Decoder::default() };
        for command in connector.address().login() {
            link.ask(CONNECTING, &command).await?;
        }
        for courtesy in connector.courtesies(role) {
            match link.ask(CONNECTING, &courtesy).await {
                Err(error) if !matches!(error.trouble, Trouble::NoPermission(_)) => return Err(error),
                _ => {}
            }
        }
        let id = link.ask(CONNECTING, redis::cmd("CLIENT").arg("ID")).await?;
        Ok((link, id))
    }

    /// Sends a command. May not be dropped half-way: what follows would be read as the rest of it.
    pub(in crate::broker) async fn send(&mut self, operation: &'static str, command: &[u8]) -> Result<(), BrokerError> {
        let sent = async {
            self.socket.write_all(command).await?;
            // Through TLS, what was written may wait inside.
            self.socket.flush().await
        };
        sent.await.map_err(|error| BrokerError::of_stream(operation, &error))
    }

    /// Asks for something that is answered by one line.
    async fn ask(&mut self, operation: &'static str, command: &Cmd) -> Result<i64, BrokerError> {
        self.send(operation, &command.get_packed_command()).await?;
        self.number(operation).await
    }

    /// Waits for an answer of one line: its number, or 0 for a text. May be dropped at any time.
    pub(in crate::broker) async fn number(&mut self, operation: &'static str) -> Result<i64, BrokerError> {
        loop {
            let (answer, end) = match token::line(&self.input, 0) {
                Ok(Some((Line::Number(number), end))) => (Ok(number), end),
                Ok(Some((Line::Text(_), end))) => (Ok(0), end),
                Ok(Some((Line::Error(text), end))) => {
                    (Err(BrokerError::said(operation, &String::from_utf8_lossy(text))), end)
                }
                Ok(None) => {
                    self.receive(operation).await?;
                    continue;
                }
                Err(_) => return Err(BrokerError::reply(operation)),
            };
            self.input.drain(..end);
            return answer;
        }
    }

    /// Waits for the answers to so many commands, each a number or an error. Returns the sum of the numbers, or the first error; after
    /// that of a command, too, all answers are taken in.
    pub(in crate::broker) async fn numbers(
        &mut self,
        operation: &'static str,
        count: usize,
    ) -> Result<u64, BrokerError> {
        let (mut left, mut sum, mut said) = (count, 0, None);
        while left > 0 {
            let mut at = 0;
            while left > 0
                && let Some((line, end)) = token::line(&self.input, at).map_err(|_| BrokerError::reply(operation))?
            {
                (at, left) = (end, left - 1);
                match line {
                    Line::Number(number) => sum += u64::try_from(number).unwrap_or_default(),
                    Line::Error(text) if said.is_none() => {
                        said = Some(BrokerError::said(operation, &String::from_utf8_lossy(text)));
                    }
                    Line::Error(_) => {}
                    Line::Text(_) => return Err(BrokerError::reply(operation)),
                }
            }
            self.input.drain(..at);
            if left > 0 {
                self.receive(operation).await?;
            }
        }
        said.map_or(Ok(sum), Err)
    }

    /// Waits for the answers to `MULTI`, so many commands that are answered by a number each, and `EXEC`. May be dropped at any time.
    pub(in crate::broker) async fn executed(
        &mut self,
        operation: &'static str,
        count: usize,
    ) -> Result<Executed, BrokerError> {
        loop {
            match transaction::answer(operation, &self.input, count) {
                Ok(Some((answer, end))) => {
                    self.input.drain(..end);
                    return Ok(answer);
                }
                Ok(None) => self.receive(operation).await?,
                Err(_) => return Err(BrokerError::reply(operation)),
            }
        }
    }

    /// Waits for an answer that is a list of whatever: the word that it begins with. May be dropped at any time.
    pub(in crate::broker) async fn first_word(&mut self, operation: &'static str) -> Result<String, BrokerError> {
        let malformed = |_| BrokerError::reply(operation);
        let end = loop {
            match token::whole(&self.input, 0).map_err(malformed)? {
                Some(((), end)) => break end,
                None => self.receive(operation).await?,
            }
        };
        let answer: Vec<u8> = self.input.drain(..end).collect();
        if let Ok(Some((Line::Error(text), _))) = token::line(&answer, 0) {
            return Err(BrokerError::said(operation, &String::from_utf8_lossy(text)));
        }
        let (_, first) = token::list(&answer, 0).map_err(malformed)?.ok_or_else(|| BrokerError::reply(operation))?;
        let word = token::string(&answer, first).map_err(malformed)?;
        let word = word.and_then(|((from, to), _)| answer.get(from..to)).unwrap_or_default();
        Ok(String::from_utf8_lossy(word).into_owned())
    }

    /// Whether the connection is known to be gone: what would be sent over it would be lost. Nothing may be under way on it.
    pub(in crate::broker) fn is_gone(&mut self) -> bool {
        // Whatever can be read now, the end or something that nobody asked for, makes it useless.
        !self.input.is_empty() || self.socket.read_buf(&mut self.input).now_or_never().is_some()
    }

    /// Waits for the answer to a read. May be dropped at any time.
    pub(in crate::broker) async fn entries(&mut self, operation: &'static str) -> Result<Answer, BrokerError> {
        loop {
            match self.decoder.advance(&mut self.input) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => self.receive(operation).await?,
                Err(_) => return Err(BrokerError::reply(operation)),
            }
        }
    }

    async fn receive(&mut self, operation: &'static str) -> Result<(), BrokerError> {
        if self.input.capacity() - self.input.len() < ROOM {
            // Twice as much each time, so that a large answer is not copied again and again.
            self.input.reserve(self.input.capacity().max(BUFFER));
        }
        match self.socket.read_buf(&mut self.input).await {
            Ok(0) => Err(BrokerError::of_stream(operation, &io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(BrokerError::of_stream(operation, &error)),
        }
    }
}

/// What was asked for, or an error where the answer does not come in time; then the connection is of no more use.
pub(in crate::broker) async fn in_time<T>(
    operation: &'static str,
    asked: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let answer = tokio::time::timeout(RESPONSE_TIMEOUT, asked).await;
    answer.unwrap_or_else(|_| Err(BrokerError::timed_out(operation)))
}
