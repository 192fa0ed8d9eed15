//! `orderd add` and `orderd orders`: an event on its way from one command to the other.

use std::collections::HashMap;
use std::time::Instant;

use super::harness::{STREAM, World, column, number};

/// The entries of the stream, as id and fields in order.
fn entries(world: &World) -> Vec<(String, Vec<String>)> {
    redis::cmd("XRANGE").arg(STREAM).arg("-").arg("+").query(&mut world.redis()).expect("XRANGE")
}

fn add(world: &World, arguments: &str) -> String {
    let words: Vec<&str> = std::iter::once("add").chain(arguments.split_whitespace()).collect();
    let output = world.orderd(&words);
    assert_eq!(output.code, 0, "{arguments}: {}", output.err);
    output.out
}

#[test]
fn one_event_is_added_as_it_was_given_and_its_id_is_printed() {
    let world = World::new();
    let id = add(&world, "--action created --order o-1 --amount 49.99 --user u-1 --field coupon=A --field coupon=B");
    let fields = ["action", "created", "orderId", "o-1", "amount", "49.99", "userId", "u-1"];
    let fields: Vec<&str> = fields.into_iter().chain(["coupon", "A", "coupon", "B"]).collect();
    assert_eq!(entries(&world), [(id.trim_end().to_owned(), fields.into_iter().map(str::to_owned).collect())]);
}

#[test]
fn many_events_are_added_at_the_rate_that_was_asked_for() {
    let world = World::new();
    let began = Instant::now();
    let said = add(&world, "--count 300 --rate 300 --orders 20 --seed 7");
    let took = began.elapsed();
    assert_eq!(entries(&world).len(), 300);
    assert!(said.starts_with("added 300 events of ") && said.contains("(seed 7, "), "{said}");
    // The last of 20 batches goes out after 19 pauses of 50 ms. Slower than that is the machine's affair.
    assert!(took.as_millis() >= 900, "300 events at 300 a second took {took:?}");
}

#[test]
fn an_event_as_one_json_field_goes_the_whole_way() {
    let world = World::new();
    let json = "event.json_field=data";
    let output = world
        .orderd(&["--set", json, "add", "--action", "created", "--order", "o-1", "--amount", "9.50", "--user", "u"]);
    assert_eq!(output.code, 0, "{}", output.err);
    let (_, fields) = entries(&world).remove(0);
    assert_eq!(fields, ["data", r#"{"action":"created","orderId":"o-1","amount":"9.50","userId":"u"}"#]);

    let _daemon = world.daemon("w", &[("event.json_field", "data")]);
    world.wait_until_drained();
    assert_eq!(column::<String>(&world.ledger(), "SELECT amount FROM orders"), ["9.50"]);
}

#[test]
fn orders_and_their_history_are_read_while_a_worker_runs() {
    let world = World::new();
    for event in
        ["created --order o-1 --amount 49.99 --user u-1", "paid --order o-1 --amount 49.99", "shipped --order o-1"]
    {
        add(&world, &format!("--action {event}"));
    }
    let many = add(&world, "--count 200 --seed 3");
    let _daemon = world.daemon("w", &[]);
    world.wait_until_drained();
    assert_eq!(number(&world.ledger(), "SELECT count(*) FROM order_events"), 203, "{many}");

    let listed = world.orderd(&["orders", "--user", "u-1", "--json"]);
    let order: HashMap<String, serde_json::Value> = serde_json::from_str(&listed.out).expect("one object");
    assert_eq!((&order["state"], &order["paid"]), (&"shipped".into(), &"49.99".into()), "{}", listed.err);
    let shown = world.orderd(&["orders", "show", "o-1"]).out;
    for word in ["created", "paid", "shipped", "49.99", STREAM] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    let unknown = world.orderd(&["orders", "show", "o-9"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("there is no order 'o-9'"), "{}", unknown.err);
}

#[test]
fn without_a_server_nothing_is_added_and_the_exit_code_says_so() {
    let mut world = World::new();
    world.server.stop().expect("a stop");
    let output = world.orderd(&["add", "--action", "paid", "--order", "o"]);
    assert_eq!((output.code, output.out.as_str()), (69, ""));
    assert!(output.err.contains("cannot be reached"), "{}", output.err);
}
