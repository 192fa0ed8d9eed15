//! What a service manager is told, heard on a socket as systemd would hear it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use super::harness::{Daemon, World, wait_for, wait_until};

/// The ear of a service manager.
struct Ear {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Ear {
    fn new(world: &World) -> (Self, String) {
        let path = world.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        (Self { socket, heard: Vec::new() }, path.to_str().unwrap().to_owned())
    }

    /// Takes in what was said since, line by line.
    fn listen(&mut self) {
        let mut words = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut words) {
            let words = String::from_utf8_lossy(&words[..length]).into_owned();
            self.heard.extend(words.lines().map(str::to_owned));
        }
    }

    fn wait_until_told(&mut self, what: &str) -> usize {
        wait_for(what, || {
            self.listen();
            self.heard.iter().position(|line| line.starts_with(what))
        })
    }

    /// Everything but the status lines and the watchdog.
    fn turns(&self) -> Vec<&str> {
        let word = |line: &'_ String| !line.starts_with("STATUS=") && !line.starts_with("WATCHDOG=");
        self.heard.iter().filter(|line| word(line)).map(|line| line.split('=').next().unwrap()).collect()
    }
}

fn daemon(world: &World, socket: &str, settings: &[(&str, &str)]) -> Daemon {
    world.daemon_in("w", settings, &[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "1000000")])
}

#[test]
fn it_is_told_ready_reloading_ready_and_stopping_in_this_order() {
    let world = World::new();
    let (mut ear, socket) = Ear::new(&world);
    let mut daemon = daemon(&world, &socket, &[]);
    ear.wait_until_told("READY=1");
    assert!(!world.consumers().is_empty() || daemon.get("/readyz").0 > 0, "the group and the admin server are there");
    daemon.signal(Signal::HUP);
    let reloading = ear.wait_until_told("RELOADING=1");
    let usec = ear.heard[reloading + 1].strip_prefix("MONOTONIC_USEC=").map(str::parse::<u64>);
    assert!(matches!(usec, Some(Ok(1..))), "in the same message: {:?}", ear.heard);
    wait_until("the second word of being ready", || {
        ear.listen();
        ear.turns().iter().filter(|turn| **turn == "READY").count() == 2
    });
    ear.wait_until_told("WATCHDOG=1");
    ear.wait_until_told("STATUS=running: ");
    assert!(daemon.stop().0.success());
    ear.listen();
    assert_eq!(ear.turns(), ["READY", "RELOADING", "MONOTONIC_USEC", "READY", "STOPPING"]);
}

#[test]
fn without_redis_it_is_not_ready_says_why_and_survives_a_reload() {
    let mut world = World::new();
    world.server.kill9().unwrap();
    let (mut ear, socket) = Ear::new(&world);
    let mut daemon = daemon(&world, &socket, &[]);
    ear.wait_until_told("STATUS=starting: ");
    daemon.signal(Signal::HUP);
    wait_until("the file is read again", || !daemon.log_lines("the configuration was read again").is_empty());
    wait_until("the status names what is in the way", || {
        ear.listen();
        ear.heard.iter().any(|line| line.starts_with("STATUS=") && line.contains("not ready: Redis cannot be reached"))
    });
    assert_eq!(ear.turns(), Vec::<&str>::new());

    world.server.restart().unwrap();
    ear.wait_until_told("READY=1");
    assert!(daemon.stop().0.success());
}
