//! Redis is there and refuses, or the ledger does.
//!
//! Owns: trouble that comes with an answer.
//! Never: a loss: each of these ends with everything where it was.

use std::time::Duration;

use redis::{Cmd, Pipeline};
use rusqlite::Connection;

use crate::stage::Stage;
use crate::stage::stream::STREAM;

/// Redis is out of memory: nothing can be added, no dead letter either, and all else goes on.
pub(crate) fn out_of_memory(stage: &mut Stage) {
    stage.pause_between(300, 600);
    set(stage, "maxmemory", "1");
    stage.journal.injected("out of memory");
    stage.pause_between(300, 2_000);
    set(stage, "maxmemory", "0");
}

/// Redis takes no writes, as a primary that was demoted.
pub(crate) fn read_only(stage: &mut Stage) {
    stage.pause_between(500, 900);
    // Nobody listens at this port, so nothing is replaced.
    tell(stage, redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1));
    stage.journal.injected("read-only servers");
    stage.pause_between(300, 1_500);
    tell(stage, redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
}

/// Something else stands at the key of the stream for a while.
pub(crate) fn overwrite_key(stage: &mut Stage) {
    const ASIDE: &str = "aside";
    stage.pause_between(500, 900);
    let mut block = redis::pipe();
    block.atomic().cmd("RENAME").arg(STREAM).arg(ASIDE).ignore().cmd("SET").arg(STREAM).arg("no stream").ignore();
    tell_all(stage, &block);
    stage.journal.injected("keys overwritten");
    stage.pause_between(300, 1_500);
    let mut clear = redis::pipe();
    clear.atomic().cmd("DEL").arg(STREAM).ignore().cmd("RENAME").arg(ASIDE).arg(STREAM).ignore();
    tell_all(stage, &clear);
}

/// Another process holds the lock of the ledger, sometimes for longer than a worker waits for it.
pub(crate) fn lock_ledger(stage: &mut Stage) {
    stage.pause_between(500, 900);
    // The first time for five times `claim_after`: that is a slow handler.
    let pause = if stage.locks == 0 { 5_000 } else { stage.rng.u64(500..=7_000) };
    stage.locks += 1;
    hold_ledger(stage, Duration::from_millis(pause));
    stage.journal.injected("ledger locked");
    if pause >= 5_000 {
        stage.journal.injected("locked for five times claim_after");
    }
}

/// Holds the lock of the ledger for so long.
pub(crate) fn hold_ledger(stage: &mut Stage, pause: Duration) {
    let Some(file) = stage.ledger_file() else { return };
    let holder = Connection::open(file).expect("the ledger opens");
    holder.busy_timeout(Duration::from_secs(30)).expect("a time to wait");
    holder.execute_batch("BEGIN IMMEDIATE").expect("the lock of the ledger");
    stage.pause(pause);
    holder.execute_batch("ROLLBACK").expect("the lock is given back");
}

/// Changes a setting of Redis.
pub(crate) fn set(stage: &mut Stage, name: &str, value: &str) {
    tell(stage, redis::cmd("CONFIG").arg("SET").arg(name).arg(value));
}

pub(crate) fn tell(stage: &mut Stage, command: &Cmd) {
    stage.redis.ask(|connection| command.exec(connection)).expect("the server does as it is told");
}

fn tell_all(stage: &mut Stage, commands: &Pipeline) {
    stage.redis.ask(|connection| commands.query::<()>(connection)).expect("the server does as it is told");
}
