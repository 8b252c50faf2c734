//! TCP under ureq: a connector and a transport that cost almost nothing while a connection idles.
//!
//! Both run inside ureq on the thread that asks. Buffers exist only from the first byte sent to the last byte read,
//! and the input buffer not before the peer has answered: a hung target holds a socket and no buffer. The traits are
//! ureq's `unversioned` ones: every bump of ureq is checked by this file's tests and those of `tests/fetch.rs`.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use ureq::Error;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::http::buffers::ExchangeBuffers;
use crate::http::error::{HttpErrorKind, Phase, system_words};
use crate::http::exchange::Exchange;
use crate::http::names::{LookupError, Names};

/// A socket's own timeout may be this much behind the deadline: setting it anew for each read costs a system call.
const TIMEOUT_SLACK: Duration = Duration::from_millis(20);

/// With several addresses each gets its part of the time left, but at least this (Go's `net.Dialer` does the same).
const MIN_CONNECT_TIME: Duration = Duration::from_secs(2);

/// Far away, where ureq sets no timeout.
const NO_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// An error of this client inside one of ureq's.
#[derive(Debug)]
pub(in crate::http) struct Carried(pub(in crate::http) HttpErrorKind);

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

fn carry(kind: HttpErrorKind) -> Error {
    Error::Other(Box::new(Carried(kind)))
}

/// ureq resolves before it looks whether it has a connection; [`TcpConnector`] looks names up when it needs them.
#[derive(Debug)]
pub(in crate::http) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(addresses)
    }
}

/// Opens TCP connections for one client.
#[derive(Debug)]
pub(in crate::http) struct TcpConnector {
    pub(in crate::http) exchange: Arc<Exchange>,
    pub(in crate::http) names: Arc<Names>,
}

impl Connector for TcpConnector {
    type Out = TcpTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<TcpTransport>, Error> {
        self.exchange.opens_connection();
        let deadline = Deadline::of(details.timeout);
        let Some(authority) = details.uri.authority() else {
            return Err(carry(HttpErrorKind::BadUrl("no host in request URL".to_owned())));
        };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
        self.exchange.enter(Phase::Resolve);
        let addresses =
            self.names.addresses(host, deadline.at, || self.exchange.is_cancelled()).map_err(|error| {
                match error {
                    LookupError::Failed(cause) => {
                        carry(HttpErrorKind::Lookup { host: host.to_owned(), cause })
                    }
                    LookupError::Deadline => Error::Timeout(deadline.reason),
                    LookupError::Cancelled => carry(HttpErrorKind::Cancelled),
                }
            })?;
        self.exchange.enter(Phase::Connect);
        match self.connect_any(&addresses, port, deadline) {
            Ok(socket) => Ok(Some(TcpTransport {
                socket,
                exchange: Arc::clone(&self.exchange),
                buffers: ExchangeBuffers::default(),
                read_timeout: Duration::ZERO,
                write_timeout: Duration::ZERO,
            })),
            Err(error) => {
                self.names.doubt(host);
                Err(error)
            }
        }
    }
}

impl TcpConnector {
    fn connect_any(&self, addresses: &[IpAddr], port: u16, deadline: Deadline) -> Result<Arc<Socket>, Error> {
        let mut failure = Error::Timeout(deadline.reason);
        for (address_idx, address) in addresses.iter().enumerate() {
            let left = deadline.left()?;
            let n_untried = (addresses.len() - address_idx) as u32;
            let timeout = (left / n_untried).max(MIN_CONNECT_TIME).min(left);
            let address = SocketAddr::new(*address, port);
            match self.connect_one(address, timeout) {
                Ok(socket) => return Ok(socket),
                Err(_) if self.exchange.is_cancelled() => return Err(carry(HttpErrorKind::Cancelled)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if timeout == left {
                        // The wait is rounded to milliseconds and may end a little before the deadline.
                        return Err(Error::Timeout(deadline.reason));
                    }
                    let cause = "i/o timeout".to_owned();
                    failure = carry(HttpErrorKind::Connect { address: address.to_string(), cause });
                }
                Err(error) => {
                    let cause = system_words(&error);
                    failure = carry(HttpErrorKind::Connect { address: address.to_string(), cause });
                }
            }
        }
        Err(failure)
    }

    fn connect_one(&self, address: SocketAddr, timeout: Duration) -> io::Result<Arc<Socket>> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        let socket = Arc::new(socket);
        if !self.exchange.uses(&socket) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        socket.connect_timeout(&SockAddr::from(address), timeout)?;
        Ok(socket)
    }
}

/// One connection.
#[derive(Debug)]
pub(in crate::http) struct TcpTransport {
    socket: Arc<Socket>,
    exchange: Arc<Exchange>,
    buffers: ExchangeBuffers,
    /// As last set on the socket; zero: never.
    read_timeout: Duration,
    write_timeout: Duration,
}

impl TcpTransport {
    /// Reads once; `Ok(0)` is the end of what the peer sends.
    fn read(&mut self, deadline: Deadline, buffer: ReadInto) -> Result<usize, Error> {
        loop {
            let left = deadline.left()?;
            if is_far(self.read_timeout, left) {
                self.socket.set_read_timeout(Some(left))?;
                self.read_timeout = left;
            }
            let outcome = match buffer {
                ReadInto::Buffers => (&*self.socket).read(self.buffers.input_append_buf()),
                ReadInto::Nothing => {
                    self.socket.recv_with_flags(&mut [MaybeUninit::uninit(); 1], libc::MSG_PEEK)
                }
            };
            match outcome {
                Ok(n_bytes) => return Ok(n_bytes),
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::ConnectionReset {
                        self.exchange.got_reset();
                    }
                    return Err(error.into());
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum ReadInto {
    /// The input buffer.
    Buffers,
    /// Only wait until there is something.
    Nothing,
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.exchange.enter(Phase::Send);
        if !self.exchange.uses(&self.socket) {
            return Err(carry(HttpErrorKind::Cancelled));
        }
        let deadline = Deadline::of(timeout.for_write());
        let mut n_sent = 0;
        while n_sent < amount {
            let left = deadline.left()?;
            if is_far(self.write_timeout, left) {
                self.socket.set_write_timeout(Some(left))?;
                self.write_timeout = left;
            }
            match (&*self.socket).write(&self.buffers.output()[n_sent..amount]) {
                Ok(n_bytes) => n_sent += n_bytes,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::of(timeout.for_read());
        if self.exchange.phase() != Phase::Body {
            self.exchange.enter(Phase::Head);
        }
        if !self.buffers.has_input_memory() {
            self.buffers.free_output();
            if self.read(deadline, ReadInto::Nothing)? == 0 {
                return Ok(false);
            }
        }
        if self.buffers.input_append_buf().is_empty() {
            // The parser wants more than the buffer holds: a head, or the line of a chunk's size.
            let n_bytes = self.buffers.input().len();
            return Err(Error::LargeResponseHeader(n_bytes, n_bytes));
        }
        let n_bytes = self.read(deadline, ReadInto::Buffers)?;
        if n_bytes > 0 {
            self.exchange.got_input();
            self.buffers.input_appended(n_bytes);
        }
        Ok(n_bytes > 0)
    }

    /// ureq asks when it is done with a response, and again before it sends the next request: the buffers are not
    /// needed in between.
    fn is_open(&mut self) -> bool {
        self.buffers = ExchangeBuffers::default();
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let probed = self.socket.recv_with_flags(&mut [MaybeUninit::uninit(); 1], flags);
        // Bytes that nobody asked for and the end of the stream both make the connection useless.
        matches!(probed, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            && !self.exchange.is_cancelled()
    }
}

/// When a step must be done, and ureq's name for that.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    reason: ureq::Timeout,
}

impl Deadline {
    fn of(timeout: NextTimeout) -> Self {
        let after = if timeout.after.is_not_happening() { NO_TIMEOUT } else { *timeout.after };
        Self { at: Instant::now() + after, reason: timeout.reason }
    }

    /// Time left, never zero.
    fn left(self) -> Result<Duration, Error> {
        let left = self.at.saturating_duration_since(Instant::now());
        // The system counts in microseconds and takes zero for "no timeout".
        if left < Duration::from_micros(1) { Err(Error::Timeout(self.reason)) } else { Ok(left) }
    }
}

/// Whether a timeout set on the socket is too long for the time left, or so short that it would wake a lot.
fn is_far(set: Duration, left: Duration) -> bool {
    set > left + TIMEOUT_SLACK || set < left / 2
}

/// The socket's own timeout or a signal: the deadline decides whether to go on.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
