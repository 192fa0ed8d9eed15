//! Passwords: where they may come from.
//!
//! Owns: reading one from a file, the names under which a service manager hands such files over, and the refusal of one that stands on
//! the command line.
//! Never: a password in a text.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

use super::read::Reader;
use super::source::{COMMAND_LINE, variable};

/// The credentials that a service manager can hand over (`LoadCredential=` of systemd), and the key that each sets, with its path.
pub(super) const CREDENTIALS: [(&str, &str); 5] = [
    ("redis-password", "redis.password_file"),
    ("redis-tls-key", "redis.tls_key_file"),
    ("ledger-password", "ledger.password_file"),
    ("ledger-tls-key", "ledger.tls_key_file"),
    ("admin-token", "admin.token_file"),
];

const MAX_BYTES: u64 = 4096;

/// The password in the file that is named; none where none is.
pub(super) fn in_file(path: &str) -> Result<Option<SecretString>, String> {
    if path.is_empty() { Ok(None) } else { read(Path::new(path)).map(Some) }
}

/// Refuses the address at `url`, which has a password in it, where it comes from the command line: everybody on the host can read that.
pub(super) fn not_on_the_command_line(reader: &mut Reader, url: &str, file: &str) -> Option<()> {
    if reader.origin(url) != COMMAND_LINE {
        return Some(());
    }
    let problem = "there is a password in it, and everybody on this host can read a command line".to_owned();
    let way_out =
        format!("the password in a file that {file} names, or the address in the environment ({})", variable(url));
    reader.refuse(url, problem, way_out);
    None
}

/// The secret in this file.
pub(super) fn read(path: &Path) -> Result<SecretString, String> {
    let problem = |what: &dyn Display| format!("{}: {what}", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| problem(&format_args!("cannot be read: {error}")))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(problem(&format_args!("more than {MAX_BYTES} bytes, which is no password")));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    match line.strip_suffix('\r').unwrap_or(line) {
        "" => Err(problem(&"the file is empty")),
        password => Ok(SecretString::from(password)),
    }
}
