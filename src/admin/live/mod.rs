//! What browsers watch: a user's orders, as they change.
//!
//! Owns: the stream of server-sent events for each of them, and the bound on how many there are.
//! Never: Redis; what is told arrives through a channel.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::history::History;
use self::watcher::Watcher;
use crate::domain::id::{EntryId, UserId};
use crate::domain::notice::Form;
use crate::domain::told::Told;
use crate::ledger::location::Location;

pub(super) use self::hub::Hub;

mod history;
mod hub;
mod watcher;

/// What telling browsers needs.
#[derive(Debug)]
pub struct Live {
    /// What is told.
    pub told: mpsc::Receiver<Told>,
    /// How a notice looks that is read from the ledger.
    pub form: Form,
    /// The ledger, where there is one: what a browser missed is read from it.
    pub ledger: Option<Location>,
    /// The most browsers at the same time.
    pub clients: usize,
    /// How often a silent stream shows that it is alive.
    pub heartbeat: Duration,
}

/// What the page of a user's orders is made from.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    hub: Arc<Hub>,
    history: Option<History>,
    heartbeat: Duration,
    stop: CancellationToken,
}

impl Desk {
    /// The desk for `live`, and what is still to be passed on through the hub. An error is that of starting a thread.
    pub(super) fn new(live: Live, hub: Arc<Hub>, stop: CancellationToken) -> io::Result<(Self, mpsc::Receiver<Told>)> {
        let Live { told, form, ledger, clients, heartbeat } = live;
        let history = ledger.map(|ledger| History::start(ledger, form, clients)).transpose()?;
        Ok((Self { hub, history, heartbeat, stop }, told))
    }

    /// The stream for `user`, or why there is none. `held` is called once it is certain that there will be one.
    pub(super) fn watch(&self, user: &str, uri: &Uri, headers: &HeaderMap, held: impl FnOnce()) -> Response {
        if user.contains('\0') {
            return (StatusCode::NOT_FOUND, "no user has such a name\n").into_response();
        }
        let user = UserId::from(user);
        let Some(queue) = self.hub.register(&user) else {
            return (StatusCode::SERVICE_UNAVAILABLE, "as many are watching as may; try again later\n").into_response();
        };
        held();
        let last = last_heard(uri, headers);
        let watcher = Watcher::new(user, queue, self.history.clone(), last, self.heartbeat, self.stop.clone());
        let mut response = Response::new(Body::from_stream(watcher.into_stream()));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Said to proxies that would gather the stream.
        fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

/// What a browser heard last. One that comes back says so by itself; at first a page can say it, with `?last=0-0` for everything.
fn last_heard(uri: &Uri, headers: &HeaderMap) -> Option<EntryId> {
    let by_itself = headers.get("last-event-id").map(HeaderValue::as_bytes);
    let by_page = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("last=")).map(str::as_bytes);
    by_itself.or_else(by_page).and_then(EntryId::from_bytes)
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
