//! A Postgres server for the measurement: its own process in a temporary folder, with the settings that it comes with.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running server. Dropped, it ends, and its folder goes.
pub(crate) struct Server {
    child: Child,
    port: u16,
    // After the process.
    _folder: TempDir,
}

impl Server {
    /// `None` where there is no such program.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let user = if rustix::process::getuid().is_root() { Some(other_user()) } else { None };
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).env_remove("PGOPTIONS").stdin(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let init = ["-D", "data", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"];
        let made = command("initdb").args(init).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = command("postgres");
        server.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=."]);
        server.arg("-p").arg(port.to_string());
        let log = File::create(folder.path().join("log"))?;
        let child = server.stdout(Stdio::null()).stderr(log).spawn()?;
        let server = Self { child, port, _folder: folder };
        server.wait()?;
        Ok(Some(server))
    }

    /// Where its databases are.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/", self.port)
    }

    fn wait(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            ensure!(began.elapsed() < Duration::from_mins(1), "Postgres does not answer");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        // It takes connections a moment before it takes sessions.
        std::thread::park_timeout(Duration::from_secs(1));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
    }
}

/// Postgres refuses to run as root: the user of the package, or the one that owns nothing.
fn other_user() -> (u32, u32) {
    let read = || -> anyhow::Result<(u32, u32)> {
        let users = std::fs::read_to_string("/etc/passwd")?;
        let line = users.lines().find_map(|line| line.strip_prefix("postgres:")).context("no such user")?;
        let mut fields = line.split(':').skip(1);
        Ok((fields.next().context("no id")?.parse()?, fields.next().context("no group")?.parse()?))
    };
    read().unwrap_or((65534, 65534))
}

/// The folder of the programs: that of `initdb` in `PATH`, or where Debian keeps them, the newest version first.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir(Path::new("/usr/lib/postgresql"))
        .map(|found| found.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}
