//! What a machine or a person can ask the running daemon, over HTTP.
//!
//! Owns: a thread of its own, so that it answers while everything else is busy; its listener, its pages and its limits.
//! Never: a question to Redis; it tells what it was told. What a browser missed is read from the ledger, beside this thread.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use std::{future::IntoFuture, io};

use axum::Router;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::told::Told;
use crate::supervisor::heartbeat::Heartbeats;
use crate::supervisor::phase::Readiness;
use crate::telemetry::Telemetry;
use bounded::{Bounded, Terms};
use guard::{Guard, Open};
use live::{Desk, Hub, Live};

mod bounded;
pub mod guard;
pub mod live;
mod pages;

/// How often the histograms are emptied into their buckets, whether or not somebody asks for them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long answers that are on their way may still take after a stop.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// Where to listen, and whom to let in (the `[admin]` table of the configuration).
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// What has to be presented, if anything.
    pub token: Option<SecretString>,
    /// What is answered without it all the same.
    pub open: Open,
}

impl Options {
    /// Whether the same has to be presented.
    pub fn same_token(&self, other: &Self) -> bool {
        let [own, other] = [self, other].map(|options| options.token.as_ref().map(ExposeSecret::expose_secret));
        own == other
    }
}

/// What the pages are made from.
pub struct AdminState {
    /// The metrics, and what the daemon last said of itself.
    pub telemetry: Telemetry,
    /// Whether it does its work.
    pub readiness: watch::Receiver<Readiness>,
    /// Whether its tasks make progress.
    pub heartbeats: Arc<Heartbeats>,
    /// What browsers can watch, if anything.
    pub live: Option<Live>,
}

/// The running HTTP server. It ends with [`AdminServer::stop`], or when it is dropped.
pub struct AdminServer {
    local_addr: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// The HTTP server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be had.
    #[error("admin.listen: cannot listen on {address}: {source} (port 0 takes any free one)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("cannot start the thread of the admin server: {0}")]
    Thread(io::Error),
}

/// Starts to serve at `options.listen`. The address is taken when this returns.
pub fn start(options: Options, mut state: AdminState) -> Result<AdminServer, AdminError> {
    let Options { listen, token, open } = options;
    let refused = |source| AdminError::Listen { address: listen, source };
    let (listener, local_addr) = bind(listen).map_err(refused)?;
    let stop = CancellationToken::new();
    let telemetry = state.telemetry.clone();
    let hub = Hub::new(state.live.as_ref().map_or(0, |live| live.clients), telemetry.clone());
    let desk = state.live.take().map(|live| Desk::new(live, Arc::clone(&hub), stop.clone()));
    let (desk, told) = desk.transpose().map_err(AdminError::Thread)?.unzip();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
    let listener = match adopt(&runtime, listener) {
        Ok(listener) => listener,
        Err(source) => {
            // Who calls may be on a runtime, where another one must not be dropped.
            runtime.shutdown_background();
            return Err(refused(source));
        }
    };
    let pages = pages::router(state, desk, Guard::new(listen, token, open));
    let serving = serve(listener, pages, telemetry, (hub, told), stop.clone());
    let thread =
        Builder::new().name("admin".to_owned()).spawn(move || runtime.block_on(serving)).map_err(AdminError::Thread)?;
    Ok(AdminServer { local_addr, stop, thread: Some(thread) })
}

impl AdminServer {
    /// Where it listens: with port 0 in the configuration, the port that was free.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops listening, finishes the answers that are on their way for at most half a second, and waits for the thread to end.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the admin thread had panicked");
        }
    }
}

fn bind(listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

fn adopt(runtime: &Runtime, listener: TcpListener) -> io::Result<Bounded> {
    let _inside = runtime.enter();
    Ok(Bounded::new(tokio::net::TcpListener::from_std(listener)?))
}

async fn serve(
    listener: Bounded,
    pages: Router,
    telemetry: Telemetry,
    (hub, told): (Arc<Hub>, Option<mpsc::Receiver<Told>>),
    stop: CancellationToken,
) {
    let pages = pages.into_make_service_with_connect_info::<Terms>();
    let server = axum::serve(listener, pages).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        // It has no way to fail: what goes wrong with a connection ends that connection.
        _ = server.into_future() => {}
        () = overdue => {}
        never = keep_up(&telemetry, &hub) => match never {},
        never = pass_on(&hub, told) => match never {},
    }
}

async fn pass_on(hub: &Hub, told: Option<mpsc::Receiver<Told>>) -> Infallible {
    if let Some(told) = told {
        hub.pass_on(told).await;
    }
    std::future::pending().await
}

async fn keep_up(telemetry: &Telemetry, hub: &Hub) -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        telemetry.upkeep();
        hub.tell_count();
    }
}

#[cfg(test)]
mod tests;
