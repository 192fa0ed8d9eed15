//! What containers of the tests are made of: one root folder with Redis, Postgres and orderd in it, and an engine to run them.
//!
//! Owns: the archive, beside what is built, so that a second run is quick; the engine, in a network namespace of its own: its bridges and
//! rules are nobody else's, and go with it.
//! Never: an image from elsewhere. What stands in for those of Redis and Postgres does what they do when they start, and no more.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::harness::{as_root, run};

/// How long something may take to come true.
const DEADLINE: Duration = Duration::from_mins(2);

const ENTRYPOINT: &str = r#"#!/bin/sh
set -e
case "$1" in
redis-server) cd /data && exec "$@" --protected-mode no ;;
postgres)
    programs=$(echo /usr/lib/postgresql/*/bin)
    data=/var/lib/postgresql/data
    as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
    if [ ! -e "$data/PG_VERSION" ]; then
        mkdir -p "$data" && chown postgres "$data"
        install -o postgres -m 600 "$POSTGRES_PASSWORD_FILE" /tmp/password
        as_postgres "$programs/initdb" -D "$data" -U "$POSTGRES_USER" -A scram-sha-256 -E UTF8 --no-locale --pwfile=/tmp/password
        echo "CREATE DATABASE $POSTGRES_DB" | as_postgres "$programs/postgres" --single -D "$data" postgres
        echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
    fi
    exec setpriv --reuid=postgres --regid=postgres --clear-groups \
        "$programs/postgres" -D "$data" -c "listen_addresses=*" -k /tmp
    ;;
*) exec "$@" ;;
esac
"#;

/// An archive with everything: made once, and given the present program each time.
pub(crate) fn archive(folder: &Path) -> PathBuf {
    as_root();
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shop.tar");
    if !base.exists() {
        let unfinished = base.with_extension("unfinished.tar");
        let packages = "--include=redis-server,redis-tools,postgresql,ca-certificates";
        let mut make = Command::new("mmdebstrap");
        // A mirror may be older than it promises.
        make.args([
            "--quiet",
            "--variant=minbase",
            "--aptopt=Acquire::Check-Valid-Until \"false\"",
            packages,
            "bookworm",
        ]);
        run(make.arg(&unfinished));
        fs::rename(&unfinished, &base).unwrap();
    }
    let added = folder.join("added");
    fs::create_dir_all(added.join("data")).unwrap();
    fs::create_dir_all(added.join("var/lib/orderd")).unwrap();
    fs::write(added.join("entrypoint"), ENTRYPOINT).unwrap();
    fs::set_permissions(added.join("entrypoint"), fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("strip").args([env!("CARGO_BIN_EXE_orderd"), "-o"]).arg(added.join("orderd")));
    std::os::unix::fs::chown(added.join("var/lib/orderd"), Some(65532), Some(65532)).unwrap();
    let archive = folder.join("shop.tar");
    fs::copy(&base, &archive).unwrap();
    let parts = ["./entrypoint", "./orderd", "./data", "./var/lib/orderd"];
    run(Command::new("tar").arg("-rf").arg(&archive).arg("-C").arg(&added).args(parts));
    archive
}

/// A running engine. Dropped, it ends, and with it every container.
pub(crate) struct Engine {
    daemon: Child,
    pub(crate) folder: TempDir,
}

impl Engine {
    pub(crate) fn start() -> Self {
        as_root();
        let folder = tempfile::Builder::new().prefix("orderd-shop-").tempdir_in("/var/tmp").unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec dockerd \"$@\"", "dockerd"]);
        command.arg("--data-root").arg(folder.path().join("data")).arg("--exec-root").arg(folder.path().join("exec"));
        command.arg("--pidfile").arg(folder.path().join("pid")).arg("--host").arg(socket(folder.path()));
        command.args(["--bridge", "none"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let engine = Self { daemon: command.spawn().unwrap(), folder };
        wait_until("the engine answers", || engine.command(&["info"]).output().unwrap().status.success());
        engine
    }

    /// A command of the client, not started yet.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        // The distribution's client goes with the distribution's engine; another one may stand before it.
        let ours = Path::new("/usr/bin/docker");
        let mut command = Command::new(if ours.exists() { ours } else { Path::new("docker") });
        command.env("DOCKER_HOST", self.host()).args(words);
        command
    }

    /// Runs a command of the client that has to work, and returns what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words)).trim().to_owned()
    }

    pub(crate) fn host(&self) -> String {
        socket(self.folder.path())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the engine's log\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.daemon.try_wait().ok().flatten().is_none() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // It leaves the network of its containers mounted.
        let left = self.folder.path().join("exec/netns/default");
        let _ = Command::new("umount").arg(left).stderr(Stdio::null()).status();
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
