//! What every ledger promises, on Postgres, and what is Postgres's own.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use orderd::domain::batch::Work;
use orderd::domain::outcome::Outcome;
use orderd::ledger::error::LedgerError;
use orderd::ledger::location::Location;
use orderd::ledger::postgres::PostgresLedger;
use orderd::ledger::postgres::address::Address;
use orderd::ledger::postgres::error::PostgresError;
use orderd::ledger::reader::LedgerReader;
use orderd::ledger::{Ledger, Parts};

use super::{
    Contents, Report, Store, apply, documented_reports, holds_for, letters, parts, tell_the_story_of_the_documentation,
    without_times, work,
};
use crate::harness::postgres::{Database, Postgres, Session, execute};
use crate::harness::proxy::{Cut, Proxy};
use crate::harness::wait_until;

holds_for!(PostgresStore);

/// A database on the server that all share.
struct PostgresStore(Database);

impl Store for PostgresStore {
    fn is_here() -> bool {
        Postgres::shared().is_some()
    }

    fn new() -> Self {
        Self(Database::new().unwrap())
    }

    fn open_with(&self, parts: Parts) -> impl Ledger {
        open_with(&self.0.url(), parts).unwrap()
    }

    fn open_telling(&self) -> impl Ledger {
        open(&self.0.url()).unwrap().telling_effects()
    }

    fn reader(&self) -> LedgerReader {
        reader(&self.0.url()).unwrap()
    }
}

fn open(url: &str) -> Result<PostgresLedger, LedgerError> {
    open_with(url, parts())
}

fn open_with(url: &str, parts: Parts) -> Result<PostgresLedger, LedgerError> {
    PostgresLedger::open(&url.parse().unwrap(), parts, Duration::from_secs(30))
}

fn reader(url: &str) -> Result<LedgerReader, LedgerError> {
    LedgerReader::open(&Location::Postgres(Box::new(url.parse::<Address>().unwrap())))
}

fn contents(url: &str) -> Contents {
    Contents::of(&reader(url).unwrap())
}

/// What the first outcome that is a failure says.
fn why(outcomes: &[Outcome]) -> &str {
    let mut messages = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Failed(failure) => Some(failure.message()),
        _ => None,
    });
    messages.next().unwrap_or_else(|| panic!("no failure: {outcomes:?}"))
}

/// The lives of some orders, two events each.
fn lives(orders: std::ops::Range<u64>) -> Vec<Work> {
    let life = |n| [work(2 * n, &format!("o-{n}"), "created"), work(2 * n + 1, &format!("o-{n}"), "paid")];
    orders.flat_map(life).collect()
}

#[test]
fn an_event_that_postgres_cannot_hold_fails_alone_and_for_good() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    let batch = [
        work(1, "o-1", "created"),
        work(2, "o\0", "created"),
        work(3, "o\0", "paid"),
        work(4, "o-1", "paid"),
        work(5, "o-2", "gift\0wrapped"),
    ];
    let outcomes = apply(&ledger, batch);
    assert_eq!(letters(&outcomes), "APNAP");
    assert_eq!(why(&outcomes), "Postgres cannot hold what the event carries (22021)");
    let contents = contents(&database.url());
    contents.assert_consistent();
    assert_eq!(contents.life("o-1"), "created paid");
}

#[test]
fn an_event_that_a_rule_of_the_database_refuses_fails_alone_and_may_work_later() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    database.execute("ALTER TABLE orderd.orders ADD CONSTRAINT nobody CHECK (user_id <> 'user-of-o-13')");
    let outcomes = apply(&ledger, lives(0..40));
    let expected: String = (0..40).map(|n| if n == 13 { "TN" } else { "AA" }).collect();
    assert_eq!(letters(&outcomes), expected);
    assert_eq!(why(&outcomes), "a rule of the database refuses the event (23514)");
    database.execute("ALTER TABLE orderd.orders DROP CONSTRAINT nobody");
    let outcomes = letters(&apply(&ledger, lives(0..40)));
    assert_eq!(outcomes.replace('D', ""), "AA", "{outcomes}");
    contents(&database.url()).assert_consistent();
}

#[test]
fn a_row_that_somebody_has_spoilt_holds_up_its_own_order_only() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    apply(&ledger, [work(1, "o-1", "created"), work(2, "o-2", "created")]);
    database.execute("UPDATE orderd.orders SET paid = 'NaN' WHERE order_id = 'o-1'");
    let outcomes = apply(&ledger, [work(3, "o-1", "paid"), work(4, "o-2", "paid")]);
    assert_eq!(letters(&outcomes), "TA");
    assert!(why(&outcomes).contains("paid is not what it should be"), "{outcomes:?}");
    database.execute("UPDATE orderd.orders SET paid = 0 WHERE order_id = 'o-1'");
    assert_eq!(letters(&apply(&ledger, [work(3, "o-1", "paid")])), "A");
}

#[test]
fn workers_that_start_at_once_on_an_empty_database_all_find_a_ledger() {
    let Some(database) = Database::new() else { return };
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (database, start) = (&database, &start);
            scope.spawn(move || {
                start.wait();
                let ledger = open(&database.url()).unwrap();
                assert_eq!(letters(&apply(&ledger, [work(n, &format!("o-{n}"), "created")])), "A");
            });
        }
    });
    assert_eq!(contents(&database.url()).counts.orders, 6);
}

#[test]
fn what_is_not_a_ledger_is_refused_and_left_alone() {
    let Some(database) = Database::new() else { return };
    let missing = reader(&database.url()).unwrap_err();
    assert_eq!(missing.to_string(), format!("there is no ledger at {}", database.url()));
    database.execute("CREATE SCHEMA orderd; CREATE TABLE orderd.orders (id int)");
    for error in [open(&database.url()).unwrap_err(), reader(&database.url()).unwrap_err()] {
        assert!(error.to_string().ends_with("its schema orderd holds something else"), "{error}");
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM pg_class WHERE relnamespace = 'orderd'::regnamespace"), 1);

    let odd = format!("{}_ascii", database.name);
    execute(&database.url(), &format!("CREATE DATABASE {odd} ENCODING 'SQL_ASCII' TEMPLATE template0"));
    let error = open(&database.server.url(&odd)).unwrap_err();
    assert!(error.to_string().ends_with("its encoding is SQL_ASCII, and a ledger needs UTF8"), "{error}");
    let error = open(&database.server.url("no_such_database")).unwrap_err();
    assert!(error.to_string().contains("database \"no_such_database\" does not exist"), "{error}");
}

#[test]
fn a_ledger_of_a_newer_orderd_is_refused_by_writers_and_readers() {
    let Some(database) = Database::new() else { return };
    drop(open(&database.url()).unwrap());
    database.execute("INSERT INTO orderd.schema_version (version) VALUES (99)");
    for error in [open(&database.url()).unwrap_err(), reader(&database.url()).unwrap_err()] {
        assert!(
            error.to_string().contains("has schema version 99") && error.to_string().ends_with("use a newer orderd")
        );
    }
}

#[test]
fn a_role_that_may_only_write_is_enough_once_the_tables_are_there() {
    let Some(database) = Database::new() else { return };
    let role = format!("w_{}", database.name);
    database.execute(&format!("CREATE ROLE {role} LOGIN"));
    let url = database.url().replace("postgres@", &format!("{role}@"));
    let error = open(&url).unwrap_err();
    assert!(matches!(&error, LedgerError::Postgres(why) if matches!(**why, PostgresError::Denied { .. })), "{error}");
    drop(open(&database.url()).unwrap());
    database.execute(&format!(
        "GRANT USAGE ON SCHEMA orderd TO {role};
         GRANT SELECT ON orderd.schema_version TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON orderd.orders, orderd.inbox, orderd.history, orderd.sources TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON orderd.bounds, orderd.replays TO {role};
         GRANT SELECT ON orderd.identity TO {role};"
    ));
    assert_eq!(letters(&apply(&open(&url).unwrap(), lives(0..2))), "AAAA");
}

#[test]
fn a_wrong_password_is_told_at_once_and_a_right_one_is_not_shown() {
    let Some(database) = Database::new() else { return };
    let role = format!("p_{}", database.name);
    database.execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'right canary' IN ROLE locked"));
    let url = |password: &str| database.url().replace("postgres@", &format!("{role}{password}@"));
    for wrong in ["", ":wrong%20canary"] {
        let error = open(&url(wrong)).unwrap_err();
        assert!(
            matches!(&error, LedgerError::Postgres(why) if matches!(**why, PostgresError::Denied { .. })),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
    let ledger = open(&url(":right%20canary")).unwrap();
    assert_eq!(letters(&apply(&ledger, lives(0..1))), "AA");
    // Changed while the worker runs: it waits, for that may be half of a rotation.
    database.execute(&format!("ALTER ROLE {role} PASSWORD 'new canary'"));
    database.end_sessions();
    let outcomes = apply(&ledger, lives(1..2));
    assert_eq!(letters(&outcomes), "UU");
    assert!(why(&outcomes).contains("password authentication failed") && !why(&outcomes).contains("canary"));
    database.execute(&format!("ALTER ROLE {role} PASSWORD 'right canary'"));
    assert_eq!(letters(&apply(&ledger, lives(1..2))), "AA");
}

#[test]
fn whoever_is_in_the_way_is_got_round_and_one_that_stays_makes_the_ledger_unavailable() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    // Stands for sessions that cross ours: raises the error so often, counted outside of the transaction.
    database.execute(
        "CREATE SEQUENCE crossings; CREATE TABLE plan (code text, times int);
         CREATE FUNCTION cross_it() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE planned plan%ROWTYPE; BEGIN
             SELECT * INTO planned FROM plan;
             IF nextval('crossings') <= planned.times THEN
                 RAISE EXCEPTION USING ERRCODE = planned.code, MESSAGE = 'crossed on purpose';
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER cross_it AFTER INSERT ON orderd.history EXECUTE FUNCTION cross_it()",
    );
    for (n, code) in [(0, "40001"), (1, "40P01")] {
        database.execute(&format!(
            "DELETE FROM plan; INSERT INTO plan VALUES ('{code}', 3); ALTER SEQUENCE crossings RESTART"
        ));
        assert_eq!(letters(&apply(&ledger, lives(n..n + 1))), "AA", "{code}");
        assert_eq!(database.value::<i64>("SELECT last_value FROM crossings"), 4);
    }
    database.execute("UPDATE plan SET times = 1000000");
    let outcomes = apply(&ledger, lives(2..3));
    assert_eq!(letters(&outcomes), "UU");
    assert_eq!(why(&outcomes), "the ledger cannot be written: crossed on purpose (40P01)");
    database.execute("DELETE FROM plan");
    assert_eq!(letters(&apply(&ledger, lives(2..3))), "AA");
    contents(&database.url()).assert_consistent();
}

#[test]
fn a_table_that_somebody_locks_for_long_makes_the_ledger_unavailable_for_as_long() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    let other = Session::new(&database.url());
    other.execute("BEGIN; LOCK TABLE orderd.orders");
    let outcomes = apply(&ledger, lives(0..1));
    assert_eq!(letters(&outcomes), "UU");
    assert_eq!(why(&outcomes), "the ledger cannot be written: another session has held a lock for too long");
    other.execute("ROLLBACK");
    assert_eq!(letters(&apply(&ledger, lives(0..1))), "AA");
}

#[test]
fn a_backend_that_is_terminated_is_replaced_and_nobody_notices() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    assert_eq!(letters(&apply(&ledger, lives(0..2))), "AAAA");
    assert_eq!(database.end_sessions(), 1);
    assert_eq!(letters(&apply(&ledger, lives(0..3))), "DDDDAA", "terminated while it had nothing to do");

    let other = Session::new(&database.url());
    other.execute("BEGIN; LOCK TABLE orderd.orders");
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| letters(&apply(&ledger, lives(3..5))));
        wait_until("a session waits for the lock, and is ended", || {
            database.value::<i64>(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'orderd' AND wait_event_type = 'Lock'",
            ) == 1
        });
        other.execute("ROLLBACK");
        assert_eq!(applied.join().unwrap(), "AAAA", "terminated in the middle of a transaction");
    });
    contents(&database.url()).assert_consistent();
}

#[test]
fn a_database_that_may_only_be_read_for_a_while_is_waited_for() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    let name = &database.name;
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    database.end_sessions();
    let outcomes = apply(&ledger, lives(0..1));
    assert_eq!(letters(&outcomes), "UU");
    assert_eq!(why(&outcomes), "the ledger cannot be written: it may only be read");
    let admin = Session::new(&database.server.url("postgres"));
    admin.execute(&format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    assert_eq!(letters(&apply(&ledger, lives(0..1))), "AA");
}

#[test]
fn a_server_without_a_free_connection_is_waited_for_from_the_start_on() {
    let Some(database) = Database::new() else { return };
    let role = format!("c_{}", database.name);
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT 0; GRANT CREATE ON DATABASE {} TO {role}",
        database.name
    ));
    let ledger = open(&database.url().replace("postgres@", &format!("{role}@"))).unwrap();
    let outcomes = apply(&ledger, lives(0..1));
    assert_eq!(letters(&outcomes), "UU");
    assert!(why(&outcomes).contains("too many connections"), "{outcomes:?}");
    database.execute(&format!("ALTER ROLE {role} CONNECTION LIMIT -1"));
    assert_eq!(letters(&apply(&ledger, lives(0..1))), "AA");
}

#[test]
fn a_server_that_is_away_is_waited_for_from_the_start_on_and_after_each_restart() {
    let Some(server) = Postgres::start() else { return };
    let database = Database::on(Arc::new(server));
    database.server.stop();
    let ledger = open(&database.url()).unwrap();
    let outcomes = apply(&ledger, lives(0..1));
    assert_eq!(letters(&outcomes), "UU");
    assert!(why(&outcomes).contains("cannot reach the ledger"), "{outcomes:?}");
    database.server.start_again();
    assert_eq!(letters(&apply(&ledger, lives(0..1))), "AA");

    database.server.stop();
    assert_eq!(letters(&apply(&ledger, lives(0..2))), "UUUU");
    database.server.start_again();
    assert_eq!(letters(&apply(&ledger, lives(0..2))), "DDAA");
    contents(&database.url()).assert_consistent();
}

/// A ledger behind a proxy that can cut the connection at a commit.
fn behind_proxy() -> Option<(Database, Proxy, PostgresLedger)> {
    let database = Database::new()?;
    drop(open(&database.url()).unwrap());
    let proxy = Proxy::new(database.server.port(), "COMMIT\0");
    let url = database.url().replace(&format!(":{}/", database.server.port()), &format!(":{}/", proxy.port()));
    let ledger = open(&url).unwrap();
    Some((database, proxy, ledger))
}

#[test]
fn a_commit_that_was_not_answered_is_looked_up_and_not_guessed() {
    let Some((database, proxy, ledger)) = behind_proxy() else { return };
    let mut expected = 0;
    for (n, cut) in (0..).zip([Cut::Before, Cut::Answer, Cut::Answer, Cut::Before]) {
        proxy.cut(cut);
        assert_eq!(letters(&apply(&ledger, lives(2 * n..2 * n + 2))), "AAAA", "{cut:?}");
        assert!(proxy.has_cut(), "{cut:?}");
        expected += 4;
        let contents = contents(&database.url());
        contents.assert_consistent();
        assert_eq!(contents.counts.events, expected, "{cut:?}");
    }
}

#[test]
fn a_commit_that_cannot_be_looked_up_is_no_success_and_the_events_come_again() {
    for (cut, again) in [(Cut::Before, "AAAA"), (Cut::Answer, "DDDD")] {
        let Some((database, proxy, ledger)) = behind_proxy() else { return };
        proxy.cut(cut);
        proxy.close(true);
        assert_eq!(letters(&apply(&ledger, lives(0..2))), "UUUU", "{cut:?}");
        assert!(proxy.has_cut(), "{cut:?}");
        proxy.close(false);
        assert_eq!(letters(&apply(&ledger, lives(0..2))), again, "{cut:?}");
        let contents = contents(&database.url());
        contents.assert_consistent();
        assert_eq!(contents.counts.events, 4, "{cut:?}");
    }
}

/// A worker takes its time between its first line of the history and its commit, when that is the event `0-0`.
const SLOW: &str =
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON orderd.history FOR EACH ROW WHEN (NEW.ms = 0) EXECUTE FUNCTION slow()";

fn wait_until_slow(database: &Database) {
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    wait_until("a worker is between its lines and its commit", || database.value::<i64>(sleeping) == 1);
}

#[test]
fn whoever_follows_the_history_by_seq_misses_nothing_though_two_workers_write() {
    let Some(database) = Database::new() else { return };
    let ledgers = [open(&database.url()).unwrap(), open(&database.url()).unwrap()];
    database.execute(SLOW);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| letters(&apply(&ledgers[0], lives(0..1))));
        wait_until_slow(&database);
        let quick = scope.spawn(|| letters(&apply(&ledgers[1], lives(1..2))));
        let mut seen = BTreeSet::new();
        wait_until("all events are there", || {
            let rows = database.text("SELECT seq FROM orderd.order_events ORDER BY seq");
            let found: BTreeSet<u64> = rows.lines().map(|line| line.parse().unwrap()).collect();
            let last = seen.last().copied();
            let late: Vec<_> = found.difference(&seen).filter(|seq| Some(**seq) < last).collect();
            assert!(late.is_empty(), "{late:?} came after {last:?} had been seen");
            seen = found;
            seen.len() == 4
        });
        assert_eq!((slow.join().unwrap(), quick.join().unwrap()), ("AA".into(), "AA".into()));
    });
}

#[test]
fn of_two_events_that_begin_one_order_in_two_workers_at_once_one_is_refused() {
    let Some(database) = Database::new() else { return };
    let ledgers = [open(&database.url()).unwrap(), open(&database.url()).unwrap()];
    database.execute(SLOW);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| letters(&apply(&ledgers[0], [work(0, "o-1", "created")])));
        wait_until_slow(&database);
        let second = apply(&ledgers[1], [work(1, "o-1", "created")]);
        assert_eq!((first.join().unwrap().as_str(), letters(&second).as_str()), ("A", "P"));
        assert_eq!(why(&second), "created is impossible: the order is created");
    });
}

#[test]
fn workers_that_take_the_same_orders_in_another_sequence_never_wait_in_a_circle() {
    const ORDERS: u64 = 200;
    let Some(database) = Database::new() else { return };
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (database, start) = (&database, &start);
            scope.spawn(move || {
                let ledger = open(&database.url()).unwrap();
                for round in 0..8 {
                    let mut orders: Vec<u64> = (round * ORDERS..(round + 1) * ORDERS).collect();
                    if worker == 1 {
                        orders.reverse();
                    }
                    // The same events for both, and then other events of the same orders.
                    let same: Vec<Work> = orders.iter().flat_map(|n| lives(*n..n + 1)).collect();
                    start.wait();
                    let outcomes = letters(&apply(&ledger, same));
                    assert!(outcomes.chars().all(|outcome| matches!(outcome, 'A' | 'D')), "{outcomes}");
                    let refund = |n: &u64| {
                        let mut refund = work(1_000_000 + 2 * n + worker, &format!("o-{n}"), "refunded");
                        refund.event.to_mut().amount = Some("0.01".parse().unwrap());
                        refund
                    };
                    start.wait();
                    let outcomes = letters(&apply(&ledger, orders.iter().map(refund).collect::<Vec<_>>()));
                    assert_eq!(outcomes, "A".repeat(orders.len()));
                }
            });
        }
    });
    // A session adds its numbers to those of the database when it ends.
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'orderd'";
    wait_until("the sessions have ended", || database.value::<i64>(sessions) == 0);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.value::<i64>(deadlocks), 0);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM orderd.history"), 8 * 200 * 4);
}

#[test]
fn a_ledger_that_is_closed_does_not_wait_for_a_database_that_does_not_answer() {
    let Some(database) = Database::new() else { return };
    let ledger = open(&database.url()).unwrap();
    database.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
         CREATE TRIGGER slow AFTER INSERT ON orderd.history EXECUTE FUNCTION slow()",
    );
    let mut applying = ledger.apply(Arc::new(lives(0..1)));
    assert!((&mut applying).now_or_never().is_none());
    wait_until_slow(&database);
    drop(applying);
    let began = Instant::now();
    ledger.close().unwrap();
    // Its patience with a database that does not answer is 12 s.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn the_documentation_knows_every_column_and_its_queries_run() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ledger.md")).unwrap();
    let Some(database) = Database::new() else { return };
    drop(open(&database.url()).unwrap());
    let columns =
        database.text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'orderd'");
    assert!(columns.lines().count() > 30, "{columns}");
    for (table, column) in columns.lines().filter_map(|line| line.split_once('|')) {
        let in_row = |line: &str| line.starts_with(&format!("| `{table}` |")) && line.contains(&format!("`{column}`"));
        let section = text.split("\n### ").find(|section| section.starts_with(&format!("`{table}`")));
        let in_section = section.is_some_and(|section| section.contains(&format!("\n| `{column}` |")));
        assert!(in_section || text.lines().any(in_row), "docs/ledger.md does not know {table}.{column}");
    }
    let queries = text.split("```postgresql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // Roles are those of the whole server; what is undone leaves none.
    let session = Session::new(&database.url());
    session.execute("BEGIN; CREATE ROLE orderd_worker");
    assert_eq!(queries.map(|query| session.execute(query)).count(), 6);
    session.execute("ROLLBACK");
}

#[test]
fn the_reports_of_the_documentation_say_what_stands_there() {
    let Some(database) = Database::new() else { return };
    tell_the_story_of_the_documentation(&open(&database.url()).unwrap(), 1);
    let reports = documented_reports("```postgresql\n");
    assert_eq!(reports.len(), 4);
    for Report { query, rows } in reports {
        let found = database.text(&query);
        let found = found.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect();
        assert_eq!(without_times(found), rows, "{query}");
    }
}
