//! The pages.
//!
//! Owns: what each path answers, and what of it needs to be let in.
//! Never: a page that changes something.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::AdminState;
use super::bounded::Terms;
use super::guard::{self, Asked, Guard};
use super::live::Desk;

const INDEX: &str = "\
orderd
/livez    200 while its tasks make progress, else 503 and which do not
/readyz   200 while it does its work, else 503 and why not
/metrics  the metrics, for Prometheus
/status   what it is doing, as JSON
";
/// The text format that the exporter writes, and its version.
const EXPOSITION: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// The page is all that it needs, and may speak to nobody but us.
const PAGE: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
];

struct Known {
    state: AdminState,
    desk: Option<Desk>,
    guard: Guard,
    started: Instant,
}

/// All paths. Anything else is 404, and anything but GET and HEAD is 405.
pub(super) fn router(state: AdminState, desk: Option<Desk>, guard: Guard) -> Router {
    let known = Arc::new(Known { state, desk, guard, started: Instant::now() });
    let asking = |asked| from_fn_with_state((asked, Arc::clone(&known)), let_in);
    let probes = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz));
    let machines = Router::new().route("/metrics", get(metrics)).route("/status", get(status));
    let orders = Router::new().route("/users/{user}/orders/events", get(events));
    // What stands on the first page is known to everybody.
    Router::new()
        .route("/", get(index))
        .merge(probes.route_layer(asking(Asked::Probe)))
        .merge(machines.route_layer(asking(Asked::Machine)))
        .merge(orders.route_layer(asking(Asked::Orders)))
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page; / lists them\n"))
        .layer(map_response(last_answer))
        .with_state(known)
}

async fn let_in(State((asked, known)): State<(Asked, Arc<Known>)>, request: Request, next: Next) -> Response {
    if known.guard.lets_in(asked, request.uri(), request.headers()) {
        next.run(request).await
    } else {
        guard::refusal()
    }
}

/// What there is: for a browser that can watch, a page that does.
async fn index(State(known): State<Arc<Known>>) -> Response {
    if known.desk.is_none() {
        return INDEX.into_response();
    }
    (PAGE, include_str!("page.html")).into_response()
}

async fn events(
    State(known): State<Arc<Known>>,
    ConnectInfo(terms): ConnectInfo<Terms>,
    Path(user): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match &known.desk {
        None => (StatusCode::NOT_FOUND, "nobody can watch here: notify.sse is false\n").into_response(),
        // There would be no end to it.
        Some(_) if method == Method::HEAD => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        Some(desk) => desk.watch(&user, &uri, &headers, || terms.stay()),
    }
}

async fn livez(State(known): State<Arc<Known>>) -> (StatusCode, String) {
    let stalled = known.stalled();
    if stalled.is_empty() {
        (StatusCode::OK, "alive\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines(&stalled))
    }
}

async fn readyz(State(known): State<Arc<Known>>) -> (StatusCode, String) {
    let readiness = known.state.readiness.borrow();
    if readiness.ready {
        (StatusCode::OK, "ready\n".to_owned())
    } else if readiness.reasons.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines(&readiness.reasons))
    }
}

async fn metrics(State(known): State<Arc<Known>>) -> ([(HeaderName, &'static str); 1], String) {
    (EXPOSITION, known.state.telemetry.render())
}

async fn status(State(known): State<Arc<Known>>) -> ([(HeaderName, &'static str); 1], String) {
    let latest = known.state.telemetry.latest();
    let readiness = known.state.readiness.borrow().clone();
    let seconds = |age: Option<Duration>| age.map(|age| age.as_secs_f64());
    let backlog = latest.backlog.map(|backlog| {
        json!({
            "pending": backlog.pending,
            "lag": backlog.lag,
            "length": backlog.length,
            "oldest_pending_age_seconds": seconds(backlog.oldest_pending),
            "oldest_undelivered_age_seconds": seconds(backlog.oldest_undelivered),
            "consumers": backlog.consumers,
            "dead_letters": backlog.dead,
        })
    });
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": known.started.elapsed().as_secs(),
        "phase": latest.phase,
        "ready": readiness.ready,
        "reasons": readiness.reasons,
        "stalled": known.stalled(),
        "entries": {
            "in_hand": latest.levels.in_hand,
            "parked": latest.levels.parked,
            "window": latest.levels.window,
        },
        "backlog": backlog,
    });
    (JSON, format!("{status:#}\n"))
}

/// A connection carries one request, so that its deadline is the deadline of that request.
async fn last_answer(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Known {
    fn stalled(&self) -> Vec<String> {
        let stalled = self.state.heartbeats.stalled(Instant::now());
        let line = |(name, silence): (String, Duration)| format!("{name}: no progress for {} s", silence.as_secs());
        stalled.into_iter().map(line).collect()
    }
}

fn lines(of: &[String]) -> String {
    of.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
