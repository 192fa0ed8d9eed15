//! A connection of our own.
//!
//! Owns: the socket, what has arrived on it and is not understood yet, and the first words on it.
//! Never: a command sent twice; a reply given to somebody who did not ask.

use std::fmt;
use std::io;

use redis::Cmd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::batch::{Answer, Decoder};
use super::token::{self, Line};
use crate::broker::connect::{CONNECTING, Connector};
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
