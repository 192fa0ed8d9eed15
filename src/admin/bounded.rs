//! Connections with a bound on everything.
//!
//! Owns: how many there are at once, and how long each may take from first to last byte. A client that is slow, or means harm,
//! is cut off, and the probes of the orchestrator get through. One that watches stays, as long as it takes what it is sent.
//! Never: a connection that is kept for another request (the pages say so in their answers).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// So many connections are served at once; further ones wait in the backlog of the system.
const MAX_CONNECTIONS: usize = 64;
/// So long a connection may take.
const MAX_DURATION: Duration = Duration::from_secs(5);

/// A connection that stays may leave what it is sent untaken for so long.
const MAX_STALL: Duration = Duration::from_secs(10);

/// Accepts a bounded number of connections.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection that ends at its deadline.
pub(super) struct Timed {
    stream: TcpStream,
    /// The end of the request, or, for a connection that stays, of its patience with a client that takes nothing.
    deadline: Pin<Box<Sleep>>,
    stalled: bool,
    terms: Terms,
}

/// On which terms a connection is served. A page gets them along with the request.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    stays: Arc<AtomicBool>,
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Terms {
    /// The connection stays, and gives its place to the next one: who lets it stay has a bound of its own.
    pub(super) fn stay(&self) {
        self.stays.store(true, Ordering::Release);
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Terms {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().terms.clone()
    }
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        // Nobody closes the semaphore, so there is always a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(MAX_DURATION));
        let terms = Terms { stays: Arc::default(), place: Arc::new(Mutex::new(place)) };
        (Timed { stream, deadline, stalled: false, terms }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Timed {
    /// The stream, while there is time left.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if !self.stays() && self.deadline.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut self.stream))
    }

    fn stays(&self) -> bool {
        self.terms.stays.load(Ordering::Acquire)
    }

    /// Ends the patience with a client that has taken nothing for too long.
    fn patient(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() || !self.stays() {
            self.stalled = false;
            return written;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            self.deadline.as_mut().reset(Instant::now() + MAX_STALL);
        }
        self.deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.in_time(cx) {
            Ok(stream) => stream.poll_read(cx, buffer),
            Err(late) => Poll::Ready(Err(late)),
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.in_time(cx) {
            Ok(stream) => {
                let written = stream.poll_write(cx, bytes);
                self.patient(written, cx)
            }
            Err(late) => Poll::Ready(Err(late)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
