//! Where Redis is.
//!
//! Owns: reading `redis.url` and keeping its password out of every text.
//! Never: a connection.

use std::{fmt, io};

use redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

use crate::tls::{Authorities, Tls};

/// What an address begins with where TLS is to be spoken.
const SECURE: &str = "rediss://";

/// The address of a Redis server, the credentials for it, and how to speak TLS with it.
#[derive(Clone)]
pub struct Address {
    info: ConnectionInfo,
    security: Security,
}

/// Whether anybody on the way can listen in.
#[derive(Clone)]
enum Security {
    Plain,
    /// TLS, as the host is set up: its list of authorities, no certificate of ours.
    OfHost,
    /// TLS, as the operator has said.
    Tls(Tls),
}

/// The text is not the address of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a Redis address: use redis://[user:password@]host[:port][/db], the same with rediss:// for TLS, or unix:/path/to/socket"
)]
pub struct BadAddress;

impl Address {
    /// Reads a `redis://`, `rediss://` or `unix:` address. `password` takes the place of one in the address.
    pub fn parse(url: &str, password: Option<&SecretString>) -> Result<Self, BadAddress> {
        let (url, security) = match url.strip_prefix(SECURE) {
            // The client library knows a `#insecure`, which verifies nothing.
            Some(rest) if rest.contains('#') => return Err(BadAddress),
            Some(rest) => (format!("redis://{rest}"), Security::OfHost),
            None => (url.to_owned(), Security::Plain),
        };
        let mut info = url.into_connection_info().map_err(|_| BadAddress)?;
        if !matches!(info.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_)) {
            return Err(BadAddress);
        }
        if let Some(password) = password {
            let with_password = info.redis_settings().clone().set_password(password.expose_secret());
            info = info.set_redis_settings(with_password);
        }
        Ok(Self { info, security })
    }

    /// Whether it asks for TLS.
    pub fn is_secure(&self) -> bool {
        !matches!(self.security, Security::Plain)
    }

    /// The same address, where TLS is spoken in this way.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { security: Security::Tls(tls), ..self }
    }

    /// Whether there is a password in it.
    pub fn has_password(&self) -> bool {
        self.info.redis_settings().password().is_some()
    }

    /// Where the server listens.
    pub(super) fn place(&self) -> &ConnectionAddr {
        self.info.addr()
    }

    /// How to speak TLS there; `None` where it is not asked for.
    pub(super) fn tls(&self) -> io::Result<Option<Tls>> {
        match &self.security {
            Security::Plain => Ok(None),
            Security::Tls(tls) => Ok(Some(tls.clone())),
            Security::OfHost => {
                let of_host = Authorities::of_host().and_then(|authorities| Tls::new(&authorities, None));
                of_host.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
            }
        }
    }

    /// What the client library begins a connection with; the credentials are presented by [`Address::login`].
    pub(super) fn without_credentials() -> RedisConnectionInfo {
        RedisConnectionInfo::default().set_lib_name("orderd", env!("CARGO_PKG_VERSION"))
    }

    /// The same with the credentials, for a connection on which the server may speak without being asked.
    pub(super) fn with_credentials_and_pushes(&self) -> RedisConnectionInfo {
        let settings = self.info.redis_settings().clone();
        settings.set_lib_name("orderd", env!("CARGO_PKG_VERSION")).set_protocol(ProtocolVersion::RESP3)
    }

    /// The commands that a new connection has to begin with.
    pub(crate) fn login(&self) -> Vec<Cmd> {
        let settings = self.info.redis_settings();
        let mut commands = Vec::new();
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = settings.username() {
                auth.arg(user);
            }
            commands.push(auth.arg(password).to_owned());
        }
        if settings.db() != 0 {
            commands.push(redis::cmd("SELECT").arg(settings.db()).to_owned());
        }
        commands
    }
}

/// Also by the password, which does not show.
impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        let password = |address: &Self| address.info.redis_settings().password().map(str::to_owned);
        self.to_string() == other.to_string() && password(self) == password(other)
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.info.redis_settings();
        let user = match (settings.username(), settings.password()) {
            (Some(user), Some(_)) => format!("{user}:[redacted]@"),
            (Some(user), None) => format!("{user}@"),
            (None, Some(_)) => ":[redacted]@".to_owned(),
            (None, None) => String::new(),
        };
        let scheme = if self.is_secure() { SECURE } else { "redis://" };
        match self.info.addr() {
            ConnectionAddr::Unix(path) => {
                let user = settings.username().map_or_else(String::new, |user| format!("&user={user}"));
                let password = settings.password().map_or("", |_| "&pass=[redacted]");
                write!(f, "unix:{}?db={}{user}{password}", path.display(), settings.db())
            }
            ConnectionAddr::Tcp(host, port) if host.contains(':') => {
                write!(f, "{scheme}{user}[{host}]:{port}/{}", settings.db())
            }
            other => write!(f, "{scheme}{user}{other}/{}", settings.db()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_shows() {
        let address = Address::parse("redis://app:canary@localhost:6379/2", None).unwrap();
        assert_eq!(address.to_string(), "redis://app:[redacted]@localhost:6379/2");
        let secret = SecretString::from("canary");
        let address = Address::parse("redis://localhost", Some(&secret)).unwrap();
        assert!(!format!("{address} {address:?}").contains("canary"));
    }

    #[test]
    fn what_is_shown_is_an_address_again() {
        let secure = ["rediss://app@localhost:6379/0", "rediss://[::1]:7000/2"];
        let plain = ["redis://localhost:6379/0", "redis://app@[::1]:7000/2", "unix:/run/redis.sock?db=3&user=app"];
        for url in secure.into_iter().chain(plain) {
            let address = Address::parse(url, None).unwrap();
            assert_eq!(address.to_string(), url);
            assert_eq!(address.is_secure(), secure.contains(&url));
        }
        let address = Address::parse("unix:/run/redis.sock?user=app&pass=canary", None).unwrap();
        assert_eq!(address.to_string(), "unix:/run/redis.sock?db=0&user=app&pass=[redacted]");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        // Nobody is taken at his word: the library's way of saying so is refused.
        for url in ["", "localhost", "http://localhost", "redis://", "rediss://", "rediss://localhost#insecure"] {
            assert_eq!(Address::parse(url, None).unwrap_err(), BadAddress, "{url:?}");
        }
        assert!(Address::parse("unix:/run/redis.sock", None).is_ok());
    }
}
