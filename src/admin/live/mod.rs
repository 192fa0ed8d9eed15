//! What browsers watch: a user's orders, as they change.
//!
//! Owns: who is let in, and the stream of server-sent events for each of them.
//! Never: Redis; what is told arrives through a channel. A token in a log.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::history::History;
use self::watcher::Watcher;
use crate::domain::id::{EntryId, UserId};
use crate::domain::notice::Form;
use crate::domain::told::Told;

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
    pub ledger: Option<PathBuf>,
    /// What a browser has to present, if anything.
    pub token: Option<SecretString>,
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
    token: Option<SecretString>,
    heartbeat: Duration,
    stop: CancellationToken,
}

impl Desk {
    /// The desk for `live`, and what is still to be passed on through the hub.
    pub(super) fn new(live: Live, hub: Arc<Hub>, stop: CancellationToken) -> (Self, mpsc::Receiver<Told>) {
        let Live { told, form, ledger, token, heartbeat, .. } = live;
        let history = ledger.map(|ledger| History::new(ledger, form));
        (Self { hub, history, token, heartbeat, stop }, told)
    }

    /// The stream for `user`, or why there is none. `held` is called once it is certain that there will be one.
    pub(super) fn watch(&self, user: &str, uri: &Uri, headers: &HeaderMap, held: impl FnOnce()) -> Response {
        if !self.lets_in(uri, headers) {
            return (StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer, or ?token=\n")
                .into_response();
        }
        let user = UserId::from(user);
        let Some(queue) = self.hub.register(&user) else {
            return (StatusCode::SERVICE_UNAVAILABLE, "as many are watching as may; try again later\n").into_response();
        };
        held();
        let last = headers.get("last-event-id").and_then(|id| EntryId::from_bytes(id.as_bytes()));
        let watcher = Watcher::new(user, queue, self.history.clone(), last, self.heartbeat, self.stop.clone());
        let mut response = Response::new(Body::from_stream(watcher.into_stream()));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Said to proxies that would gather the stream.
        fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    fn lets_in(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let Some(token) = &self.token else {
            // Without a token there is a loopback address. A page of somewhere else can reach that under a name of its own,
            // which it has pointed there; so a name is not enough.
            return text(HOST).is_some_and(is_local);
        };
        let presented = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let presented = presented.or_else(|| {
            let mut pairs = uri.query().unwrap_or_default().split('&');
            pairs.find_map(|pair| pair.strip_prefix("token="))
        });
        presented.is_some_and(|presented| same(presented.as_bytes(), token.expose_secret().as_bytes()))
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a `Host` is an address or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Compares in a time that does not tell how much is the same.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_pointed_here_is_not_local() {
        for host in ["127.0.0.1:9464", "[::1]:9464", "localhost", "localhost:1", "192.0.2.1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example", ""] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_the_same_in_every_byte_or_not_at_all() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}
