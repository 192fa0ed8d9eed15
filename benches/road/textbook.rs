//! The plain loop that every tutorial shows: read ten, handle each, acknowledge one by one.

use std::collections::HashMap;

use redis::cmd;

use super::backlog::{GROUP, STREAM};
use super::client::{BLOCK_MS, RESPONSE_TIMEOUT, Stop};

/// Entries in one read.
const COUNT: usize = 10;

/// An entry, as the tutorials like it: id and fields.
type Entry = (String, HashMap<String, String>);

/// Reads and acknowledges until it is asked to stop. Handling is nothing here.
pub(crate) fn run(url: &str, stop: &Stop) -> anyhow::Result<()> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    connection.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg("loop").arg("COUNT").arg(COUNT).arg("BLOCK").arg(BLOCK_MS);
    read.arg("STREAMS").arg(STREAM).arg(">");
    while !stop.is_asked_for() {
        let reply: Option<Vec<(String, Vec<Entry>)>> = read.query(&mut connection)?;
        for (id, _) in reply.into_iter().flatten().flat_map(|(_, entries)| entries) {
            cmd("XACK").arg(STREAM).arg(GROUP).arg(id).query::<()>(&mut connection)?;
        }
    }
    Ok(())
}
