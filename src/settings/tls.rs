//! The keys for TLS, which the tables of two servers have alike.
//!
//! Owns: what becomes of `tls_ca_file`, `tls_cert_file` and `tls_key_file`, and what does not go together.
//! Never: what stands in those files, in a message.

use std::path::Path;

use super::read::Reader;
use crate::tls::{Authorities, BadMaterial, Certificate, PrivateKey, Tls};

/// The names of the keys for one server.
pub(super) struct Names {
    /// Says whether TLS is spoken at all.
    pub(super) url: &'static str,
    /// How that would be asked for.
    pub(super) asked_by: &'static str,
    /// Whom we trust.
    pub(super) authorities: &'static str,
    /// What we show.
    pub(super) certificate: &'static str,
    /// What proves that it is ours.
    pub(super) key: &'static str,
}

/// What the operator wants.
pub(super) enum Wanted {
    /// No TLS.
    Plain,
    /// TLS, in this way.
    Tls(Tls),
}

/// Redis.
pub(super) const REDIS: Names = Names {
    url: "redis.url",
    asked_by: "an address that begins with rediss://",
    authorities: "redis.tls_ca_file",
    certificate: "redis.tls_cert_file",
    key: "redis.tls_key_file",
};

/// The ledger on Postgres.
pub(super) const LEDGER: Names = Names {
    url: "ledger.url",
    asked_by: "an address on Postgres that ends in ?sslmode=verify-full",
    authorities: "ledger.tls_ca_file",
    certificate: "ledger.tls_cert_file",
    key: "ledger.tls_key_file",
};

/// Reads the three keys. `asked`: whether the address asks for TLS. Where it does not, there is none to be had, and a file that is
/// set all the same is a mistake: whoever set it believes to be safe. `None`: there are mistakes.
pub(super) fn tls(reader: &mut Reader, names: &Names, asked: bool) -> Option<Wanted> {
    let authorities = reader.text(names.authorities, |path| in_file(path, Authorities::in_file));
    let certificate = reader.text(names.certificate, |path| in_file(path, Certificate::in_file));
    let key = reader.text(names.key, |path| in_file(path, PrivateKey::in_file));
    let (authorities, certificate, key) = (authorities?, certificate?, key?);

    if !asked {
        let files = [
            (names.authorities, authorities.is_some()),
            (names.certificate, certificate.is_some()),
            (names.key, key.is_some()),
        ];
        let set: Vec<_> = files.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        for name in &set {
            reader.conflict(name, names.url, "TLS is not spoken there".to_owned(), names.asked_by);
        }
        return set.is_empty().then_some(Wanted::Plain);
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return halved(reader, names.certificate, names.key),
        (None, Some(_)) => return halved(reader, names.key, names.certificate),
    };
    let authorities = match authorities.map_or_else(Authorities::of_host, Ok) {
        Ok(authorities) => authorities,
        Err(error) => {
            reader.conflict(names.authorities, names.url, error.to_string(), "a file with the authority of the server");
            return None;
        }
    };
    match Tls::new(&authorities, identity) {
        Ok(tls) => Some(Wanted::Tls(tls)),
        Err(error) => {
            reader.conflict(names.key, names.certificate, error.to_string(), "a certificate and the key of its own");
            None
        }
    }
}

fn in_file<T>(path: &str, read: impl FnOnce(&Path) -> Result<T, BadMaterial>) -> Result<Option<T>, String> {
    if path.is_empty() { Ok(None) } else { read(Path::new(path)).map(Some).map_err(|error| error.to_string()) }
}

fn halved<T>(reader: &mut Reader, name: &str, missing: &str) -> Option<T> {
    reader.conflict(name, missing, format!("{missing} is not set"), "both of them, or neither");
    None
}
