//! TLS, for every connection that speaks it.
//!
//! Owns: whom we trust, who we are, and a sentence for each way in which a handshake fails. The only file that names `rustls`.
//! Never: a server taken at its word (its certificate and its name are always verified); a connection of its own; the text of a key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a handshake may take. A server that does not speak TLS may take what it is sent for half of a command, and wait for more.
const HANDSHAKE: Duration = Duration::from_millis(2500);

/// What a client needs to speak TLS: whom it trusts, and what it shows of itself.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

/// The authorities whose word on a server is taken.
#[derive(Clone)]
pub struct Authorities(Arc<RootCertStore>);

/// A certificate to show to a server, with what leads from it to an authority.
pub struct Certificate(Vec<CertificateDer<'static>>);

/// The private key of a certificate.
pub struct PrivateKey(PrivateKeyDer<'static>);

/// A file that is of no use for TLS, or two that do not go together. Shows nothing of what is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMaterial {
    /// The file cannot be read.
    #[error("{}: cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file can be read, and what is wanted does not stand in it.
    #[error("{}: {why}", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },
    /// No file was named, and the host has no list of authorities.
    #[error("this host has no list of authorities that it trusts")]
    NoAuthorities,
    /// The key is that of another certificate, or of a kind that is not known.
    #[error("the key does not belong to the certificate")]
    OtherKey,
    /// There is something else about the certificate or the key.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(String),
}

impl Authorities {
    /// Those in a file in PEM form, and no others.
    pub fn in_file(path: &Path) -> Result<Self, BadMaterial> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|_| unfit(path, "one of the certificates is none of an authority, or is damaged"))?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Those that the host trusts.
    pub fn of_host() -> Result<Self, BadMaterial> {
        let mut roots = RootCertStore::empty();
        let (fit, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if fit == 0 { Err(BadMaterial::NoAuthorities) } else { Ok(Self(Arc::new(roots))) }
    }
}

impl Certificate {
    /// The one at the beginning of a file in PEM form; what follows leads to its authority.
    pub fn in_file(path: &Path) -> Result<Self, BadMaterial> {
        certificates(path).map(Self)
    }
}

impl PrivateKey {
    /// The one in a file in PEM form, without a password.
    pub fn in_file(path: &Path) -> Result<Self, BadMaterial> {
        let key = PrivateKeyDer::from_pem_file(path);
        key.map(Self).map_err(|error| bad(path, &error, "there is no private key in PEM form in it (or a locked one)"))
    }
}

impl Tls {
    /// Trusts these authorities, and shows this certificate to a server that asks for one.
    pub fn new(authorities: &Authorities, identity: Option<(Certificate, PrivateKey)>) -> Result<Self, BadMaterial> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| BadMaterial::Unusable(error.to_string()))?
            .with_root_certificates(Arc::clone(&authorities.0));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((Certificate(chain), PrivateKey(key))) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                    Error::InconsistentKeys(_) => BadMaterial::OtherKey,
                    other => BadMaterial::Unusable(other.to_string()),
                })?
            }
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// The same for a library that shakes hands by itself, and that names this protocol in doing so.
    pub fn config_for(&self, protocol: &str) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols.push(protocol.into());
        config
    }

    /// Shakes hands over `stream` with the server that is called `host`. [`sentence`] tells what an error means.
    pub async fn secure<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a certificate cannot be for such a host name"))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        tokio::time::timeout(HANDSHAKE, connector.connect(name, stream)).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, Error::General("no answer to the handshake".to_owned())))
        })
    }
}

/// Nothing of what is in it.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The same files read at the same time.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Tls {}

/// What went wrong between us and a server that is spoken to by TLS, for an operator; `None` where the error is of another kind.
pub fn sentence(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "TLS: what it answers is no TLS; is this the port for it?".to_owned()
        }
        Error::General(why) => format!("TLS: {why}; is this the port for it?"),
        other => format!("TLS: {other}"),
    })
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        // The second: another authority of the same name, such as the one before.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "TLS: its certificate comes from no authority that is trusted here".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("TLS: its certificate is not for {}, but for {}", expected.to_str(), names(presented))
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("TLS: its certificate has expired at {}", moment(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("TLS: its certificate is not valid before {}; is the clock right?", moment(*not_before))
        }
        other => format!("TLS: its certificate cannot be used: {other}"),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "TLS: it wants a certificate of us, and none is set".to_owned(),
        AlertDescription::CertificateExpired => "TLS: our certificate has expired".to_owned(),
        AlertDescription::UnknownCA => "TLS: our certificate comes from no authority that the server trusts".to_owned(),
        other => format!("TLS: it turns us away ({other:?})"),
    }
}

/// The names in a certificate, in words.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| match name.split_once("(\"") {
        Some((_, rest)) => rest.trim_end_matches("\")").to_owned(),
        None => name.clone(),
    };
    match presented.iter().map(plain).collect::<Vec<_>>().join(", ") {
        nobody if nobody.is_empty() => "nobody".to_owned(),
        names => names,
    }
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadMaterial> {
    const NONE: &str = "there is no certificate in PEM form in it";
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found.map_err(|error| bad(path, &error, NONE))? {
        none if none.is_empty() => Err(unfit(path, NONE)),
        found => Ok(found),
    }
}

fn bad(path: &Path, error: &pem::Error, why: &'static str) -> BadMaterial {
    match error {
        pem::Error::Io(error) => BadMaterial::Unreadable { path: path.to_owned(), why: error.to_string() },
        _ => unfit(path, why),
    }
}

fn unfit(path: &Path, why: &'static str) -> BadMaterial {
    BadMaterial::Unfit { path: path.to_owned(), why }
}
