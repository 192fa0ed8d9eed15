//! A proxy that does something at the one moment that matters: it cuts a connection, or lets others act first.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What happens to a connection on which a certain text goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is cut; the server does not get the text.
    Before,
    /// The server gets the text, and the connection is cut in place of its answer.
    Answer,
    /// The server gets the text, and the connection is cut after so many bytes of its answer.
    Within(usize),
}

/// Between a client and a server on the loopback address. Dropped, it takes no more connections.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// What is done before a text goes by.
type Act = Box<dyn FnOnce() + Send>;

struct Shared {
    server: u16,
    text: &'static [u8],
    cuts: Mutex<Vec<Cut>>,
    first: Mutex<Option<Act>>,
    closed: AtomicBool,
    ended: AtomicBool,
}

impl Proxy {
    /// Before the server on this port. Connections are cut where `text` goes by.
    pub(crate) fn new(server: u16, text: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            server,
            text: text.as_bytes(),
            cuts: Mutex::default(),
            first: Mutex::default(),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let for_listener = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if for_listener.ended.load(Ordering::SeqCst) {
                    return;
                }
                if !for_listener.closed.load(Ordering::SeqCst) {
                    pass(client, &for_listener);
                }
            }
        });
        Self { port, shared, listener: Some(listener) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the next connection on which the text goes by.
    pub(crate) fn cut(&self, cut: Cut) {
        self.shared.cuts.lock().unwrap().insert(0, cut);
    }

    /// Does this before the server gets the text for the next time.
    pub(crate) fn first(&self, act: impl FnOnce() + Send + 'static) {
        *self.shared.first.lock().unwrap() = Some(Box::new(act));
    }

    /// Whether that was done.
    pub(crate) fn has_acted(&self) -> bool {
        self.shared.first.lock().unwrap().is_none()
    }

    /// Whether every cut that was asked for was made.
    pub(crate) fn has_cut(&self) -> bool {
        self.shared.cuts.lock().unwrap().is_empty()
    }

    /// From now on, new connections are closed at once, or let through again.
    pub(crate) fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let _ = self.listener.take().map(JoinHandle::join);
    }
}

/// Passes everything on in both directions, until one side closes or the connection is cut.
fn pass(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.server)) else { return };
    let let_through = Arc::new(AtomicUsize::new(usize::MAX));
    let (mut from_client, mut to_client) = (client.try_clone().expect("a socket"), client);
    let (mut from_server, mut to_server) = (server.try_clone().expect("a socket"), server);
    let (shared, left) = (Arc::clone(shared), Arc::clone(&let_through));
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer) {
            let bytes = &buffer[..length];
            let goes_by = bytes.windows(shared.text.len()).any(|window| window == shared.text);
            let act = goes_by.then(|| shared.first.lock().unwrap().take()).flatten();
            act.into_iter().for_each(|act| act());
            match goes_by.then(|| shared.cuts.lock().unwrap().pop()).flatten() {
                Some(Cut::Before) => break,
                Some(Cut::Answer) => let_through.store(0, Ordering::SeqCst),
                Some(Cut::Within(bytes)) => let_through.store(bytes, Ordering::SeqCst),
                None => {}
            }
            if to_server.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = (to_server.shutdown(Shutdown::Both), from_client.shutdown(Shutdown::Both));
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer) {
            let may_pass = left.load(Ordering::SeqCst);
            if to_client.write_all(&buffer[..length.min(may_pass)]).is_err() || length > may_pass {
                break;
            }
            if may_pass != usize::MAX {
                left.store(may_pass - length, Ordering::SeqCst);
            }
        }
        let _ = (to_client.shutdown(Shutdown::Both), from_server.shutdown(Shutdown::Both));
    });
}
