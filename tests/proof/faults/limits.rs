//! Something runs out: time, connections, files, room; and somebody else's hands.
//!
//! Owns: trouble that ends with everything where it was, and what others delete, which is noted.
//! Never: a limit that stays.

use std::fs;
use std::time::Duration;

use crate::checker::record::{Id, What};
use crate::stage::Stage;
use crate::stage::disk::Disk;
use crate::stage::stream::{DEAD, SLOW_GROUP, STREAM};
use crate::stage::worker::Allowance;

use super::refusals::{set, tell};

/// Entries in a reply: of the dead letters the fields too.
type Entries = Vec<(String, redis::Value)>;
type Letters = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;

/// Redis takes no more connections, and closes those of the workers.
pub(crate) fn no_more_clients(stage: &mut Stage) {
    stage.pause_between(500, 900);
    set(stage, "maxclients", "1");
    super::close_connections(stage);
    stage.journal.injected("refusals of connections");
    stage.pause_between(300, 1_500);
    set(stage, "maxclients", "10000");
}

/// A worker may open nothing any more, and loses its connections.
pub(crate) fn no_more_files(stage: &mut Stage) {
    stage.pause_between(500, 900);
    let Some(worker) = stage.any_up() else { return };
    stage.allow(&worker, Allowance::Files, Some(3));
    super::close_connections(stage);
    stage.journal.injected("workers without files");
    stage.pause_between(500, 2_000);
    stage.allow(&worker, Allowance::Files, None);
}

/// The file of the ledger may not grow any more.
pub(crate) fn no_more_room(stage: &mut Stage) {
    stage.pause_between(500, 900);
    let workers = stage.up();
    // More than their logs have, which lie on the same disk.
    workers.iter().for_each(|worker| stage.allow(worker, Allowance::FileSize, Some(200_000)));
    stage.journal.injected("ledgers that cannot grow");
    stage.pause_between(300, 2_000);
    workers.iter().for_each(|worker| stage.allow(worker, Allowance::FileSize, None));
}

/// The disk of the ledger is full, to the last byte.
pub(crate) fn fill_the_disk(stage: &mut Stage) {
    stage.pause_between(500, 900);
    stage.disk.iter().for_each(Disk::fill);
    stage.journal.injected("full disks");
    stage.pause_between(300, 2_000);
    stage.disk.iter().for_each(Disk::clear);
}

/// Redis cannot save, and takes no writes for that.
pub(crate) fn cannot_save(stage: &mut Stage) {
    stage.pause_between(500, 900);
    let target = stage.servers.server.folder().join("dump.rdb");
    // A file cannot be renamed to what is a folder.
    fs::create_dir_all(&target).expect("a folder in the way");
    set(stage, "save", "3600 1");
    tell(stage, redis::cmd("BGSAVE").arg("SCHEDULE"));
    stage.pause_between(500, 1_500);
    stage.journal.injected("saves that fail");
    set(stage, "save", "");
    fs::remove_dir(&target).expect("the folder in the way goes");
}

/// Workers come one after the other, up to five, and go again.
pub(crate) fn scale(stage: &mut Stage) {
    for number in 2..=5 {
        stage.pause_between(200, 500);
        let name = format!("w{number}");
        stage.start(&name, &name);
        stage.journal.injected("workers more");
    }
    stage.pause_between(500, 1_000);
    for number in (2..=5).rev() {
        stage.stop(&format!("w{number}"));
        stage.pause_between(100, 300);
    }
}

/// A second group comes, begins with what is new, takes something and is gone again.
pub(crate) fn second_group_comes_and_goes(stage: &mut Stage) {
    stage.pause_between(300, 600);
    tell(stage, redis::cmd("XGROUP").arg("CREATE").arg(STREAM).arg(SLOW_GROUP).arg("$"));
    stage.pause_between(200, 500);
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(SLOW_GROUP).arg("s-0").arg("COUNT").arg(5).arg("STREAMS").arg(STREAM).arg(">");
    tell(stage, &read);
    stage.pause_between(500, 1_000);
    tell(stage, redis::cmd("XGROUP").arg("DESTROY").arg(STREAM).arg(SLOW_GROUP));
    stage.journal.injected("second groups that came and went");
}

/// Somebody trims the stream to its newest entries, whoever needs the others.
pub(crate) fn trim_by_hand(stage: &mut Stage) {
    stage.pause_between(300, 700);
    let mut trim = redis::pipe();
    trim.atomic().cmd("XRANGE").arg(STREAM).arg("-").arg("+");
    trim.cmd("XTRIM").arg(STREAM).arg("MAXLEN").arg(2).ignore();
    trim.cmd("XRANGE").arg(STREAM).arg("-").arg("+");
    let Ok((before, after)) = stage.redis.ask(|connection| trim.query::<(Entries, Entries)>(connection)) else {
        return;
    };
    let is_left = |id: &String| after.iter().any(|(left, _)| left == id);
    let gone = before.iter().map(|(id, _)| id).filter(|id| !is_left(id));
    let ids: Vec<Id> = gone.filter_map(|id| id.parse().ok()).collect();
    stage.journal.note(What::Deleted { ids });
    stage.journal.injected("trims by others");
}

/// Somebody empties the whole server. What was on the stream and what was buried is lost by that hand, and named.
pub(crate) fn flush_all(stage: &mut Stage) {
    stage.pause_between(800, 1_500);
    stage.journal.note(What::GroupLost);
    let mut flush = redis::pipe();
    flush.atomic().cmd("XRANGE").arg(STREAM).arg("-").arg("+").cmd("XRANGE").arg(DEAD).arg("-").arg("+");
    flush.cmd("FLUSHALL").ignore();
    let flushed = stage.redis.ask(|connection| flush.query::<(Entries, Letters)>(connection));
    let Ok((entries, letters)) = flushed else { return };
    let buried = letters.iter().filter_map(|(_, fields)| {
        let (_, id) = fields.iter().rev().find(|(name, _)| name == b"_id")?;
        std::str::from_utf8(id).ok()?.parse().ok()
    });
    let ids: Vec<Id> = entries.iter().filter_map(|(id, _)| id.parse().ok()).chain(buried).collect();
    stage.journal.note(What::Deleted { ids });
    stage.journal.injected("servers emptied");
}

/// The ledger holds every call for longer than a handler may take.
pub(crate) fn hang(stage: &mut Stage) {
    stage.pause_between(300, 700);
    let pause = Duration::from_millis(stage.rng.u64(600..2_500));
    super::refusals::hold_ledger(stage, pause);
    stage.journal.injected("ledger held");
}
