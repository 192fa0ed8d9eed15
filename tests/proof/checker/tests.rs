//! Each defect, planted once in a valid history: the checker finds that one and no other.

use std::fs;
use std::path::Path;

use serde::Serialize;
use tempfile::TempDir;

use super::record::{
    self, Added, Applied, Fact, Fate, Group, Held, Id, Letter, OrderRow, Run, Sample, Stream, What, Witnessed,
};
use super::{Class, Judgement, Verdict, judge};

/// The files of a run, before they are written.
struct Files {
    run: Run,
    added: Vec<Added>,
    applied: Vec<Applied>,
    orders: Vec<OrderRow>,
    letters: Vec<Letter>,
    facts: Vec<Fact>,
    samples: Vec<Sample>,
    witness: Vec<Witnessed>,
    end: Stream,
}

fn id(ms: u64) -> Id {
    Id { life: 0, ms, n: 0 }
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn stream(first: u64, last: u64, delivered: u64, pending: &[(u64, &str, u64)]) -> Stream {
    let pending =
        pending.iter().map(|(ms, owner, count)| Held { id: id(*ms), owner: (*owner).to_owned(), count: *count });
    let groups = vec![
        Group { name: "g".to_owned(), last_delivered: id(delivered), pending: pending.collect() },
        Group { name: "slow".to_owned(), last_delivered: id(delivered), pending: Vec::new() },
    ];
    Stream { length: last - first + 1, first: Some(id(first)), last_generated: id(last), groups }
}

fn fact(at: u64, what: What) -> Fact {
    Fact { at, what }
}

fn worker(name: &str) -> String {
    name.to_owned()
}

/// Two orders, ten events each; 13 was too early and became a dead letter, and 21 could not be decoded. The producer did not hear
/// what became of the last event, which was applied.
fn valid() -> Files {
    let mut files = Files {
        run: Run {
            name: "planted".to_owned(),
            seed: 1,
            group: "g".to_owned(),
            one_at_a_time: true,
            calm: false,
            leases: true,
            witnessed: true,
            needs: vec![("kills".to_owned(), 1), ("redelivered".to_owned(), 1)],
        },
        added: Vec::new(),
        applied: Vec::new(),
        orders: Vec::new(),
        letters: Vec::new(),
        facts: Vec::new(),
        samples: Vec::new(),
        witness: Vec::new(),
        end: stream(5, 22, 22, &[]),
    };
    let mut versions = [0, 0];
    for (n, seq) in (1..=20).zip(1..) {
        let (order, step) = (["a", "b"][n % 2], n.div_ceil(2));
        let action = ["created", "paid"].get(step - 1).copied().unwrap_or("refunded");
        let fields = pairs(&[("orderId", order), ("action", action), ("amount", &step.to_string())]);
        let ms = n as u64;
        let fate = if n == 13 { Fate::Buried } else { Fate::Applied };
        files.added.push(Added { at: ms, id: Some(id(ms)), fields: fields.clone(), fate });
        if n == 13 {
            let facts = pairs(&[("_id", "13-0"), ("_failures", "3"), ("_reason", "max-failures"), ("_dead_at", "114")]);
            files.letters.push(Letter { fields: [fields, facts].concat(), life: 0 });
            continue;
        }
        versions[n % 2] += 1;
        let (version, amount) = (versions[n % 2], Some(step.to_string()));
        let (order, action) = (order.to_owned(), action.to_owned());
        files.applied.push(Applied { seq, entry: id(ms), order, action, amount, version, at: 100 + ms });
    }
    for (order, refunded) in [("a", "52"), ("b", "45")] {
        let version = versions[usize::from(order == "b")];
        files.orders.push(OrderRow { order: order.to_owned(), refunded: refunded.to_owned(), version });
    }
    let broken = pairs(&[("orderId", "a"), ("action", "paid"), ("amount", "1,5")]);
    files.added.push(Added { at: 21, id: Some(id(21)), fields: broken.clone(), fate: Fate::Buried });
    let facts = pairs(&[("_id", "21-0"), ("_failures", "0"), ("_reason", "bad-amount"), ("_dead_at", "121")]);
    files.letters.push(Letter { fields: [broken, facts].concat(), life: 0 });
    unanswered(&mut files);
    for (at, delivered, pending) in [(3, 4, (4, "w1-0", 1)), (8, 10, (9, "w1-0", 1)), (12, 14, (13, "w1-1", 1))] {
        files.samples.push(Sample {
            at,
            stream: stream(1, delivered, delivered, &[pending]),
            mark: delivered.cast_signed(),
        });
    }
    files.samples.push(Sample { at: 300, stream: stream(1, 22, 22, &[(13, "w2-0", 2)]), mark: 22 });
    files.witness = files.applied.iter().map(|row| told("w1", row)).collect();
    let again = Witnessed { fresh: false, ..told("w2", row_of(&files, 14)) };
    files.witness.push(again);
    files.facts.push(fact(10, What::Started { worker: worker("w1") }));
    files.facts.push(fact(11, What::Started { worker: worker("w2") }));
    files.facts.push(fact(150, What::Killed { worker: worker("w1"), in_flight: 1 }));
    files.facts.push(fact(400, What::Stopped { worker: worker("w2"), ok: true, mark: 22, left: Vec::new() }));
    files
}

/// What a worker is told of an event that has just been applied.
fn told(name: &str, row: &Applied) -> Witnessed {
    let Applied { entry, order, action, amount, .. } = row.clone();
    Witnessed { worker: worker(name), entry, fresh: true, order, action, amount }
}

fn row_of(files: &Files, ms: u64) -> &Applied {
    files.applied.iter().find(|row| row.entry == id(ms)).unwrap()
}

fn unanswered(files: &mut Files) {
    let fields = pairs(&[("orderId", "a"), ("action", "refunded"), ("amount", "11")]);
    files.added.push(Added { at: 22, id: None, fields, fate: Fate::Applied });
    let (order, action, amount) = ("a".to_owned(), "refunded".to_owned(), Some("11".to_owned()));
    files.applied.push(Applied { seq: 22, entry: id(22), order, action, amount, version: 11, at: 122 });
    let a = files.orders.iter_mut().find(|row| row.order == "a").unwrap();
    (a.refunded, a.version) = ("63".to_owned(), 11);
}

fn write(folder: &Path, files: &Files) {
    fn lines<T: Serialize>(path: &Path, records: &[T]) {
        let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        fs::write(path, lines.join("\n")).unwrap();
    }
    fs::write(folder.join(record::RUN), serde_json::to_string(&files.run).unwrap()).unwrap();
    fs::write(folder.join(record::END), serde_json::to_string(&files.end).unwrap()).unwrap();
    lines(&folder.join(record::ADDED), &files.added);
    lines(&folder.join(record::HISTORY), &files.applied);
    lines(&folder.join(record::ORDERS), &files.orders);
    lines(&folder.join(record::LETTERS), &files.letters);
    lines(&folder.join(record::FACTS), &files.facts);
    lines(&folder.join(record::SAMPLES), &files.samples);
    lines(&folder.join(record::WITNESS), &files.witness);
}

fn judged(files: &Files) -> Judgement {
    let folder = TempDir::new().unwrap();
    write(folder.path(), files);
    judge(folder.path()).unwrap()
}

/// Plants a defect, and holds that nothing else is found.
fn planted(class: Class, plant: impl FnOnce(&mut Files)) {
    let mut files = valid();
    plant(&mut files);
    let judgement = judged(&files);
    assert_eq!(judgement.classes(), [class], "{}", judgement.report);
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert!(judgement.report.contains(class.name()), "{}", judgement.report);
}

/// Takes an event out of the ledger as if it had never been applied.
fn take_out(files: &mut Files, ms: u64) {
    let at = files.applied.iter().position(|row| row.entry == id(ms)).unwrap();
    let gone = files.applied.remove(at);
    files.witness.retain(|line| line.entry != id(ms));
    for row in files.applied.iter_mut().filter(|row| row.order == gone.order && row.version > gone.version) {
        row.version -= 1;
    }
    let order = files.orders.iter_mut().find(|order| order.order == gone.order).unwrap();
    order.version -= 1;
    let amount: u64 = gone.amount.unwrap().parse().unwrap();
    order.refunded = (order.refunded.parse::<u64>().unwrap() - amount).to_string();
}

#[test]
fn a_valid_history_is_valid_and_its_numbers_are_right() {
    let judgement = judged(&valid());
    assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.report);
    assert_eq!(judgement.count("added"), 22);
    assert_eq!(judgement.count("unanswered"), 1);
    assert_eq!(judgement.count("redelivered"), 1);
    assert_eq!(judgement.count("recovered"), 1);
    assert_eq!((judgement.count("witnessed"), judgement.count("duplicates suppressed")), (20, 1));
}

#[test]
fn a_run_in_which_the_fault_did_not_bite_shows_nothing() {
    let mut files = valid();
    files.facts.retain(|fact| !matches!(fact.what, What::Killed { .. }));
    files.run.leases = false;
    assert_eq!(judged(&files).verdict, Verdict::Unknown(vec!["it did not bite: kills (at least 1)".to_owned()]));
}

#[test]
fn a_lost_entry_is_found() {
    planted(Class::Lost, |files| {
        take_out(files, 20);
        // No sample saw it acknowledged.
        files.samples.pop();
        files.run.needs.clear();
    });
}

#[test]
fn an_entry_that_was_deleted_by_others_or_forgotten_by_redis_is_not_held_against_anybody() {
    let mut files = valid();
    take_out(&mut files, 20);
    files.facts.push(fact(30, What::Deleted { ids: vec![id(20)] }));
    let judgement = judged(&files);
    assert_eq!(
        (&judgement.verdict, judgement.count("deleted by others")),
        (&Verdict::Valid, 1),
        "{}",
        judgement.report
    );

    let mut files = valid();
    take_out(&mut files, 20);
    files.facts.push(fact(20, What::ServerRestarted { last_generated: id(19) }));
    let judgement = judged(&files);
    assert_eq!((&judgement.verdict, judgement.count("lost by Redis")), (&Verdict::Valid, 1), "{}", judgement.report);
}

#[test]
fn an_effect_without_an_entry_is_found() {
    planted(Class::Unexpected, |files| {
        files.added.pop();
    });
}

#[test]
fn an_effect_that_is_there_twice_is_found() {
    planted(Class::Duplicated, |files| {
        let again = Applied { seq: 23, version: 12, ..files.applied.last().unwrap().clone() };
        files.applied.push(again);
        let a = files.orders.iter_mut().find(|row| row.order == "a").unwrap();
        (a.refunded, a.version) = ("74".to_owned(), 12);
    });
}

#[test]
fn an_effect_that_is_not_what_was_added_is_found() {
    planted(Class::Corrupt, |files| files.added[9].fields[2].1 = "77".to_owned());
    planted(Class::Corrupt, |files| files.orders[0].refunded = "1".to_owned());
}

#[test]
fn events_of_one_order_in_the_wrong_order_are_found() {
    let swap = |files: &mut Files| {
        let (one, other) = (files.applied[5].entry, files.applied[7].entry);
        let (amount, later) = (files.applied[5].amount.clone(), files.applied[7].amount.clone());
        (files.applied[5].entry, files.applied[7].entry) = (other, one);
        (files.applied[5].amount, files.applied[7].amount) = (later, amount);
    };
    planted(Class::OutOfOrder, swap);
    let mut files = valid();
    swap(&mut files);
    files.run.one_at_a_time = false;
    let judgement = judged(&files);
    assert_eq!((&judgement.verdict, judgement.count("inversions")), (&Verdict::Valid, 1), "{}", judgement.report);
}

#[test]
fn an_event_that_overtook_one_that_was_being_tried_is_found() {
    planted(Class::Overtaken, |files| {
        let at = files.letters[0].fields.iter().position(|(name, _)| name == "_dead_at").unwrap();
        files.letters[0].fields[at].1 = "116".to_owned();
    });
}

#[test]
fn an_ack_before_its_effect_is_found() {
    planted(Class::PrematureAck, |files| files.samples[1].mark = 7);
}

#[test]
fn a_trim_of_what_a_group_still_needs_is_found() {
    planted(Class::UnsafeTrim, |files| files.samples[1].stream.first = Some(id(10)));
    planted(Class::UnsafeTrim, |files| {
        files.samples[2].stream.groups[1].last_delivered = id(3);
        files.samples[2].stream.first = Some(id(5));
    });
}

#[test]
fn what_nobody_finished_is_found() {
    let pending = |files: &mut Files| {
        take_out(files, 20);
        for stream in [&mut files.samples.last_mut().unwrap().stream, &mut files.end] {
            stream.groups[0].pending.push(Held { id: id(20), owner: worker("w2-0"), count: 1 });
        }
    };
    planted(Class::UnackedAtTheEnd, pending);
    planted(Class::UnackedAtTheEnd, |files| files.facts.push(fact(500, What::NotDrained)));
    let mut files = valid();
    pending(&mut files);
    files.facts.push(fact(500, What::HeldOnPurpose { ids: vec![id(20)] }));
    assert_eq!(judged(&files).verdict, Verdict::Valid, "held by the harness itself");
}

#[test]
fn a_dead_letter_that_should_not_be_or_is_not_whole_is_found() {
    planted(Class::DeadLetterMismatch, |files| files.added[12].fate = Fate::Applied);
    planted(Class::DeadLetterMismatch, |files| files.letters[1].fields[2].1 = "1.5".to_owned());
    let twice = |files: &mut Files| {
        let again = files.letters[1].clone();
        files.letters.push(again);
    };
    planted(Class::DeadLetterMismatch, twice);
    let mut files = valid();
    twice(&mut files);
    files.facts.push(fact(50, What::GroupLost));
    assert_eq!(judged(&files).verdict, Verdict::Valid, "whoever makes a group again begins a little earlier");
}

#[test]
fn a_redelivery_without_a_reason_is_found() {
    planted(Class::NeedlessRedelivery, |files| {
        let What::Stopped { left, .. } = &mut files.facts[3].what else { panic!("the stop") };
        left.push(id(20));
    });
    planted(Class::NeedlessRedelivery, |files| files.run.calm = true);
    let mut files = valid();
    let What::Stopped { left, .. } = &mut files.facts[3].what else { panic!("the stop") };
    left.push(id(20));
    files.facts.push(fact(200, What::Started { worker: worker("w2") }));
    assert_eq!(judged(&files).verdict, Verdict::Valid, "what an earlier life applied is inherited");
}

#[test]
fn a_redelivery_while_the_machine_kept_somebody_waiting_says_nothing_and_at_any_other_time_it_is_found() {
    let starved = |at| {
        let mut files = valid();
        files.run.calm = true;
        // Seen with its second worker at 300.
        files.samples.iter_mut().for_each(|sample| sample.at += 10_000);
        files.facts.push(fact(at, What::Starved { ms: 700 }));
        judged(&files).verdict
    };
    let why = "leases that changed hands while the machine kept somebody waiting: 1".to_owned();
    assert_eq!(starved(9_500), Verdict::Unknown(vec![why]));
    assert_eq!(starved(7_000), Verdict::Invalid, "long before");
    assert_eq!(starved(11_000), Verdict::Invalid, "after it");
}

#[test]
fn a_lease_that_was_stolen_back_is_found() {
    let steal = |files: &mut Files| {
        for (at, owner) in [(1_000, "w1-0"), (2_000, "w2-0"), (3_000, "w1-1")] {
            files.samples.push(Sample { at, stream: stream(1, 22, 22, &[(22, owner, 1)]), mark: 22 });
        }
    };
    planted(Class::StolenLease, steal);
    let mut files = valid();
    steal(&mut files);
    files.facts.push(fact(2_500, What::Killed { worker: worker("w2"), in_flight: 1 }));
    assert_eq!(judged(&files).verdict, Verdict::Valid, "the second worker had died");
}

#[test]
fn a_ledger_that_does_not_agree_with_what_the_workers_were_told_is_found() {
    planted(Class::Contradiction, |files| {
        let line = Witnessed { entry: id(13), ..told("w1", row_of(files, 12)) };
        files.witness.push(line);
    });
    planted(Class::Contradiction, |files| files.witness.retain(|line| line.entry != id(20)));
    planted(Class::Duplicated, |files| {
        let line = told("w2", row_of(files, 20));
        files.witness.push(line);
    });
    let mut files = valid();
    files.witness.clear();
    files.run.witnessed = false;
    assert_eq!(judged(&files).verdict, Verdict::Valid, "nobody was asked");
}

/// The stream was deleted and made again: 1 to 3 are other entries now, one of them no event. What is written beside them names no life.
fn two_lives() -> Files {
    let mut files = valid();
    let again = |n: u64| id(n).in_life(1);
    for (n, amount) in [(1, "91"), (2, "92")] {
        let fields = pairs(&[("orderId", "c"), ("action", "paid"), ("amount", amount)]);
        files.added.push(Added { at: 500 + n, id: Some(again(n)), fields, fate: Fate::Applied });
        let (order, action) = ("c".to_owned(), "paid".to_owned());
        let seq = 22 + n.cast_signed();
        let amount = Some(amount.to_owned());
        files.applied.push(Applied { seq, entry: id(n), order, action, amount, version: n, at: 510 });
        let line = told("w1", &files.applied[files.applied.len() - 1]);
        files.witness.push(line);
    }
    let broken = pairs(&[("orderId", "c"), ("action", "paid"), ("amount", "9,3")]);
    files.added.push(Added { at: 503, id: Some(again(3)), fields: broken.clone(), fate: Fate::Buried });
    let facts = pairs(&[("_id", "3-0"), ("_failures", "0"), ("_reason", "bad-amount"), ("_dead_at", "513")]);
    files.letters.push(Letter { fields: [broken, facts].concat(), life: 0 });
    files.orders.push(OrderRow { order: "c".to_owned(), refunded: "0".to_owned(), version: 2 });
    files.end = stream(1, 3, 3, &[]);
    files.end.first = Some(again(1));
    files.end.last_generated = again(3);
    files.end.groups.iter_mut().for_each(|group| group.last_delivered = again(3));
    files.samples.push(Sample { at: 600, stream: files.end.clone(), mark: 24 });
    files
}

#[test]
fn the_lives_of_an_id_are_told_apart_by_what_was_added() {
    let judgement = judged(&two_lives());
    assert_eq!((&judgement.verdict, judgement.count("ids used again")), (&Verdict::Valid, 3), "{}", judgement.report);

    // Taken for the entry that had its id before, and acknowledged.
    let dropped = |files: &mut Files| {
        files.applied.pop();
        files.witness.pop();
        files.orders.last_mut().unwrap().version = 1;
    };
    let mut files = two_lives();
    dropped(&mut files);
    assert_eq!(judged(&files).classes(), [Class::Lost, Class::PrematureAck]);
    let mut files = two_lives();
    dropped(&mut files);
    files.facts.push(fact(550, What::Deleted { ids: vec![id(2)] }));
    assert_eq!(judged(&files).verdict, Verdict::Invalid, "what was deleted is the entry of another life");

    let mut files = two_lives();
    let again = Applied { seq: 25, version: 3, ..files.applied.last().unwrap().clone() };
    files.applied.push(again);
    files.orders.last_mut().unwrap().version = 3;
    assert_eq!(judged(&files).classes(), [Class::Duplicated]);

    let mut files = two_lives();
    files.letters.pop();
    assert_eq!(judged(&files).classes(), [Class::Lost, Class::PrematureAck]);

    let mut files = two_lives();
    let letters = vec![files.letters.pop().unwrap()];
    files.facts.push(fact(550, What::LettersDeleted { letters }));
    assert_eq!(judged(&files).verdict, Verdict::Valid, "somebody deleted the letter, which had been there");
}

#[test]
fn a_worker_that_ends_by_itself_or_badly_is_found() {
    planted(Class::BadEnd, |files| {
        files.facts.push(fact(200, What::Died { worker: worker("w1"), status: "exit status: 70".to_owned() }));
    });
    planted(Class::BadEnd, |files| {
        let What::Stopped { ok, .. } = &mut files.facts[3].what else { panic!("the stop") };
        *ok = false;
    });
}
