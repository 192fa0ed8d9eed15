//! The servers of a stage: the one that is in force, its replica, and the door that leads to the one in force.
//!
//! Owns: their processes, and the path under which whoever looks on finds the server, whichever that is by now.
//! Never: a worker.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use orderd::cli::sandbox::{Options, PrivateServer};
use tempfile::TempDir;

use super::journal::now;
use crate::wait_for;

/// Where Debian and Ubuntu put the library that changes a process's clock.
pub(crate) const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];

/// What is special about the servers of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything is on the disk before it is answered.
    Safe,
    /// What was answered is on the disk a second later.
    EverySecond,
    /// The first, and it takes its time to read what it has.
    SlowToLoad,
    /// The first, and its clock can be set.
    WithAClock,
    /// The first, with a replica.
    Replicated,
}

/// The servers.
pub(crate) struct Servers {
    /// The one in force.
    pub(crate) server: PrivateServer,
    replica: Option<PrivateServer>,
    options: Options,
    door: TempDir,
}

impl Servers {
    /// Starts them. `None` where something that this needs is not here.
    pub(crate) fn start(kind: Kind, mut options: Options) -> Option<Self> {
        let door = tempfile::Builder::new().prefix("orderd-proof-").tempdir().expect("a temporary folder");
        options.tcp = true;
        let flush = if kind == Kind::EverySecond { "everysec" } else { "always" };
        options.args.extend(["--appendonly", "yes", "--appendfsync", flush].map(Into::into));
        match kind {
            Kind::Safe | Kind::EverySecond => {}
            // A tenth of a millisecond for each command that it reads.
            Kind::SlowToLoad => options.args.extend(["--key-load-delay", "100"].map(Into::into)),
            Kind::WithAClock => options.program = with_clock(door.path(), &options.program)?,
            Kind::Replicated => options.args.extend(["--repl-diskless-sync-delay", "0"].map(Into::into)),
        }
        let server = PrivateServer::start(options.clone()).expect("a redis-server starts");
        let replica = (kind == Kind::Replicated).then(|| replica_of(&server, &options));
        let servers = Self { server, replica, options, door };
        servers.open_door();
        Some(servers)
    }

    /// Where whoever looks on finds the one in force.
    pub(crate) fn socket(&self) -> PathBuf {
        self.door.path().join("redis.sock")
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port().expect("a port")
    }

    /// Sets the clock of the server: `+1h`, say.
    pub(crate) fn set_clock(&self, offset: &str) {
        fs::write(clock_in(self.door.path()), offset).expect("the clock of the server is set");
    }

    /// The replica, once it has everything that the one in force had when this was asked.
    pub(crate) fn synced_replica(&mut self) -> Option<redis::Connection> {
        let replica = self.replica.as_ref()?;
        let mut connection = connect(replica);
        wait_for("the replica to be linked", || {
            let info: String = redis::cmd("INFO").arg("replication").query(&mut connection).ok()?;
            info.contains("master_link_status:up").then_some(())
        });
        Some(connection)
    }

    /// The one in force dies, and the replica takes its place.
    ///
    /// Returns a moment between the two, by the clock of the run.
    pub(crate) fn fail_over(&mut self) -> Option<u64> {
        let replica = self.replica.take()?;
        let mut old = std::mem::replace(&mut self.server, replica);
        old.kill9().expect("the server can be killed");
        let between = now();
        wait_for("the next millisecond", || (now() > between).then_some(()));
        self.open_door();
        Some(between)
    }

    /// Starts a replica of the one in force, where there is none.
    pub(crate) fn replicate(&mut self) {
        if self.replica.is_none() {
            self.replica = Some(replica_of(&self.server, &self.options));
        }
    }

    /// Takes the last `bytes` away from what the dead server has on its disk, as the loss of what was not flushed does.
    pub(crate) fn lose_the_end_of_its_log(&self, bytes: u64) -> u64 {
        let folder = self.server.folder().join("appendonlydir");
        let files = fs::read_dir(&folder).expect("the log of the server").map(|file| file.expect("a file").path());
        let log = files.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max().expect("a log that grows");
        let file = File::options().write(true).open(&log).expect("the log of the server");
        let length = file.metadata().expect("its length").len();
        let lost = bytes.min(length / 2);
        file.set_len(length - lost).expect("a shorter log");
        lost
    }

    fn open_door(&self) {
        let door = self.socket();
        match fs::remove_file(&door) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("the door: {error}"),
            _ => symlink(self.server.socket(), &door).expect("a door"),
        }
    }
}

fn replica_of(server: &PrivateServer, options: &Options) -> PrivateServer {
    let port = server.port().expect("a port").to_string();
    let mut options = options.clone();
    options.args.extend(["--replicaof".into(), "127.0.0.1".into(), port.into()]);
    PrivateServer::start(options).expect("a replica starts")
}

fn connect(server: &PrivateServer) -> redis::Connection {
    let client = redis::Client::open(format!("unix:{}", server.socket().display())).expect("an address");
    wait_for("the server to take a connection", || client.get_connection().ok())
}

fn clock_in(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// A server whose clock is what the file says, read anew each time.
fn with_clock(folder: &Path, server: &Path) -> Option<PathBuf> {
    let library = LIBRARIES.iter().map(Path::new).find(|library| library.is_file())?;
    fs::write(clock_in(folder), "+0").expect("a clock");
    let script = folder.join("redis-server");
    let text = format!(
        "#!/bin/sh\nexport LD_PRELOAD='{}' FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
         DONT_FAKE_MONOTONIC=1\nexec '{}' \"$@\"\n",
        library.display(),
        clock_in(folder).display(),
        server.display()
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a script that can be run");
    Some(script)
}
