//! A Redis server of one's own: for the demo, the tests and the benches.
//!
//! Owns: the process, its temporary folder, and the end of both.
//! Never: a server that somebody else started, a port that was agreed on before, a client (that is `broker`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long a server may take to end in good order.
const STOP_DEADLINE: Duration = Duration::from_secs(2);
/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often another free port is tried when somebody was faster.
const PORT_TRIES: usize = 5;
/// So much of the server's log is shown when it did not start.
const LOG_LINES: usize = 12;

/// Which server is started, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// Whether it listens on a free TCP port of the loopback address too, besides its socket.
    pub tcp: bool,
    /// Further arguments. They stand after ours, so they win: `--appendonly yes`, say.
    pub args: Vec<OsString>,
}

impl Default for Options {
    /// `redis-server` as `PATH` finds it, on a socket alone, keeping nothing on disk.
    fn default() -> Self {
        Self { program: "redis-server".into(), tcp: false, args: Vec::new() }
    }
}

/// A running server in a temporary folder of its own. Dropped, it ends, and its folder goes.
///
/// Starting and ending block for some milliseconds.
#[derive(Debug)]
pub struct PrivateServer {
    options: Options,
    port: Option<u16>,
    child: Child,
    // After the child: fields are dropped in this order, and the folder must outlive the server.
    folder: TempDir,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is no such program.
    #[error(
        "there is no '{}' here; install Redis (on Debian and Ubuntu: apt-get install redis-server)",
        .program.display()
    )]
    NoProgram {
        /// What was looked for.
        program: PathBuf,
    },
    /// The program cannot be run.
    #[error("cannot run '{}': {error}", .program.display())]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The temporary folder or a free port could not be had.
    #[error("cannot prepare a private server: {0}")]
    Preparation(#[from] io::Error),
    /// It ended before it answered.
    #[error("'{}' ended before it answered ({status}); its last lines:\n{log}", .program.display())]
    Ended {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It runs and does not answer.
    #[error("'{}' did not answer within {} s; its last lines:\n{log}", .program.display(), START_DEADLINE.as_secs())]
    Silent {
        /// The program.
        program: PathBuf,
        /// The end of its log.
        log: String,
    },
}

impl PrivateServer {
    /// Starts a server and waits until it answers.
    pub fn start(options: Options) -> Result<Self, SandboxError> {
        Self::start_on(options, free_port)
    }

    /// Where it is, as `redis.url` takes it: its TCP address where it has one, else its socket.
    pub fn url(&self) -> String {
        match self.port {
            Some(port) => format!("redis://{}:{port}", Ipv4Addr::LOCALHOST),
            None => format!("unix:{}", self.socket().display()),
        }
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.folder())
    }

    /// Its TCP port, where it has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder: socket, log, and what it keeps on disk.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        log_in(self.folder())
    }

    /// Ends it as a power cut would. What it keeps on disk stays for [`restart`](Self::restart).
    pub fn kill9(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ends it in good order; by force when it takes too long.
    pub fn stop(&mut self) -> io::Result<()> {
        end(&mut self.child)
    }

    /// Starts it again on the same folder, socket and port; a running one is stopped first.
    pub fn restart(&mut self) -> Result<(), SandboxError> {
        self.stop()?;
        self.child = launch(&self.options, self.folder.path(), self.port)?;
        Ok(())
    }

    fn start_on(options: Options, mut next_port: impl FnMut() -> io::Result<u16>) -> Result<Self, SandboxError> {
        let folder = tempfile::Builder::new().prefix("orderd-redis-").tempdir()?;
        let mut tries_left = PORT_TRIES;
        loop {
            tries_left -= 1;
            let port = if options.tcp { Some(next_port()?) } else { None };
            match launch(&options, folder.path(), port) {
                Ok(child) => return Ok(Self { options, port, child, folder }),
                Err(SandboxError::Ended { log, .. }) if tries_left > 0 && log.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(pid = self.pid(), %error, "a private redis-server could not be ended");
        }
    }
}

/// A port that was free a moment ago. Somebody else may take it before the server does; then the server says so and ends.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn launch(options: &Options, folder: &Path, port: Option<u16>) -> Result<Child, SandboxError> {
    // A new log for each start: the last lines must be those of this server, not of the one before.
    let log = File::create(log_path(folder))?;
    let mut child = command(options, folder, port)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| cannot_run(&options.program, error))?;
    match wait_until_it_answers(&mut child, options, folder) {
        Ok(()) => Ok(child),
        Err(error) => {
            end(&mut child)?;
            Err(error)
        }
    }
}

fn command(options: &Options, folder: &Path, port: Option<u16>) -> Command {
    let mut command = Command::new(&options.program);
    command
        .current_dir(folder)
        .args(["--bind", "127.0.0.1", "--port", &port.unwrap_or(0).to_string()])
        .args(["--unixsocket".as_ref(), socket_in(folder).as_os_str()])
        .args(["--dir".as_ref(), folder.as_os_str()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(&options.args);
    command
}

fn cannot_run(program: &Path, error: io::Error) -> SandboxError {
    let program = program.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => SandboxError::NoProgram { program },
        _ => SandboxError::CannotRun { program, error },
    }
}

fn wait_until_it_answers(child: &mut Child, options: &Options, folder: &Path) -> Result<(), SandboxError> {
    let socket = socket_in(folder);
    let settled = wait_for(START_DEADLINE, || match child.try_wait() {
        Ok(None) => answers(&socket).then_some(Ok(None)),
        ended => Some(ended),
    });
    let program = options.program.clone();
    match settled {
        Some(Ok(None)) => Ok(()),
        Some(Ok(Some(status))) => Err(SandboxError::Ended { program, status, log: log_in(folder) }),
        Some(Err(error)) => Err(error.into()),
        None => Err(SandboxError::Silent { program, log: log_in(folder) }),
    }
}

/// Whether the server behind `socket` takes commands: not while it is loading, for it answers that with an error.
fn answers(socket: &Path) -> bool {
    let ping = || -> io::Result<bool> {
        let mut connection = UnixStream::connect(socket)?;
        connection.set_read_timeout(Some(Duration::from_millis(200)))?;
        connection.write_all(b"PING\r\n")?;
        let mut reply = [0; 7];
        connection.read_exact(&mut reply)?;
        // A server with a password refuses, and is up.
        Ok(&reply == b"+PONG\r\n" || &reply == b"-NOAUTH")
    };
    ping().unwrap_or(false)
}

/// Ends the child by its own id: asks first, then does not ask.
fn end(child: &mut Child) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    kill_process(Pid::from_child(child), Signal::TERM)?;
    if wait_for(STOP_DEADLINE, || child.try_wait().transpose()).transpose()?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Looks again and again until there is something to see; `None` when the deadline has passed.
fn wait_for<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing of the road runs here, and a child process has no waker")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

fn log_in(folder: &Path) -> String {
    let bytes = fs::read(log_path(folder)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one command and returns what comes back at once.
    fn ask(server: &PrivateServer, command: &str) -> String {
        let mut connection = UnixStream::connect(server.socket()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        connection.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 512];
        let length = connection.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..length]).into_owned()
    }

    fn is_running(pid: u32) -> bool {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[test]
    fn a_server_answers_as_soon_as_it_is_there_and_is_gone_with_its_folder_when_dropped() {
        let server = PrivateServer::start(Options::default()).unwrap();
        let (pid, folder) = (server.pid(), server.folder().to_owned());
        assert_eq!(ask(&server, "PING"), "+PONG\r\n");
        assert_eq!((server.url(), server.port()), (format!("unix:{}/redis.sock", folder.display()), None));
        assert!(is_running(pid) && folder.exists());
        drop(server);
        assert!(!is_running(pid), "process {pid} is still there");
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_that_does_not_hear_the_request_to_end_is_ended_by_force() {
        let server = PrivateServer::start(Options::default()).unwrap();
        let pid = server.pid();
        kill_process(Pid::from_child(&server.child), Signal::STOP).unwrap();
        drop(server);
        assert!(!is_running(pid), "process {pid} is still there");
    }

    #[test]
    fn a_server_can_have_a_port_that_no_other_has() {
        let tcp = || PrivateServer::start(Options { tcp: true, ..Options::default() }).unwrap();
        let (one, other) = (tcp(), tcp());
        assert_ne!(one.port().unwrap(), other.port().unwrap());
        assert_eq!(one.url(), format!("redis://127.0.0.1:{}", one.port().unwrap()));
        assert!(std::net::TcpStream::connect(("127.0.0.1", one.port().unwrap())).is_ok());
    }

    #[test]
    fn a_port_that_somebody_else_took_meanwhile_is_given_up_for_another() {
        let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = somebody.local_addr().unwrap().port();
        let mut ports = [taken, taken, free_port().unwrap()].into_iter();
        let options = || Options { tcp: true, ..Options::default() };
        let server = PrivateServer::start_on(options(), || Ok(ports.next().unwrap())).unwrap();
        assert_ne!(server.port(), Some(taken));
        assert_eq!(ask(&server, "PING"), "+PONG\r\n");

        let error = PrivateServer::start_on(options(), || Ok(taken)).unwrap_err().to_string();
        assert!(error.contains("Address already in use"), "{error}");
    }

    #[test]
    fn after_a_kill_it_comes_back_at_the_same_place_with_what_it_kept_on_disk() {
        let args = ["--appendonly", "yes", "--appendfsync", "always"].map(Into::into).to_vec();
        let mut server = PrivateServer::start(Options { tcp: true, args, ..Options::default() }).unwrap();
        let (pid, url, socket) = (server.pid(), server.url(), server.socket());
        assert_eq!(ask(&server, "SET kept yes"), "+OK\r\n");

        server.kill9().unwrap();
        assert!(UnixStream::connect(server.socket()).is_err());
        server.restart().unwrap();

        assert_ne!(server.pid(), pid);
        assert_eq!((server.url(), server.socket()), (url, socket));
        assert_eq!(ask(&server, "GET kept"), "$3\r\nyes\r\n");
    }

    #[test]
    fn a_server_that_is_told_to_keep_nothing_is_empty_after_a_restart() {
        let mut server = PrivateServer::start(Options::default()).unwrap();
        assert_eq!(ask(&server, "SET gone yes"), "+OK\r\n");
        server.restart().unwrap();
        assert_eq!(ask(&server, "GET gone"), "$-1\r\n");
    }

    #[test]
    fn a_server_that_wants_a_password_counts_as_there() {
        let args = ["--requirepass", "secret"].map(Into::into).to_vec();
        let server = PrivateServer::start(Options { args, ..Options::default() }).unwrap();
        assert!(ask(&server, "PING").starts_with("-NOAUTH"));
    }

    #[test]
    fn a_missing_program_is_named_with_the_way_to_get_it() {
        let options = Options { program: "no-such-redis".into(), ..Options::default() };
        let error = PrivateServer::start(options).unwrap_err().to_string();
        assert!(error.contains("'no-such-redis'") && error.contains("apt-get install redis-server"), "{error}");
    }

    #[test]
    fn a_server_that_does_not_start_is_quoted() {
        let args = ["--no-such-setting", "1"].map(Into::into).to_vec();
        let error = PrivateServer::start(Options { args, ..Options::default() }).unwrap_err().to_string();
        assert!(error.contains("ended before it answered") && error.contains("no-such-setting"), "{error}");
    }
}
