//! The surveyor: looks at the stream and the group now and then, for the metrics.
//!
//! Owns: that what cannot be known is told as unknown.
//! Never: a number from before an outage shown as today's.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::survey::Survey;
use crate::supervisor::TaskError;
use crate::supervisor::heartbeat::Heartbeat;
use crate::supervisor::shutdown::Shutdown;
use crate::telemetry::Telemetry;
use crate::telemetry::event::{Backlog, BacklogUnknown};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until it is told to stop.
pub async fn run(
    broker: Arc<Broker>,
    telemetry: Telemetry,
    shutdown: Shutdown,
    heartbeat: Heartbeat,
) -> Result<(), TaskError> {
    loop {
        let backlog = broker.survey().await.ok().and_then(|survey| backlog(&survey, &broker));
        match backlog {
            Some(backlog) => telemetry.emit(backlog),
            None => telemetry.emit(BacklogUnknown),
        }
        if !heartbeat.while_waiting(shutdown.pause(EVERY)).await {
            return Ok(());
        }
    }
}

fn backlog(survey: &Survey, broker: &Broker) -> Option<Backlog> {
    let group = survey.group(&broker.keys().group)?;
    Some(Backlog {
        pending: group.pending,
        lag: group.lag,
        length: survey.length,
        oldest_pending: group.oldest_pending.map(|id| survey.age(id)),
        oldest_undelivered: group.oldest_undelivered.map(|id| survey.age(id)),
        consumers: group.consumers,
        dead: survey.dead,
    })
}
