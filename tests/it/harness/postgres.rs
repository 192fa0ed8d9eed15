//! A Postgres server for the tests: a process of their own in a temporary folder, on a free port.
//!
//! Owns: the process, as a user that is not root, and its end; databases on it, and queries to them.
//! Never: a server that runs already.

use std::fs::{File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::certificates::{Authority, Identity};
use super::wait_for;

/// The one that the tests of a process share for as long as one of them needs it.
static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

/// A running server. Dropped, it ends, and its folder goes.
pub(crate) struct Postgres {
    programs: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    environment: Vec<(String, String)>,
    child: Mutex<Child>,
    folder: TempDir,
}

/// A database on a server.
pub(crate) struct Database {
    pub(crate) server: Arc<Postgres>,
    pub(crate) name: String,
}

impl Postgres {
    /// The server that is shared, with all that is fast and forgetful. `None` where there is no such program here; under
    /// `CI=true` that is an error.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// A server that a test may do anything to.
    pub(crate) fn start() -> Option<Self> {
        Self::start_speaking(None, |_| Vec::new())
    }

    /// The same, with variables in its environment; `prepare` gets its folder.
    pub(crate) fn start_in(prepare: impl FnOnce(&Path) -> Vec<(String, String)>) -> Option<Self> {
        Self::start_speaking(None, prepare)
    }

    /// The same, which speaks TLS as well, with this certificate. The role `shown` has to show one of the authority's.
    pub(crate) fn start_secure(identity: &Identity, authority: &Authority) -> Option<Self> {
        Self::start_speaking(Some((identity, authority)), |_| Vec::new())
    }

    fn start_speaking(
        tls: Option<(&Identity, &Authority)>,
        prepare: impl FnOnce(&Path) -> Vec<(String, String)>,
    ) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no Postgres server: make test installs it (postgresql)"
            );
            eprintln!("left out: there is no Postgres server here (package postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let user = rustix::process::getuid().is_root().then(other_user);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("chown");
        }
        let mut init = command(&programs.join("initdb"), user, folder.path());
        init.args(["-D", "data", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"]);
        let made = init.output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Members of `locked` need a password; all others are let in.
        let shown = "hostssl all shown 127.0.0.1/32 trust clientcert=verify-ca\nhost all shown 127.0.0.1/32 reject\n";
        let rules = "host all +locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
        let rules = tls.map_or_else(|| rules.to_owned(), |_| format!("{shown}{rules}"));
        std::fs::write(folder.path().join("data/pg_hba.conf"), rules).expect("the rules of the server");
        if let Some((identity, authority)) = tls {
            let files = [(&identity.certificate, "cert"), (&identity.key, "key"), (&authority.file(), "ca")];
            for (from, name) in files {
                own(from, &folder.path().join(name), user);
            }
            let on = "ssl = on\nssl_cert_file = '../cert'\nssl_key_file = '../key'\nssl_ca_file = '../ca'\n";
            std::fs::write(folder.path().join("data/postgresql.auto.conf"), on).expect("the settings of the server");
        }
        let port = free_port();
        let environment = prepare(folder.path());
        let child = Mutex::new(run(&programs, user, folder.path(), port, &environment));
        let server = Self { programs, user, port, environment, child, folder };
        server.wait_until_it_answers();
        execute(&server.url("postgres"), "CREATE ROLE locked");
        Some(server)
    }

    /// Where it is, as its administrator sees it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it in good order: what is not committed is undone.
    pub(crate) fn stop(&self) {
        let mut child = self.child.lock().unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
        wait_for("the server to end", || child.try_wait().expect("wait"));
    }

    /// Ends it as a power cut would, but for what is on the disk.
    pub(crate) fn kill9(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().expect("a signal");
        child.wait().expect("wait");
    }

    /// Starts it again at the same place.
    pub(crate) fn start_again(&self) {
        let run = || run(&self.programs, self.user, self.folder.path(), self.port, &self.environment);
        *self.child.lock().unwrap() = run();
        wait_for("Postgres to start", || {
            let mut child = self.child.lock().unwrap();
            // What a killed server has left of itself holds its memory for a moment, and then a new one gives up.
            if child.try_wait().expect("wait").is_some() && self.log().trim_end().lines().rev().take(2).any(is_held) {
                *child = run();
            }
            drop(child);
            block_on(async { connect(&self.url("postgres")).await.ok() })
        });
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&self) {
        wait_for("Postgres to answer", || {
            let ended = self.child.lock().unwrap().try_wait().expect("wait");
            assert!(ended.is_none(), "the server has ended: {}", self.log());
            block_on(async { connect(&self.url("postgres")).await.ok() })
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Immediately: there is nothing to keep.
        let _ = kill_process(Pid::from_child(child), Signal::QUIT);
        let _ = child.wait();
    }
}

impl Database {
    /// A new one, on the server that is shared.
    pub(crate) fn new() -> Option<Self> {
        Postgres::shared().map(Self::on)
    }

    pub(crate) fn on(server: Arc<Postgres>) -> Self {
        let name = format!("t{:016x}", fastrand::u64(..));
        execute(&server.url("postgres"), &format!("CREATE DATABASE {name}"));
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// A copy of it as it stands, while nobody is connected.
    pub(crate) fn copy(&self) -> Self {
        let name = format!("t{:016x}", fastrand::u64(..));
        execute(&self.server.url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE {}", self.name));
        Self { server: Arc::clone(&self.server), name }
    }

    /// Runs statements.
    pub(crate) fn execute(&self, sql: &str) {
        execute(&self.url(), sql);
    }

    /// The one value that a query answers.
    pub(crate) fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.try_value(sql).expect("a row")
    }

    /// The same; an error while the server is away.
    pub(crate) fn try_value<T: FromSqlOwned>(&self, sql: &str) -> Result<T, tokio_postgres::Error> {
        block_on(async { connect(&self.url()).await?.query_one(sql, &[]).await?.try_get(0) })
    }

    /// What a query answers, as text: a line for each row, with bars between the columns.
    pub(crate) fn text(&self, sql: &str) -> String {
        let messages = block_on(async {
            let client = connect(&self.url()).await.expect("a connection");
            client.simple_query(sql).await.expect("an answer")
        });
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned());
                Some(cells.collect::<Vec<_>>().join("|") + "\n")
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// Ends all sessions of orderd on this database; how many there were.
    pub(crate) fn end_sessions(&self) -> i64 {
        self.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'orderd'",
        )
    }
}

pub(crate) fn execute(url: &str, sql: &str) {
    block_on(async {
        let client = connect(url).await.expect("a connection");
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    });
}

/// A session that stays, for what a test does beside the ledger.
pub(crate) struct Session {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Session {
    pub(crate) fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(connect(url)).expect("a connection");
        Self { runtime, client }
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends with the runtime of the test, or when the client is dropped.
    tokio::runtime::Handle::current().spawn(connection);
    Ok(client)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn run(programs: &Path, user: Option<(u32, u32)>, folder: &Path, port: u16, environment: &[(String, String)]) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
    let mut server = command(&programs.join("postgres"), user, folder);
    server.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=."]);
    server.arg("-p").arg(port.to_string());
    // Fast and forgetful: no test cuts the power of the machine.
    server.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=16MB"]);
    server.args(["-c", "deadlock_timeout=100ms", "-c", "max_connections=60"]);
    server.envs(environment.iter().cloned());
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    server.spawn().expect("postgres runs")
}

/// Whether a line of its log says that an earlier server holds the memory.
fn is_held(line: &str) -> bool {
    line.contains("pre-existing shared memory block")
}

/// A program, as a user that Postgres accepts: it refuses to run as root.
fn command(program: &Path, user: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_remove("PGOPTIONS");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// A copy that is the server's alone: it takes no key that others could read.
fn own(from: &Path, to: &Path, user: Option<(u32, u32)>) {
    std::fs::copy(from, to).expect("a copy");
    std::fs::set_permissions(to, Permissions::from_mode(0o600)).expect("chmod");
    if let Some((uid, gid)) = user {
        chown(to, Some(uid), Some(gid)).expect("chown");
    }
}

/// The user of the package, or the one that owns nothing.
fn other_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    found.unwrap_or((65534, 65534))
}

/// The folder of the programs: that of `initdb` in `PATH`, or where Debian keeps them, the newest version first.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|found| found.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("an address").port()
}
