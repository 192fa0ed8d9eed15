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
fn nobody_there_is_not_healthy() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let answer = health(&free, &[]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("admin.listen"), "{answer:?}");
}
