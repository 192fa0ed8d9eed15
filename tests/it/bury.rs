//! Dead letters: what cannot be decoded, byte for byte, and what becomes of its neighbours.

use super::harness::{DEAD, GROUP, STREAM, World, field, wait_until};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn fields(pairs: &[(&[u8], &[u8])]) -> Fields {
    pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Entries of every kind that is no event, and the reason that each is buried for.
fn odd_entries() -> Vec<(Fields, &'static str)> {
    let good: [(&[u8], &[u8]); 3] = [(b"action", b"paid"), (b"orderId", b"o"), (b"amount", b"1")];
    let with = |more: &[(&[u8], &[u8])]| fields(&[&good, more].concat());
    let many: Fields = (0..5_000).map(|n| (format!("f{n}").into_bytes(), b"v".to_vec())).collect();
    let big = vec![b'x'; 2 * 1024 * 1024];
    vec![
        (fields(&[(b"", b"")]), "missing-field"),
        (fields(&[(b"action", b"paid"), (b"amount", b"1")]), "missing-field"),
        (fields(&[(b"action", b"paid"), (b"orderId", b""), (b"amount", b"1")]), "empty-field"),
        (fields(&[(b"action", b"created"), (b"orderId", b"o"), (b"amount", b"1")]), "missing-field"),
        (fields(&[(b"action", b"paid"), (b"orderId", b"o"), (b"amount", b"1e3x")]), "bad-amount"),
        (fields(&[(b"action", b"paid"), (b"orderId", b"o"), (b"amount", b"NaN")]), "bad-amount"),
        (fields(&[(b"action", b"paid"), (b"orderId", b"\xff\x00\r\n"), (b"amount", b"1")]), "invalid-utf8"),
        (with(&[(b"orderId", b"other")]), "duplicate-field"),
        (with(&[(b"blob", &big)]), "too-large"),
        (many, "missing-field"),
        (fields(&[(b"\xfe\xff", b"\x00"), (b"\xfe\xff", b"\x01"), (b"", b"x"), (b"", b"")]), "missing-field"),
    ]
}

#[test]
fn every_kind_of_odd_entry_is_buried_byte_for_byte_and_its_neighbours_are_applied() {
    let world = World::new();
    let mut connection = world.redis();
    let mut add = |fields: &Fields| -> String {
        redis::cmd("XADD").arg(STREAM).arg("*").arg(fields).query(&mut connection).expect("XADD")
    };
    let mut expected = Vec::new();
    for (n, (odd, reason)) in odd_entries().into_iter().enumerate() {
        let order = format!("neighbour-{n}");
        let created: [(&[u8], &[u8]); 5] = [
            (b"action", b"created"),
            (b"orderId", order.as_bytes()),
            (b"amount", b"1"),
            (b"userId", b"u"),
            (b"", b"\xff"),
        ];
        add(&fields(&created));
        expected.push((add(&odd), odd, reason));
    }
    let daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    let letters = world.dead_letters();
    assert_eq!(letters.len(), expected.len(), "{}", daemon.log());
    for (letter, (id, original, reason)) in letters.iter().zip(&expected) {
        assert!(letter[..original.len()] == original[..], "{reason}: the fields of {id} are not what they were");
        let own: Fields = letter[original.len()..].to_vec();
        assert_eq!((field(&own, "_id"), field(&own, "_reason")), (&**id, *reason));
    }
    assert_eq!(usize::try_from(world.applied()).unwrap(), expected.len());
    assert!(!daemon.log().contains("xxxx"), "the log holds no payload");
}

#[test]
fn while_memory_is_used_up_acks_go_on_and_dead_letters_wait_for_their_time() {
    let world = World::new();
    let daemon = world.daemon("w", &[]);
    daemon.wait_until_ready();
    let mut connection = world.redis();
    let mut transaction = redis::pipe();
    transaction.atomic();
    for n in 0..50 {
        let order = format!("order-{n}");
        transaction.cmd("XADD").arg((STREAM, "*", "action", "created", "orderId", order, "amount", "1", "userId", "u"));
        transaction.cmd("XADD").arg((STREAM, "*", "action", "paid", "orderId", "", "amount", "1"));
    }
    transaction.cmd("CONFIG").arg(("SET", "maxmemory", "1"));
    transaction.exec(&mut connection).expect("entries, and then no memory");
    wait_until("all that can be done is done", || world.pending() == 50 && world.applied() == 50);
    wait_until("the burial was tried again", || daemon.metric("orderd_entries_in_hand") == Some(50.0));
    assert_eq!(redis::cmd("XLEN").arg(DEAD).query::<u64>(&mut connection).unwrap(), 0);
    redis::cmd("CONFIG").arg(("SET", "maxmemory", "0")).exec(&mut connection).expect("CONFIG");
    world.wait_until_drained();
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 50);
    assert!(
        letters.iter().all(|letter| field(letter, "_reason") == "empty-field" && field(letter, "_deliveries") == "1")
    );
}

#[test]
fn a_worker_that_starts_while_memory_is_used_up_works_off_what_it_can() {
    let world = World::new();
    let mut first = world.daemon("w", &[]);
    first.wait_until_ready();
    assert!(first.stop().0.success());
    world.add_many(100, 25);
    redis::cmd("CONFIG").arg(("SET", "maxmemory", "1")).exec(&mut world.redis()).expect("CONFIG");
    let _second = world.daemon("w", &[]);
    world.wait_until_drained();
    assert_eq!(world.applied(), 100);
}

#[test]
fn a_group_that_was_lost_may_leave_two_letters_of_one_entry_and_both_say_whose_they_are() {
    let world = World::new();
    let mut daemon = world.daemon("w", &[("trimmer.interval", "50ms"), ("consumers.block", "200ms")]);
    daemon.wait_until_ready();
    let mut connection = world.redis();
    // The first entry stays with another consumer, and so holds the watermark below itself.
    let mut together = redis::pipe();
    together.atomic();
    together.cmd("XADD").arg((STREAM, "*", "action", "created", "orderId", "a", "amount", "1", "userId", "u"));
    together.cmd("XREADGROUP").arg(("GROUP", GROUP, "held-0", "STREAMS", STREAM, ">")).ignore();
    together.cmd("XADD").arg((STREAM, "*", "action", "paid", "amount", "1"));
    let (held, odd): (String, String) = together.query(&mut connection).expect("entries");
    wait_until("the odd one is buried", || world.dead_letters().len() == 1);
    redis::cmd("XGROUP").arg(("DESTROY", STREAM, GROUP)).exec(&mut connection).expect("XGROUP DESTROY");
    wait_until("what was not settled is handed out again, and what came after it", || {
        world.dead_letters().len() == 2 && world.is_drained()
    });
    let letters = world.dead_letters();
    for letter in &letters {
        assert_eq!((field(letter, "_id"), field(letter, "_reason")), (&*odd, "missing-field"), "{held}");
    }
    assert_eq!(world.applied(), 1);
    let discarded = world.orderd(&["dead", "discard", "--all", "--yes"]);
    assert!(discarded.out.contains("discarded 2 dead letters"), "{discarded:?}");
    assert_eq!(daemon.stop().0.code(), Some(0));
}
