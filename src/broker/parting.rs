//! The word of a server that closes a new connection at once.
//!
//! Owns: listening for it. What the client library sends first may fail before it has read that word, and then it is lost.
//! Never: a byte sent.

use std::time::Duration;

use redis::ConnectionAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpStream, UnixStream};

/// How long the word is waited for. It comes with the connection, or not at all.
const PATIENCE: Duration = Duration::from_millis(200);
/// The longest word that is listened to.
const MAX_BYTES: u64 = 512;

/// What the server at `address` says to somebody who only listens: the text of an error reply, if there is one.
pub(super) async fn word(address: &ConnectionAddr) -> Option<String> {
    tokio::time::timeout(PATIENCE, listen(address)).await.ok()?
}

async fn listen(address: &ConnectionAddr) -> Option<String> {
    match address {
        ConnectionAddr::Tcp(host, port) => line(TcpStream::connect((host.as_str(), *port)).await.ok()?).await,
        ConnectionAddr::Unix(path) => line(UnixStream::connect(path).await.ok()?).await,
        _ => None,
    }
}

/// The error reply that stands before the end of `stream`. A server that takes the connection says nothing and does not end it.
async fn line(stream: impl AsyncRead + Unpin) -> Option<String> {
    let mut said = Vec::new();
    // Closed by force, it still has said what has arrived.
    let _ = stream.take(MAX_BYTES).read_to_end(&mut said).await;
    let text = String::from_utf8(said).ok()?;
    text.strip_prefix('-')?.lines().next().map(str::to_owned)
}
