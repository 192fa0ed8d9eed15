//! The status line for the service manager.
//!
//! Owns: its words.
//! Never: what it says (that is telemetry's and the supervisor's).

use tokio::sync::watch;
use tokio::time::Instant;

use crate::supervisor::phase::Readiness;
use crate::task::nudge::Nudge;
use crate::telemetry::Telemetry;

/// A line for people: events settled a second since the last line, what is left to do, and what is in the way.
pub(super) fn status(
    telemetry: Telemetry,
    settled: Nudge,
    readiness: watch::Receiver<Readiness>,
) -> impl FnMut() -> String {
    let mut last = (Instant::now(), settled.total());
    move || {
        let now = (Instant::now(), settled.total());
        let seconds = now.0.duration_since(last.0).as_secs().max(1);
        let rate = (now.1 - last.1) / seconds;
        last = now;
        let latest = telemetry.latest();
        let backlog = latest.backlog.map_or_else(
            || "backlog unknown".to_owned(),
            |backlog| match backlog.lag {
                Some(lag) => format!("{lag} undelivered, {} pending", backlog.pending),
                None => format!("undelivered unknown, {} pending", backlog.pending),
            },
        );
        let reasons = readiness.borrow().reasons.clone();
        let in_the_way: Vec<String> = reasons.into_iter().filter(|reason| reason != latest.phase).collect();
        let in_the_way =
            if in_the_way.is_empty() { String::new() } else { format!("; not ready: {}", in_the_way.join(", ")) };
        format!("{}: {rate} events/s, {backlog}{in_the_way}", latest.phase)
    }
}
