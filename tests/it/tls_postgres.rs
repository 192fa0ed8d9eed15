//! TLS to Postgres, with a real server that speaks it.

use std::path::Path;
use std::sync::Arc;

use super::harness::World;
use super::harness::certificates::Authority;
use super::harness::postgres::{Database, Postgres};

/// The address of the database as this role, at this host.
fn url(database: &Database, role: &str, host: &str) -> String {
    format!("postgres://{role}@{host}:{}/{}?sslmode=verify-full", database.server.port(), database.name)
}

fn set(settings: &[(&str, &Path)]) -> Vec<String> {
    settings.iter().flat_map(|(key, file)| ["--set".to_owned(), format!("{key}={}", file.display())]).collect()
}

/// What `orderd check` says of the ledger, and its exit code.
fn check(world: &World, url: &str, settings: &[(&str, &Path)]) -> (i32, String) {
    let ledger = format!("ledger.url={url}");
    let settings = set(settings);
    let args: Vec<&str> = ["check", "--set", &ledger].into_iter().chain(settings.iter().map(String::as_str)).collect();
    let output = world.orderd(&args);
    let line = output.out.lines().find(|line| line.split_whitespace().nth(1) == Some("ledger"));
    (output.code, line.map_or(output.err, str::to_owned))
}

#[test]
fn a_worker_keeps_its_ledger_over_tls_with_certificates_on_both_sides() {
    let authority = Authority::new();
    let Some(server) = Postgres::start_secure(&authority.sign(&["localhost"]), &authority) else { return };
    let database = Database::on(Arc::new(server));
    database.execute(&format!("CREATE ROLE shown LOGIN; GRANT CREATE ON DATABASE {} TO shown", database.name));
    let (world, ours, ca) = (World::new(), authority.sign(&["worker"]), authority.file());
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let url = url(&database, "shown", "localhost");
    let (ca, certificate, key) = (text(&ca), text(&ours.certificate), text(&ours.key));
    let settings = [
        ("ledger.url", url.as_str()),
        ("ledger.tls_ca_file", &ca),
        ("ledger.tls_cert_file", &certificate),
        ("ledger.tls_key_file", &key),
    ];
    world.add_many(200, 50);
    let mut daemon = world.daemon("worker", &settings);
    world.wait_until_drained();
    let encrypted: bool = database.value(
        "SELECT bool_and(ssl) AND count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'orderd'",
    );
    assert!(encrypted, "every session of the worker is");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM orderd.order_events"), 200);
    assert!(daemon.stop().0.success());
}

#[test]
fn why_there_is_no_secure_connection_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, others) = (authority.file(), other.file());
    let Some(server) = Postgres::start_secure(&authority.sign(&["localhost"]), &authority) else { return };
    let database = Database::on(Arc::new(server));
    database.execute("CREATE ROLE shown LOGIN");
    let world = World::new();

    assert_eq!(check(&world, &url(&database, "postgres", "localhost"), &[("ledger.tls_ca_file", &ca)]).0, 0);
    let (code, said) = check(&world, &url(&database, "postgres", "localhost"), &[("ledger.tls_ca_file", &others)]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("TLS: its certificate comes from no authority that is trusted here"), "{said}");
    let (code, said) = check(&world, &url(&database, "postgres", "127.0.0.1"), &[("ledger.tls_ca_file", &ca)]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("TLS: its certificate is not for 127.0.0.1, but for localhost"), "{said}");
    // Postgres asks for no certificate until it knows who comes, and says in its own words that one is missing.
    let (code, said) = check(&world, &url(&database, "shown", "localhost"), &[("ledger.tls_ca_file", &ca)]);
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("connection requires a valid client certificate"), "{said}");
    let stranger = other.sign(&["worker"]);
    let shown = [
        ("ledger.tls_ca_file", &*ca),
        ("ledger.tls_cert_file", &stranger.certificate),
        ("ledger.tls_key_file", &stranger.key),
    ];
    let (code, said) = check(&world, &url(&database, "shown", "localhost"), &shown);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("our certificate comes from no authority that the server trusts"), "{said}");
}

#[test]
fn a_server_without_tls_is_not_spoken_with_and_a_file_for_nothing_is_a_mistake() {
    let Some(database) = Database::new() else { return };
    let (world, authority) = (World::new(), Authority::new());
    let (code, said) =
        check(&world, &url(&database, "postgres", "127.0.0.1"), &[("ledger.tls_ca_file", &authority.file())]);
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("server does not support TLS"), "{said}");

    for url in [database.url(), "sqlite:orders.db".to_owned()] {
        let (code, said) = check(&world, &url, &[("ledger.tls_ca_file", &authority.file())]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("ledger.tls_ca_file: TLS is not spoken there"), "{said}");
    }
}
