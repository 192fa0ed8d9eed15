//! What happens to whole servers: Redis, its replica and its clock; Postgres.
//!
//! Owns: trouble that takes a server away, or puts another in its place.
//! Never: a loss that is not noted: what a server forgot is held against nobody.

use std::time::Duration;

use crate::checker::record::What;
use crate::stage::Stage;
use crate::stage::book::Place;

/// Redis is killed, or stopped in good order, and comes back with everything that it has answered.
pub(crate) fn kill_server(stage: &mut Stage) {
    stage.pause_between(800, 1_600);
    let pause = Duration::from_millis(stage.rng.u64(50..800));
    if stage.rng.u32(..4) == 0 {
        stage.stop_server(pause);
    } else {
        stage.kill_server(pause, 0);
    }
}

/// Redis is killed and comes back without the last of what it has answered: that was not on the disk yet.
pub(crate) fn lose_the_last_second(stage: &mut Stage) {
    stage.pause_between(1_200, 2_000);
    let pause = Duration::from_millis(stage.rng.u64(50..800));
    let lost = stage.rng.u64(2_000..60_000);
    stage.journal.note(What::GroupLost);
    stage.kill_server(pause, lost);
}

/// The replica stops following, its primary goes on for a while, and dies. Then the replica takes its place, without what came last: it
/// has neither those entries nor those acknowledgements.
pub(crate) fn fail_over(stage: &mut Stage) {
    stage.pause_between(1_200, 2_000);
    let Some(mut replica) = stage.servers.synced_replica() else { return };
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut replica).expect("the replica does as it is told");
    stage.pause_between(100, 600);
    // Noted first: what is buried again from now on has its reason.
    stage.journal.note(What::GroupLost);
    let Some(at) = stage.servers.fail_over() else { return };
    let port = stage.servers.port();
    if let Some(proxy) = &stage.proxy {
        proxy.lead_to(port);
    }
    stage.note_restart(at);
    stage.journal.injected("failovers");
    stage.pause(Duration::from_millis(500));
    stage.servers.replicate();
}

/// The clock of Redis is set forward by an hour and back again, or back and forward.
pub(crate) fn set_the_clock(stage: &mut Stage) {
    stage.pause_between(1_000, 2_000);
    let offsets = ["+1h", "+0", "-1h", "+0"];
    stage.servers.set_clock(offsets[stage.turns % offsets.len()]);
    stage.turns += 1;
    stage.journal.injected("steps of the clock");
}

/// Postgres is stopped or killed, and comes back.
pub(crate) fn restart_postgres(stage: &mut Stage) {
    stage.pause_between(1_200, 2_000);
    let Place::Postgres(database) = stage.ledger.clone() else { return };
    if stage.rng.bool() {
        database.server.stop();
    } else {
        database.server.kill9();
    }
    stage.pause_between(100, 1_500);
    database.server.start_again();
    stage.journal.injected("restarts of Postgres");
}
