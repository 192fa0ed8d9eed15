//! A bad network: a TCP proxy that can be told what to do to what passes.
//!
//! Owns: its threads, and every connection through it.
//! Never: a byte changed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a thread waits before it looks again whether something has changed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is done to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Weather {
    /// Nothing.
    Fine,
    /// Everything takes a while, and comes in pieces.
    Slow,
    /// Nothing arrives on either side, and nobody is told. What was under way arrives when the weather is fine again.
    BlackHole,
    /// What the workers say arrives, and what Redis says does not.
    OneWay,
    /// Each connection ends at Redis, and its worker is not told: it stays open, and nothing comes of it any more.
    HalfOpen,
    /// The next reply on each connection is cut in the middle, and the connection closed.
    Cut,
}

/// A running proxy. Dropped, it ends, with all of its connections.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: AtomicU16,
    weather: AtomicU8,
    stop: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToRedis,
    ToWorker,
}

impl Proxy {
    /// Listens on a free port, and passes everything on to the port `upstream`.
    pub(crate) fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that can be looked at");
        let port = listener.local_addr().expect("an address").port();
        let shared = Shared {
            upstream: AtomicU16::new(upstream),
            weather: AtomicU8::new(Weather::Fine as u8),
            stop: AtomicBool::new(false),
            connections: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let listening = Arc::clone(&shared);
        let thread = std::thread::spawn(move || listen(&listener, &listening));
        Self { port, shared, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on it leads elsewhere; connections that there are stay as they are.
    pub(crate) fn lead_to(&self, upstream: u16) {
        self.shared.upstream.store(upstream, Ordering::Release);
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.shared.weather.store(weather as u8, Ordering::Release);
    }

    /// Breaks every connection that there is.
    pub(crate) fn reset(&self) {
        let mut connections = self.shared.connections.lock().expect("no thread panicked");
        connections.drain(..).for_each(|connection| close(&connection));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.reset();
        if let Some(thread) = self.thread.take() {
            // It has nothing left to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is(&self, weather: Weather) -> bool {
        self.weather.load(Ordering::Acquire) == weather as u8
    }

    fn holds(&self, direction: Direction) -> bool {
        self.is(Weather::BlackHole) || (self.is(Weather::OneWay) && direction == Direction::ToWorker)
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while !shared.stops() {
        let Ok((worker, _)) = listener.accept() else {
            std::thread::park_timeout(LOOK_AGAIN);
            continue;
        };
        // Where Redis is away, the worker sees a connection that is closed at once.
        let Ok(redis) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.upstream.load(Ordering::Acquire))) else {
            continue;
        };
        let ready = worker.set_nonblocking(false).is_ok() && worker.set_nodelay(true).is_ok();
        if !(ready && redis.set_nodelay(true).is_ok()) {
            continue;
        }
        let pairs = [(&worker, &redis, Direction::ToRedis), (&redis, &worker, Direction::ToWorker)];
        for (from, to, direction) in pairs {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            let shared = Arc::clone(shared);
            threads.push(std::thread::spawn(move || pump(from, to, direction, &shared)));
        }
        shared.connections.lock().expect("no thread panicked").extend([worker, redis]);
    }
    for connection in shared.connections.lock().expect("no thread panicked").drain(..) {
        close(&connection);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Passes on what comes from `from` until either side is closed.
fn pump(mut from: TcpStream, mut to: TcpStream, direction: Direction, shared: &Shared) {
    let mut buffer = vec![0; 16 * 1024];
    let timed = from.set_read_timeout(Some(LOOK_AGAIN)).is_ok();
    while timed && !shared.stops() {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if shared.is(Weather::HalfOpen) && direction == Direction::ToRedis {
            close(&to);
            return swallow(from, shared);
        }
        while shared.holds(direction) && !shared.stops() {
            std::thread::park_timeout(LOOK_AGAIN);
        }
        let (now, later) = buffer[..length].split_at(length / 2);
        let is_cut = direction == Direction::ToWorker && shared.is(Weather::Cut);
        if shared.is(Weather::Slow) {
            std::thread::park_timeout(3 * LOOK_AGAIN);
        }
        if to.write_all(now).is_err() || is_cut {
            break;
        }
        if shared.is(Weather::Slow) {
            std::thread::park_timeout(LOOK_AGAIN);
        }
        if to.write_all(later).is_err() {
            break;
        }
    }
    close(&from);
    // A worker that is not to be told finds out by itself.
    if direction == Direction::ToRedis || !shared.is(Weather::HalfOpen) {
        close(&to);
    }
}

/// Takes what a worker says on a connection that leads nowhere, until it gives up.
fn swallow(mut from: TcpStream, shared: &Shared) {
    let mut buffer = [0; 4096];
    while !shared.stops() {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    close(&from);
}

fn close(connection: &TcpStream) {
    // It may be closed already.
    let _ = connection.shutdown(Shutdown::Both);
}
