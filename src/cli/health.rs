//! `orderd health`: asks a running daemon on this host how it is, for a container's health check: no shell and no curl needed.
//!
//! Owns: one request to the admin server, and the exit code that follows from the answer.
//! Never: a question to Redis or to the ledger.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::ExposeSecret as _;

use super::exit::Exit;
use super::{Cli, print};
use crate::admin::Options;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What `orderd health` is asked for.
#[derive(Debug, Clone, Args)]
pub struct Health {
    /// Ask whether the tasks make progress, not whether the daemon is ready for work
    #[arg(long)]
    pub live: bool,
}

/// Prints the answer of the daemon at `admin.listen`. Anything but a yes is the error.
pub(super) fn run(cli: &Cli, health: &Health) -> anyhow::Result<Exit> {
    let admin = cli.settings()?.admin;
    let address = admin.listen;
    let path = if health.live { "/livez" } else { "/readyz" };
    let (status, body) =
        ask(&admin, path).with_context(|| format!("no answer from {address} (admin.listen) to {path}"))?;
    if status != 200 {
        bail!("{}", body.trim_end());
    }
    print(&format!("{}\n", body.trim_end()))?;
    Ok(Exit::Success)
}

fn ask(admin: &Options, path: &str) -> io::Result<(u16, String)> {
    let address = admin.listen;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let token = admin.token.as_ref().map_or("", |token| token.expose_secret());
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is not the admin server of orderd"))
}
