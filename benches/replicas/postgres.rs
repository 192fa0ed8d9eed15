//! A Postgres server for the workers: a process of the bench's own, which keeps what it has committed.
//!
//! Owns: the process, as a user that is not root, its folder beside what is built, and the end of both.
//! Never: a server that runs already; a setting that makes it forgetful.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::wait::Deadline;

/// A running server. Dropped, it ends, and its folder goes.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    pub(crate) fn start(deadline: &Deadline) -> anyhow::Result<Self> {
        let programs = programs().context("there is no Postgres server here (package postgresql)")?;
        // Where its user can get at it, whoever runs the bench.
        let folder = tempfile::Builder::new().prefix("orderd-bench-").tempdir_in("/var/tmp")?;
        let user = if rustix::process::getuid().is_root() { Some(other_user()?) } else { None };
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).stdin(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = command("initdb")
            .args(["-D", "data", "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"])
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(folder.path().join("log"))?;
        let mut server = command("postgres");
        server.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=."]);
        let child = server.arg("-p").arg(port.to_string()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let postgres = Self { child, port, folder };
        deadline.wait_for("Postgres answers", || Ok(postgres.ask("postgres", "SELECT '1'").ok().map(drop)))?;
        Ok(postgres)
    }

    /// A new database: its address.
    pub(crate) fn database(&self) -> anyhow::Result<String> {
        let name = format!("bench{:016x}", fastrand::u64(..));
        self.ask("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(format!("postgres://postgres@127.0.0.1:{}/{name}", self.port))
    }

    /// How many events the ledger at this address holds.
    pub(crate) fn count(&self, address: &str) -> anyhow::Result<u64> {
        let name = address.rsplit('/').next().unwrap_or_default();
        let count = self.ask(name, "SELECT count(*)::text FROM orderd.order_events")?.context("a row")?;
        Ok(count.parse()?)
    }

    pub(crate) fn version(&self) -> anyhow::Result<String> {
        let version = self.ask("postgres", "SHOW server_version")?.context("a row")?;
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }

    /// The first value that a statement answers.
    fn ask(&self, database: &str, sql: &str) -> anyhow::Result<Option<String>> {
        let address = format!("postgres://postgres@127.0.0.1:{}/{database}", self.port);
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let (client, connection) = tokio_postgres::connect(&address, NoTls).await?;
            let asked = async {
                let rows = client.simple_query(sql).await?;
                let first = rows.iter().find_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                Ok::<_, tokio_postgres::Error>(first)
            };
            tokio::select! {
                answer = asked => Ok(answer?),
                ended = connection => Err(ended.err().map_or_else(|| anyhow::anyhow!("closed"), anyhow::Error::from)),
            }
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
        // The folder goes after it.
        let _ = self.folder.path();
    }
}

fn other_user() -> anyhow::Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:")).context("there is no user postgres")?;
    let mut fields = line.split(':').skip(1);
    let mut next = || fields.next().and_then(|field| field.parse().ok()).context("/etc/passwd");
    Ok((next()?, next()?))
}

/// The folder of the programs: where Debian keeps them, the newest version first, or that of `initdb` in `PATH`.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = versions.into_iter().rev().chain(std::env::split_paths(&path));
    folders.find(|folder: &PathBuf| Path::new(folder).join("initdb").is_file())
}
