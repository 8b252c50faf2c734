//! What is said to a proxy before a connection through it is as good as one to the target: CONNECT, or SOCKS 5.
//!
//! Runs inside the connector, on the thread that asks. Failures are put as Go's `net/http` puts them, with what it
//! leaves out.

use std::io;

use ureq::Error;

use crate::config::client::secret::Secret;
use crate::http::address::site::join;
use crate::http::dial::proxy::Proxy;
use crate::http::error::HttpErrorKind;
use crate::http::wire::carry::{Deadline, Link, carry};
use crate::http::wire::error_kind::kind_of;
use crate::http::wire::exchange::Exchange;
use crate::http::wire::head::{Head, MAX_HEAD_BYTES, TooLarge};

/// What is kept of an answer to CONNECT.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// This many of its headers are looked at.
const MAX_HEADERS: usize = 64;

/// RFC 1928.
const SOCKS_VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const SOCKS_NOT_ALLOWED: u8 = 2;
const CONNECT: u8 = 1;
const ADDRESS_V4: u8 = 1;
const NAME: u8 = 3;
const ADDRESS_V6: u8 = 4;

/// RFC 1929.
const LOGIN_VERSION: u8 = 1;

/// Asks an HTTP proxy for a connection to `target`, a `host:port`.
pub(in crate::http) fn connect(
    link: &mut dyn Link,
    deadline: Deadline,
    proxy: &Proxy,
    header: &[(String, Vec<Secret>)],
    target: &str,
) -> Result<(), Error> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let authorization = proxy.authorization();
    for (name, values) in header {
        // What the URL says counts, as in Go.
        if authorization.is_some() && name.eq_ignore_ascii_case("Proxy-Authorization") {
            continue;
        }
        for value in values {
            request.push_str(&format!("{name}: {}\r\n", value.expose()));
        }
    }
    if let Some(authorization) = authorization {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.expose()));
    }
    request.push_str("\r\n");
    link.write_all(deadline, request.as_bytes())?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    let (mut head, mut len) = (Head::default(), 0);
    loop {
        let n_read = link.read(deadline, &mut answer[len..])?;
        if n_read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        len = head.mend(&mut answer, len + n_read).map_err(|error| too_large(proxy, error))?;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parser = httparse::Response::new(&mut headers);
        let parsed = parser.parse(&answer[..head.n_visible(len)]);
        let parsed = parsed.map_err(|error| refused(proxy, &format!("malformed answer: {error}")))?;
        if let httparse::Status::Complete(n_bytes) = parsed {
            let (code, reason) = (parser.code.unwrap_or_default(), parser.reason.unwrap_or_default());
            return match code {
                200 if n_bytes == len => Ok(()),
                200 => Err(refused(proxy, "it spoke before the target could")),
                code => {
                    let sentence = format!("{code} {reason}");
                    let sentence = refusal(proxy, sentence.trim_end());
                    // That it could not reach the target may pass.
                    if matches!(code, 100..=199 | 500..=599) {
                        return Err(carry(HttpErrorKind::Proxy(sentence)));
                    }
                    let mut headers = parser.headers.iter();
                    let retry_after = headers.find(|header| header.name.eq_ignore_ascii_case("Retry-After"));
                    let retry_after =
                        retry_after.map(|header| String::from_utf8_lossy(header.value).into_owned());
                    let is_login = matches!(code, 401 | 407);
                    Err(carry(HttpErrorKind::ProxyRefused { sentence, is_login, retry_after }))
                }
            };
        }
        if len == answer.len() {
            return Err(too_large(proxy, TooLarge::Line));
        }
    }
}

fn too_large(proxy: &Proxy, error: TooLarge) -> Error {
    let limit_bytes = match error {
        TooLarge::Head => MAX_HEAD_BYTES,
        TooLarge::Line => MAX_ANSWER_BYTES,
    };
    refused(proxy, &format!("its answer is too large (limit: {limit_bytes}B)"))
}

fn refused(proxy: &Proxy, cause: &str) -> Error {
    carry(HttpErrorKind::Proxy(refusal(proxy, cause)))
}

fn refusal(proxy: &Proxy, cause: &str) -> String {
    format!("proxy {} refused CONNECT: {cause}", proxy.shown())
}

/// Asks a SOCKS proxy for a connection to `host` and `port`; it looks the name up.
pub(in crate::http) fn connect_by_socks(
    link: &mut dyn Link,
    deadline: Deadline,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), Error> {
    let mut socks = Socks { link, deadline, proxy, target: join(host, port) };
    socks.greet()?;
    let mut request = vec![SOCKS_VERSION, CONNECT, 0];
    // The zone is one of this machine.
    match host.split('%').next().unwrap_or_default().parse() {
        Ok(std::net::IpAddr::V4(address)) => {
            request.push(ADDRESS_V4);
            request.extend(address.octets());
        }
        Ok(std::net::IpAddr::V6(address)) => {
            request.push(ADDRESS_V6);
            request.extend(address.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).map_err(|_| socks.failure("FQDN too long"))?;
            request.extend([NAME, length]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    socks.link.write_all(deadline, &request)?;
    let [version, reply, reserved, kind] = socks.receive()?;
    socks.check_version(version)?;
    let cause = format!("unknown error {}", reply_words(reply));
    match reply {
        0 => {}
        SOCKS_NOT_ALLOWED => return Err(socks.refusal(&cause, false)),
        _ => return Err(socks.failure(&cause)),
    }
    if reserved != 0 {
        return Err(socks.failure("non-zero reserved field"));
    }
    // The address that the proxy connected from is of no interest.
    let n_bytes = match kind {
        ADDRESS_V4 => 4,
        ADDRESS_V6 => 16,
        NAME => {
            let [length] = socks.receive()?;
            usize::from(length)
        }
        other => return Err(socks.failure(&format!("unknown address type {other}"))),
    };
    for _ in 0..n_bytes + 2 {
        socks.receive::<1>()?;
    }
    Ok(())
}

struct Socks<'a> {
    link: &'a mut dyn Link,
    deadline: Deadline,
    proxy: &'a Proxy,
    target: String,
}

impl Socks<'_> {
    fn greet(&mut self) -> Result<(), Error> {
        let methods: &[u8] = match &self.proxy.login {
            None => &[SOCKS_VERSION, 1, NO_LOGIN],
            Some(_) => &[SOCKS_VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
        };
        self.link.write_all(self.deadline, methods)?;
        let [version, method] = self.receive()?;
        self.check_version(version)?;
        match (method, &self.proxy.login) {
            (NO_LOGIN, _) => Ok(()),
            (USER_AND_PASSWORD, Some((user, password))) => {
                let mut request = vec![LOGIN_VERSION];
                for text in [user, password] {
                    let text = text.expose().as_bytes();
                    let length = u8::try_from(text.len()).ok().filter(|length| *length > 0);
                    request.push(length.ok_or_else(|| self.failure("invalid username/password"))?);
                    request.extend(text);
                }
                self.link.write_all(self.deadline, &request)?;
                match self.receive()? {
                    [LOGIN_VERSION, 0] => Ok(()),
                    [LOGIN_VERSION, _] => Err(self.refusal("username/password authentication failed", true)),
                    _ => Err(self.failure("invalid username/password version")),
                }
            }
            (NONE_ACCEPTABLE, _) => Err(self.refusal("no acceptable authentication methods", true)),
            (other, _) => Err(self.failure(&format!("unsupported authentication method {other}"))),
        }
    }

    /// Exactly this many bytes: what follows is the target's.
    fn receive<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        let mut n_read = 0;
        while n_read < N {
            match self.link.read(self.deadline, &mut bytes[n_read..])? {
                0 => return Err(self.failure("EOF")),
                n_more => n_read += n_more,
            }
        }
        Ok(bytes)
    }

    fn check_version(&self, version: u8) -> Result<(), Error> {
        match version {
            SOCKS_VERSION => Ok(()),
            other => Err(self.failure(&format!("unexpected protocol version {other}"))),
        }
    }

    fn failure(&self, cause: &str) -> Error {
        carry(HttpErrorKind::Proxy(self.sentence(cause)))
    }

    fn refusal(&self, cause: &str, is_login: bool) -> Error {
        let sentence = self.sentence(cause);
        carry(HttpErrorKind::ProxyRefused { sentence, is_login, retry_after: None })
    }

    fn sentence(&self, cause: &str) -> String {
        format!("socks connect tcp {}->{}: {cause}", self.proxy.shown(), self.target)
    }
}

fn reply_words(reply: u8) -> String {
    let words = match reply {
        1 => "general SOCKS server failure",
        SOCKS_NOT_ALLOWED => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        other => return format!("unknown code: {other}"),
    };
    words.to_owned()
}

/// What went wrong on the way to a proxy, as Go says that it was not the target.
pub(in crate::http) fn on_the_way(exchange: &Exchange, error: Error) -> Error {
    carry(match kind_of(exchange, error) {
        kind @ (HttpErrorKind::Deadline(_)
        | HttpErrorKind::Cancelled
        | HttpErrorKind::Setup(_)
        | HttpErrorKind::Proxy(_)
        | HttpErrorKind::ProxyRefused { .. }) => kind,
        kind => HttpErrorKind::Proxy(format!("proxyconnect tcp: {kind}")),
    })
}
