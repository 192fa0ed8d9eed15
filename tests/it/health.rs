//! `orderd health`, as a container's health check calls it.

use std::net::TcpListener;
use std::process::{Command, Output};

use super::harness::{World, wait_until};

fn health(listen: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.arg("health").args(more).arg("--set").arg(format!("admin.listen={listen}"));
    command.env_remove("ORDERD_CONFIG").output().unwrap()
}

#[test]
fn a_daemon_that_is_ready_is_healthy_and_one_without_redis_says_why_it_is_not() {
    let mut world = World::new();
    let mut daemon = world.daemon("w", &[]);
    daemon.wait_until_ready();
    let listen = daemon.admin().to_string();
    let healthy = health(&listen, &[]);
    assert!(healthy.status.success(), "{healthy:?}");
    assert_eq!(String::from_utf8_lossy(&healthy.stdout), "ready\n");

    world.server.kill9().unwrap();
    wait_until("the daemon misses Redis", || daemon.get("/readyz").0 == 503);
    let unhealthy = health(&listen, &[]);
    assert_eq!(unhealthy.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unhealthy.stderr).contains("Redis cannot be reached"), "{unhealthy:?}");
    assert!(health(&listen, &["--live"]).status.success(), "it lives, and waits for Redis");
    assert!(daemon.stop().0.success());
}

#[test]
fn where_there_is_a_token_the_health_check_presents_it() {
    let world = World::new();
    let file = world.path("token");
    std::fs::write(&file, "a-token-of-some-length").unwrap();
    let token_file = format!("admin.token_file={}", file.display());
    // As in a container: reached from other hosts, too.
    let daemon = world.daemon("w", &[("admin.listen", "0.0.0.0:0"), ("admin.token_file", file.to_str().unwrap())]);
    let listen = format!("0.0.0.0:{}", daemon.admin().port());
    assert_eq!(daemon.get("/readyz").0, 401);
    wait_until("it is ready", || health(&listen, &["--set", &token_file]).status.success());
    let without = health(&listen, &["--set", "admin.open=probes"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("a token is needed"), "{without:?}");
}

#[test]
fn nobody_there_is_not_healthy() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let answer = health(&free, &[]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("admin.listen"), "{answer:?}");
}
