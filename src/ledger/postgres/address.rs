//! Where a Postgres database is.
//!
//! Owns: reading the address and keeping its password out of every text.
//! Never: a connection.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::tls::Tls;

/// The address of a Postgres database, the credentials for it, and how to speak TLS with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    config: Config,
    tls: Option<Tls>,
}

/// The text is not the address of a Postgres database. Does not show the text: a password can stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It is written in another way.
    #[error(
        "not a Postgres address: use postgres://[user[:password]@]host[:port]/database, with %40 for an @ in the password"
    )]
    Form,
    /// It wants TLS, perhaps, or from anybody.
    #[error(
        "sslmode is verify-full (or require, which means the same here) or disable: what lies between does not keep anybody out"
    )]
    HalfSecure,
}

/// What an address ends in where TLS is to be spoken.
const SECURE: &str = "sslmode=verify-full";

/// How long connecting may take, where the address does not say. A server that is away has to be noticed well before a call
/// of the handler is given up.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a server may leave unanswered what was sent to it, where the address does not say.
const SILENCE: Duration = Duration::from_secs(10);

impl Address {
    /// Whether there is a password in it.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The same address with this password.
    #[must_use]
    pub fn with_password(mut self, password: &SecretString) -> Self {
        self.config.password(password.expose_secret());
        self
    }

    /// Whether it asks for TLS.
    pub fn is_secure(&self) -> bool {
        self.config.get_ssl_mode() == SslMode::Require
    }

    /// The same address, where TLS is spoken in this way.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// How TLS is spoken there; `None` where it is not, or where nobody has said how.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// What the client library needs to connect.
    pub(super) fn config(&self) -> Config {
        let mut config = self.config.clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        if config.get_application_name().is_none() {
            config.application_name("orderd");
        }
        config
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(BadAddress::Form);
        }
        let config: Config = in_the_librarys_words(text)?.parse().map_err(|_| BadAddress::Form)?;
        // With an @ in a password, what follows it would be taken for the host, and shown.
        let odd = |host: &Host| matches!(host, Host::Tcp(name) if name.is_empty() || name.contains('@'));
        if config.get_hosts().is_empty() || config.get_hosts().iter().any(odd) {
            return Err(BadAddress::Form);
        }
        Ok(Self { config, tls: None })
    }
}

/// An address again, with the parts that say where; the password is redacted.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        match (self.config.get_user(), self.has_password()) {
            (Some(user), true) => write!(f, "{}:[redacted]@", encoded(user))?,
            (Some(user), false) => write!(f, "{}@", encoded(user))?,
            (None, true) => f.write_str(":[redacted]@")?,
            (None, false) => {}
        }
        let ports = self.config.get_ports();
        for (n, host) in self.config.get_hosts().iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]")?,
                Host::Tcp(name) => f.write_str(name)?,
                Host::Unix(path) => f.write_str(&encoded(&path.to_string_lossy()))?,
            }
            // One port stands for all hosts.
            match ports.get(n).or(ports.first()) {
                Some(5432) | None => {}
                Some(port) => write!(f, ":{port}")?,
            }
        }
        write!(f, "/{}", encoded(self.config.get_dbname().unwrap_or_default()))?;
        let secure = self.is_secure().then(|| SECURE.to_owned());
        let options = self.config.get_options().map(|options| format!("options={}", encoded(options)));
        for (parameter, mark) in secure.into_iter().chain(options).zip(["?", "&"]) {
            write!(f, "{mark}{parameter}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The client library does not know `verify-full`; who verifies is the TLS that it is given, and that always does.
fn in_the_librarys_words(text: &str) -> Result<String, BadAddress> {
    let Some((place, parameters)) = text.split_once('?') else { return Ok(text.to_owned()) };
    let mut translated = Vec::new();
    for parameter in parameters.split('&') {
        translated.push(match parameter.split_once('=') {
            Some(("sslmode", "verify-full" | "require")) => "sslmode=require",
            Some(("sslmode", "disable")) => parameter,
            Some(("sslmode", _)) => return Err(BadAddress::HalfSecure),
            _ => parameter,
        });
    }
    Ok(format!("{place}?{}", translated.join("&")))
}

/// The text, with everything but letters, digits and `-._~` written as `%XX`.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_password_never_shows() {
        let shown = "postgres://app:[redacted]@db.example:5433/shop";
        for url in [
            "postgres://app:canary@db.example:5433/shop",
            "postgresql://app:can%40ary@db.example:5433/shop",
            "postgres://app@db.example:5433/shop?password=canary",
            "postgres://db.example:5433/shop?user=app&password=canary",
        ] {
            assert_eq!(address(url).to_string(), shown);
            assert_eq!(format!("{:?}", address(url)), format!("Address({shown})"));
        }
        let from_file = address("postgres://app@db.example:5433/shop").with_password(&SecretString::from("canary"));
        assert!(from_file.has_password());
        assert_eq!(from_file.to_string(), shown);
    }

    #[test]
    fn what_is_shown_is_an_address_again() {
        for url in [
            "postgres://localhost/shop",
            "postgres://app@one:6000,two:6001/shop",
            "postgres://app@[::1]:5433/shop",
            "postgres://a%20b@%2Frun%2Fpostgresql/shop",
            "postgres://localhost/shop?options=-c%20statement_timeout%3D5s",
            "postgres://localhost/shop?sslmode=verify-full",
            "postgres://localhost/shop?sslmode=verify-full&options=-c%20statement_timeout%3D5s",
        ] {
            assert_eq!(address(url).to_string(), url);
        }
        // Redacted, it can still be read, so that the effective configuration can be checked.
        assert!(address("postgres://app:[redacted]@db/shop").has_password());
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        for url in [
            "",
            "postgres:",
            "postgres://",
            "postgres:///shop",
            "postgres://app:canary",
            "postgres://app:can@ary@db/shop",
            "postgres://app:canary@db/shop?odd=1",
            "postgres://app:canary@db:port/shop",
            "host=db password=canary",
            "mysql://app:canary@db/shop",
        ] {
            let error = url.parse::<Address>().unwrap_err();
            assert_eq!(error, BadAddress::Form, "{url}");
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn tls_is_asked_for_or_not_and_nothing_in_between() {
        assert!(address("postgres://db/shop?sslmode=require").is_secure());
        assert!(address("postgres://db/shop?application_name=x&sslmode=verify-full").is_secure());
        assert!(!address("postgres://db/shop?sslmode=disable").is_secure());
        assert!(!address("postgres://db/shop").is_secure());
        for mode in ["allow", "prefer", "verify-ca", ""] {
            let url = format!("postgres://app:canary@db/shop?sslmode={mode}");
            assert_eq!(url.parse::<Address>(), Err(BadAddress::HalfSecure), "{mode:?}");
        }
    }
}
