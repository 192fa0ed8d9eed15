//! What is done to the system: one step of each kind of trouble.
//!
//! Owns: the steps, and noting what was done.
//! Never: a judgement; trouble without a seed.

use std::time::Duration;

use crate::checker::record::{Id, What};
use crate::stage::Stage;
use crate::stage::proxy::Weather;
use crate::stage::stream::{DEAD, GROUP, STREAM};

pub(crate) mod limits;
pub(crate) mod lives;
pub(crate) mod refusals;
pub(crate) mod servers;

/// One step of trouble, with its pauses.
pub(crate) type Fault = fn(&mut Stage);

/// Entries in a reply, of which only the ids are of interest.
type Entries = Vec<(String, redis::Value)>;

/// Nothing.
pub(crate) fn none(stage: &mut Stage) {
    stage.pause_between(200, 200);
}

/// kill -9, and a new worker of the same name at once or after others have had to take over.
pub(crate) fn kill(stage: &mut Stage) {
    stage.pause_between(300, 900);
    let Some(worker) = stage.any_up() else { return };
    stage.kill(&worker);
    if stage.rng.bool() {
        stage.pause_between(1_500, 2_500);
    }
    stage.start_again(&worker);
}

/// SIGTERM under load, one worker after the other.
pub(crate) fn roll(stage: &mut Stage) {
    for worker in stage.up() {
        stage.pause_between(300, 700);
        stage.stop(&worker);
        stage.start_again(&worker);
    }
}

/// SIGSTOP for three times `claim_after`: the others take over, and then the worker goes on as if nothing had been.
pub(crate) fn freeze(stage: &mut Stage) {
    stage.pause_between(700, 1_200);
    // So that it has something in hand.
    refusals::hold_ledger(stage, Duration::from_millis(200));
    let Some(worker) = stage.any_up() else { return };
    stage.freeze(&worker);
    stage.pause(Duration::from_secs(3));
    stage.thaw(&worker);
    stage.pause(Duration::from_secs(1));
}

/// The clock of the workers is set forward by an hour and back again, or back and forward. Some of them are killed meanwhile.
pub(crate) fn set_the_clock_of_the_workers(stage: &mut Stage) {
    let offsets = ["+1h", "+0", "-1h", "+0"];
    let offset = offsets[stage.turns % offsets.len()];
    stage.turns += 1;
    stage.clock.iter().for_each(|clock| clock.set(offset));
    stage.journal.injected("steps of the workers' clock");
    kill(stage);
}

/// Every connection of the workers is closed at the server, every 50 ms for a while.
pub(crate) fn close_connections(stage: &mut Stage) {
    stage.pause(Duration::from_millis(50));
    let list = stage.redis.ask(|connection| redis::cmd("CLIENT").arg("LIST").query::<String>(connection));
    let Ok(list) = list else { return };
    for line in list.lines().filter(|line| !line.contains(" name=proof ")) {
        let id = line.split(' ').find_map(|part| part.strip_prefix("id="));
        let Some(id) = id else { continue };
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id);
        if stage.redis.ask(|connection| kill.query::<u64>(connection)).is_ok_and(|killed| killed > 0) {
            stage.journal.injected("connections closed");
        }
    }
}

/// The same now and then, with time for work in between.
pub(crate) fn close_connections_now_and_then(stage: &mut Stage) {
    stage.pause_between(100, 600);
    close_connections(stage);
}

/// Redis answers nobody for longer than `claim_after`.
pub(crate) fn pause_server(stage: &mut Stage) {
    stage.pause_between(500, 1_000);
    let pause = stage.rng.u64(200..1_500);
    let mut command = redis::cmd("CLIENT");
    command.arg("PAUSE").arg(pause);
    if stage.redis.ask(|connection| command.exec(connection)).is_ok() {
        stage.journal.injected("pauses of the server");
    }
    stage.pause(Duration::from_millis(pause));
}

/// Somebody removes the group.
pub(crate) fn destroy_group(stage: &mut Stage) {
    stage.pause_between(800, 1_500);
    // Noted first: what is buried again from now on has its reason.
    stage.journal.note(What::GroupLost);
    let mut destroy = redis::cmd("XGROUP");
    destroy.arg("DESTROY").arg(STREAM).arg(GROUP);
    if stage.redis.ask(|connection| destroy.query::<u64>(connection)).is_ok_and(|destroyed| destroyed > 0) {
        stage.journal.injected("groups destroyed");
    }
}

/// Somebody deletes the stream. What was on it and not applied is lost by that hand, and named; what is added after it is not.
pub(crate) fn delete_stream(stage: &mut Stage) {
    stage.pause_between(800, 1_500);
    stage.journal.note(What::GroupLost);
    let mut delete = redis::pipe();
    delete.atomic().cmd("XRANGE").arg(STREAM).arg("-").arg("+").cmd("DEL").arg(STREAM);
    let Ok((entries, _)) = stage.redis.ask(|connection| delete.query::<(Entries, u64)>(connection)) else { return };
    let ids = entries.iter().filter_map(|(id, _)| id.parse().ok()).collect();
    stage.journal.note(What::Deleted { ids });
    stage.journal.injected("streams deleted");
}

/// Somebody deletes entries that are pending.
pub(crate) fn delete_pending(stage: &mut Stage) {
    stage.pause_between(50, 150);
    let mut delete = redis::cmd("EVAL");
    // Only events whose absence does no harm to their order.
    let script = r"
        local deleted = {}
        for _, row in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 5)) do
          local entry = redis.call('XRANGE', KEYS[1], row[1], row[1])[1]
          if entry and entry[2][2] == 'refunded' then
            redis.call('XDEL', KEYS[1], row[1])
            deleted[#deleted + 1] = row[1]
          end
        end
        return deleted";
    delete.arg(script).arg(1).arg(STREAM).arg(GROUP);
    let Ok(deleted) = stage.redis.ask(|connection| delete.query::<Vec<String>>(connection)) else { return };
    if !deleted.is_empty() {
        let ids = deleted.iter().filter_map(|id| id.parse().ok()).collect();
        stage.journal.note(What::Deleted { ids });
    }
}

/// Deletes what a killed worker had in hand, before anybody takes it over.
pub(crate) fn kill_and_delete(stage: &mut Stage) {
    stage.pause_between(300, 600);
    let Some(worker) = stage.any_up() else { return };
    stage.kill(&worker);
    for _ in 0..3 {
        delete_pending(stage);
    }
    stage.start_again(&worker);
}

/// Dead letters cannot be added: something else stands at their key.
pub(crate) fn refuse_dead_letters(stage: &mut Stage) {
    stage.pause_between(400, 800);
    let aside = format!("{DEAD}:aside");
    let mut block = redis::pipe();
    // Where there are no letters yet, there is nothing to set aside.
    block.cmd("EXISTS").arg(DEAD);
    let exists: Vec<u64> = stage.redis.ask(|connection| block.query(connection)).unwrap_or_default();
    if exists != [1] {
        return;
    }
    let mut block = redis::pipe();
    block.atomic().cmd("RENAME").arg(DEAD).arg(&aside).ignore().cmd("SET").arg(DEAD).arg("no stream").ignore();
    if stage.redis.ask(|connection| block.query::<()>(connection)).is_ok() {
        stage.journal.injected("refusals of dead letters");
    }
    stage.pause_between(500, 1_000);
    let mut clear = redis::pipe();
    clear.atomic().cmd("DEL").arg(DEAD).ignore().cmd("RENAME").arg(&aside).arg(DEAD).ignore();
    stage.redis.ask(|connection| clear.query::<()>(connection)).expect("the letters are put back");
}

/// The network between workers and Redis.
pub(crate) fn bad_network(stage: &mut Stage) {
    stage.pause_between(300, 800);
    let weathers = [
        (Weather::Cut, "replies cut"),
        (Weather::BlackHole, "black holes"),
        (Weather::OneWay, "one-way networks"),
        (Weather::HalfOpen, "half-open connections"),
        (Weather::Fine, "connections reset"),
        (Weather::Slow, "slow network"),
    ];
    let (weather, name) = weathers[stage.weathers % weathers.len()];
    stage.weathers += 1;
    let Some(proxy) = &stage.proxy else { return };
    if weather == Weather::Fine {
        proxy.reset();
    }
    proxy.set(weather);
    stage.journal.injected(name);
    stage.pause_between(300, 2_000);
    if let Some(proxy) = &stage.proxy {
        proxy.set(Weather::Fine);
    }
}

/// Replies are cut in the middle: Redis has delivered, and the worker has nothing.
pub(crate) fn cut_replies(stage: &mut Stage) {
    stage.pause_between(200, 500);
    let Some(proxy) = &stage.proxy else { return };
    proxy.set(Weather::Cut);
    stage.journal.injected("replies cut");
    stage.pause_between(20, 100);
    if let Some(proxy) = &stage.proxy {
        proxy.set(Weather::Fine);
    }
}

/// A worker is started whose name another one has, which has something in hand.
pub(crate) fn start_a_namesake(stage: &mut Stage) {
    stage.pause_between(1_500, 2_000);
    if stage.up().len() < 3 {
        stage.start("w3", "w1");
        stage.journal.injected("namesakes started");
    }
}

/// A consumer that is alive and slow has the front of the pending list in hand, and a worker is killed behind it.
pub(crate) fn kill_behind_a_front(stage: &mut Stage) {
    if stage.held.is_empty() {
        stage.held = take_front(stage);
        stage.journal.note(What::HeldOnPurpose { ids: stage.held.clone() });
    }
    for _ in 0..4 {
        renew_front(stage);
        stage.pause(Duration::from_millis(100));
    }
    // So that whoever is killed has something in hand.
    refusals::hold_ledger(stage, Duration::from_millis(200));
    if let Some(worker) = stage.any_up().filter(|_| stage.up().len() > 1) {
        stage.kill(&worker);
    }
}

/// Adds entries and reads them in one step, so that no worker gets them. They are no events of the producer's.
fn take_front(stage: &mut Stage) -> Vec<Id> {
    const FRONT: usize = 60;
    let mut take = redis::pipe();
    take.atomic();
    for _ in 0..FRONT {
        take.cmd("XADD").arg(STREAM).arg("*").arg("held").arg("by the harness").ignore();
    }
    take.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg("front-0").arg("COUNT").arg(10 * FRONT);
    take.arg("STREAMS").arg(STREAM).arg(">");
    let read = stage.redis.ask(|connection| take.query::<Vec<Vec<(String, Entries)>>>(connection));
    let read = read.expect("nothing is done to the server in this scenario");
    read.into_iter().flatten().flat_map(|(_, entries)| entries).filter_map(|(id, _)| id.parse().ok()).collect()
}

/// Keeps what the harness holds.
pub(crate) fn renew_front(stage: &mut Stage) {
    if stage.held.is_empty() {
        return;
    }
    let mut renew = redis::cmd("XCLAIM");
    renew.arg(STREAM).arg(GROUP).arg("front-0").arg(0);
    let ids: Vec<String> = stage.held.iter().map(ToString::to_string).collect();
    renew.arg(ids).arg("JUSTID");
    // Where this fails, the next one does it.
    let _ = stage.redis.ask(|connection| renew.query::<Vec<String>>(connection));
}

/// kill -9 or SIGTERM, for crash points on the ways that lead from there.
pub(crate) fn kill_or_roll(stage: &mut Stage) {
    if stage.rng.bool() { kill(stage) } else { roll(stage) }
}

/// Everything that can go on, and several of it at the same time: a bad network or a server that pauses, and beneath it something else.
/// Each kind has its turn; every second one is a worker's death.
pub(crate) fn everything(stage: &mut Stage) {
    let deaths: [Fault; 4] = [kill, roll, kill, freeze];
    let others: [Fault; 9] = [
        servers::kill_server,
        destroy_group,
        close_connections_now_and_then,
        limits::no_more_files,
        refusals::out_of_memory,
        pause_server,
        bad_network,
        limits::no_more_clients,
        refusals::lock_ledger,
    ];
    let turn = stage.turns;
    stage.turns += 1;
    let fault = if turn.is_multiple_of(2) { deaths[turn / 2 % deaths.len()] } else { others[turn / 2 % others.len()] };
    // Who is asked to stop is left a way to Redis: in the dark he could acknowledge nothing of what he has done.
    let above = [Weather::Fine, Weather::Slow, Weather::OneWay, Weather::BlackHole];
    let choice = if turn.is_multiple_of(2) { &above[..2] } else { &above[..] };
    let weather = choice[stage.rng.usize(..choice.len())];
    if let Some(proxy) = &stage.proxy {
        proxy.set(weather);
    }
    if weather != Weather::Fine {
        stage.journal.injected("bad weather above");
    }
    fault(stage);
    if let Some(proxy) = &stage.proxy {
        proxy.set(Weather::Fine);
    }
    stage.pause_between(200, 600);
}
