//! The feeder: one subscription for everybody who watches through a browser.
//!
//! Owns: passing notices on, and the word that some were missed.
//! Never: waiting for who watches; what does not fit is told as missed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::lane::job::epoch_ms;
use super::listener::{Heard, Listener, Missed, QUEUE};
use crate::broker::connect::Connector;
use crate::broker::pubsub::Topics;
use crate::domain::template::Template;
use crate::domain::told::Told;
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{LiveAway, LiveGap};

/// So many notices may wait for those who pass them on.
pub const WAITING: usize = 4096;
/// Where nothing says since when notices are missing, it is since so long ago.
const SHORTLY: Duration = Duration::from_secs(10);

/// Passes on what is published on the channels of `template`, until it is told to stop.
pub async fn run(
    template: Template,
    connector: Arc<Connector>,
    watchers: mpsc::Sender<Told>,
    telemetry: Telemetry,
    shutdown: Shutdown,
    heartbeat: Heartbeat,
) -> Result<(), TaskError> {
    let topics = Topics { channels: Vec::new(), patterns: vec![template.pattern()] };
    let mut listener = Listener::new(connector, topics, QUEUE);
    // Since when notices are missing, while that could not be told yet.
    let mut missed: Option<u64> = None;
    loop {
        let heard = tokio::select! {
            () = shutdown.stopping().cancelled() => return Ok(()),
            heard = heartbeat.while_waiting(listener.next()) => heard,
        };
        let told = match heard {
            Heard::Listening => None,
            Heard::Away(error) => {
                telemetry.emit(LiveAway { reason: &error.reason() });
                None
            }
            Heard::Missed(gap) => {
                let (since, reason) = match gap {
                    Missed::Away(time) => (time + SHORTLY, "away"),
                    Missed::TooSlow(_) => (SHORTLY, "too-slow"),
                };
                missed = Some(earlier(missed, since, reason, &telemetry));
                None
            }
            Heard::Message(message) => Told::notice(&template, &message.channel, &message.payload),
        };
        if let Some(since_ms) = missed
            && watchers.try_send(Told::Missed { since_ms }).is_ok()
        {
            missed = None;
        }
        if let Some(told) = told
            && (missed.is_some() || watchers.try_send(told).is_err())
        {
            missed = Some(earlier(missed, SHORTLY, "too-slow", &telemetry));
        }
    }
}

fn earlier(missed: Option<u64>, ago: Duration, reason: &'static str, telemetry: &Telemetry) -> u64 {
    if let Some(since) = missed {
        return since;
    }
    telemetry.emit(LiveGap { reason });
    epoch_ms(SystemTime::now() - ago)
}
