//! The way to the server, before a word of Redis is spoken.
//!
//! Owns: opening a socket (TCP, TLS over TCP, Unix), its settings, and a sentence for what goes wrong on it.
//! Never: a command.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{ConnectionAddr, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use crate::tls::{self, Tls};

/// A peer that does not acknowledge what was sent to it for so long is taken for dead.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that bytes go through in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A way to the server, of whatever kind its address asks for.
pub(super) type Stream = Box<dyn Duplex>;

/// Opens a way to the server at `place`. [`reason`] tells what an error means.
pub(super) async fn open(place: &ConnectionAddr, tls: Option<&Tls>) -> io::Result<Stream> {
    match place {
        ConnectionAddr::Tcp(host, port) => {
            let places = lookup_host((host.as_str(), *port)).await.map_err(|error| unknown(host, &error))?;
            let socket = TcpStream::connect(&*places.collect::<Vec<_>>()).await?;
            set_up(&socket)?;
            match tls {
                Some(tls) => Ok(Box::new(tls.secure(host, socket).await?)),
                None => Ok(Box::new(socket)),
            }
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

/// What is the matter with a way to the server, in few words.
pub(super) fn reason(error: &io::Error) -> String {
    if let Some(sentence) = tls::sentence(error) {
        return sentence;
    }
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        // A socket that is not there is a server that is not there.
        io::ErrorKind::NotFound if error.get_ref().is_none() => "connection refused".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        // Our own words.
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => error.to_string(),
        kind => format!("connection lost: {kind}"),
    }
}

/// The same for an error of the client library.
pub(super) fn reason_of(error: &RedisError) -> String {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.map_or_else(|| "connection lost".to_owned(), reason)
}

fn unknown(host: &str, error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the host {host} is not known: {error}"))
}

fn set_up(socket: &TcpStream) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}
