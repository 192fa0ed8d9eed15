//! Who is let in.
//!
//! Owns: the token, what needs it, and the names under which a page of somewhere else cannot reach this host.
//! Never: a token in a log or in an answer.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};

/// What is answered without a token, where there is one or `admin.listen` is no loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Open {
    /// Nothing.
    Nothing,
    /// `/livez` and `/readyz`.
    Probes,
    /// These and `/metrics` and `/status`: everything but what happens to users' orders.
    Machines,
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether it lives or is ready.
    Probe,
    /// What it does.
    Machine,
    /// What happens to users' orders.
    Orders,
}

/// Lets in or does not.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    token: Option<SecretString>,
    open: Open,
    /// Only this host can reach it.
    local: bool,
}

impl Guard {
    pub(super) fn new(listen: SocketAddr, token: Option<SecretString>, open: Open) -> Self {
        Self { token, open, local: listen.ip().is_loopback() }
    }

    /// Whether a request with these headers gets what it asks for.
    pub(super) fn lets_in(&self, asked: Asked, uri: &Uri, headers: &HeaderMap) -> bool {
        let open = match asked {
            Asked::Probe => self.open >= Open::Probes,
            Asked::Machine => self.open >= Open::Machines,
            Asked::Orders => false,
        };
        let with = |token: &SecretString| {
            presented(asked, uri, headers).is_some_and(|one| same(one.as_bytes(), token.expose_secret().as_bytes()))
        };
        // A page of somewhere else can reach a loopback address under a name of its own, which it has pointed here. So for
        // orders a name is not enough.
        let here = || self.local && (asked != Asked::Orders || text(headers, &HOST).is_some_and(is_local));
        open || self.token.as_ref().map_or_else(here, with)
    }
}

/// The answer to those who are not let in.
pub(super) fn refusal() -> Response {
    let challenge = [(WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "a token is needed: Authorization: Bearer …\n").into_response()
}

/// The token that a request carries. A browser's `EventSource` cannot send a header, so that for orders the address does as well.
fn presented<'r>(asked: Asked, uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    let bearer = text(headers, &AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
    });
    let in_address = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="));
    bearer.or_else(|| if asked == Asked::Orders { in_address() } else { None })
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a `Host` is an address or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Compares in a time that tells nothing but whether the lengths are the same.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && std::hint::black_box(one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-some-length";
    const ALL: [Asked; 3] = [Asked::Probe, Asked::Machine, Asked::Orders];

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn guard(listen: &str, token: Option<&str>, open: Open) -> Guard {
        Guard::new(listen.parse().unwrap(), token.map(SecretString::from), open)
    }

    #[test]
    fn a_name_that_somebody_pointed_here_is_not_local() {
        for host in ["127.0.0.1:9464", "[::1]:9464", "localhost", "localhost:1", "192.0.2.1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9464", "localhost.evil.example", ""] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_the_same_in_every_byte_or_not_at_all() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }

    #[test]
    fn what_is_open_needs_no_token_and_everything_else_does() {
        let let_in = |open, target: &str, fields: &[(HeaderName, &str)]| {
            let guard = guard("127.0.0.1:1", Some(TOKEN), open);
            ALL.map(|asked| guard.lets_in(asked, &target.parse().unwrap(), &headers(fields)))
        };
        let local = [(HOST, "localhost")];
        assert_eq!(let_in(Open::Nothing, "/", &local), [false; 3]);
        assert_eq!(let_in(Open::Probes, "/", &local), [true, false, false]);
        assert_eq!(let_in(Open::Machines, "/", &local), [true, true, false]);
        for value in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN}")] {
            assert_eq!(let_in(Open::Nothing, "/", &[(AUTHORIZATION, &value)]), [true; 3], "{value}");
        }
        for value in [TOKEN.to_owned(), format!("Basic {TOKEN}"), format!("Bearer {TOKEN}x"), "Bearer ".to_owned()] {
            assert_eq!(let_in(Open::Nothing, "/", &[(AUTHORIZATION, &value)]), [false; 3], "{value}");
        }
        let address = format!("/?x=y&token={TOKEN}");
        assert_eq!(let_in(Open::Nothing, &address, &[]), [false, false, true], "in the address for browsers alone");
    }

    #[test]
    fn without_a_token_a_loopback_address_is_for_this_host_and_another_for_what_is_open() {
        let let_in = |listen, open, host| {
            let guard = guard(listen, None, open);
            ALL.map(|asked| guard.lets_in(asked, &Uri::from_static("/"), &headers(&[(HOST, host)])))
        };
        assert_eq!(let_in("[::1]:1", Open::Nothing, "localhost:1"), [true; 3]);
        assert_eq!(let_in("[::1]:1", Open::Nothing, "evil.example"), [true, true, false]);
        assert_eq!(let_in("0.0.0.0:1", Open::Nothing, "localhost"), [false; 3]);
        assert_eq!(let_in("0.0.0.0:1", Open::Probes, "localhost"), [true, false, false]);
        assert_eq!(let_in("0.0.0.0:1", Open::Machines, "localhost"), [true, true, false]);
    }
}
