//! The word of a server that closes a new connection at once: an error reply, or an alert of TLS.
//!
//! Owns: listening for it. What the client library sends first may fail before it has read that word, and then it is lost.
//! Never: a byte sent.

use std::time::Duration;

use redis::ConnectionAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::BrokerError;
use super::stream;
use crate::tls::{self, Tls};

/// How long the word is waited for. It comes with the connection, or not at all.
const PATIENCE: Duration = Duration::from_millis(200);
/// The longest word that is listened to.
const MAX_BYTES: u64 = 512;

/// What the server at `place` says to somebody who only listens, as the error of `operation`. `None`: nothing that helps.
pub(super) async fn word(operation: &'static str, place: &ConnectionAddr, tls: Option<&Tls>) -> Option<BrokerError> {
    let listen = async {
        match stream::open(place, tls).await {
            Ok(stream) => heard(operation, stream).await,
            Err(_) => None,
        }
    };
    tokio::time::timeout(PATIENCE, listen).await.ok()?
}

/// What stands before the end of `stream`. A server that takes the connection says nothing and does not end it.
async fn heard(operation: &'static str, stream: impl AsyncRead + Unpin) -> Option<BrokerError> {
    let mut said = Vec::new();
    // Closed by force, it still has said what has arrived.
    let end = stream.take(MAX_BYTES).read_to_end(&mut said).await;
    if let Some(line) = std::str::from_utf8(&said).ok().and_then(|said| said.strip_prefix('-')?.lines().next()) {
        return Some(BrokerError::said(operation, line));
    }
    // Whether it takes our certificate, a server says when the hands are shaken on our side.
    end.err().filter(|error| tls::sentence(error).is_some()).map(|error| BrokerError::of_stream(operation, &error))
}
