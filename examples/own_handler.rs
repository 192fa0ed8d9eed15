//! The whole daemon with a handler of one's own: it writes each event into a file. `cargo run --example own_handler`

use std::{error::Error, fs::File, future::ready, io::Write, sync::Arc};

use orderd::daemon::Daemon;
use orderd::domain::batch::{Batch, Work};
use orderd::domain::outcome::{Failure, Outcome};
use orderd::handler::{Handler, Handling, Limits};
use orderd::{settings, supervisor::shutdown::Shutdown, telemetry::Telemetry};

/// Writes one line an event, durably. After a crash a line can come twice, and is known by its key.
pub(crate) struct Journal(pub(crate) File);

impl Handler for Journal {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn limits(&self) -> Limits {
        Limits { batch: 1000, calls: 1 }
    }

    fn handle(&self, batch: Batch) -> Handling<'_> {
        let line = |work: &Work| format!("{} {} {}\n", work.idempotency_key(), work.event.order, work.event.action);
        let lines: String = batch.iter().map(line).collect();
        let written = (&self.0).write_all(lines.as_bytes()).and_then(|()| self.0.sync_data());
        let failed = |error: std::io::Error| Outcome::Failed(Failure::unavailable(error.to_string()));
        let outcome = written.map_or_else(failed, |()| Outcome::Applied);
        Box::pin(ready(vec![outcome; batch.len()]))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sources = settings::Sources { environment: std::env::vars_os().collect(), ..Default::default() };
    let journal = Journal(File::options().append(true).create(true).open("journal.txt")?);
    let daemon = Daemon::with_handler(settings::load(&sources)?, Telemetry::new()?, Arc::new(journal))?;
    Ok(daemon.run(Shutdown::new()).await?)
}
