//! Connections under ureq, with TLS or without: a connector and a transport that cost almost nothing while they idle.
//!
//! Both run inside ureq on the thread that asks. Buffers exist only from the first byte sent to the last byte read,
//! and the input buffer not before the peer has answered: a hung target holds a socket and no buffer. The traits are
//! ureq's `unversioned` ones: every bump of ureq is checked by this file's tests and those of `tests/fetch.rs`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use ureq::Error;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::http::buffers::ExchangeBuffers;
use crate::http::error::{HttpErrorKind, Phase, system_words};
use crate::http::exchange::Exchange;
use crate::http::names::{LookupError, Names};
use crate::http::profile::ClientProfile;
use crate::http::tls::session::TlsSession;
use crate::http::wire::{Deadline, Pending, Wire, carry};

/// With several addresses each gets its part of the time left, but at least this (Go's `net.Dialer` does the same).
const MIN_CONNECT_TIME: Duration = Duration::from_secs(2);

/// ureq resolves before it looks whether it has a connection; [`NetConnector`] looks names up when it needs them.
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

/// Where a client's connections lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Route {
    /// To the host of the URL.
    Network,
    /// To a socket of this machine.
    UnixSocket(PathBuf),
}

/// Opens connections for one client.
#[derive(Debug)]
pub(in crate::http) struct NetConnector {
    pub(in crate::http) route: Route,
    pub(in crate::http) exchange: Arc<Exchange>,
    pub(in crate::http) names: Arc<Names>,
    pub(in crate::http) profile: Arc<ClientProfile>,
}

impl Connector for NetConnector {
    type Out = NetTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<NetTransport>, Error> {
        self.exchange.opens_connection();
        let deadline = Deadline::of(details.timeout);
        let Some(authority) = details.uri.authority() else {
            return Err(carry(HttpErrorKind::BadUrl("no host in request URL".to_owned())));
        };
        let default_port = if details.needs_tls() { 443 } else { 80 };
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(default_port));
        let socket = match &self.route {
            Route::Network => self.connect_host(host, port, deadline)?,
            Route::UnixSocket(path) => self.connect_path(path, deadline)?,
        };
        let mut wire = Wire::new(socket, Arc::clone(&self.exchange));
        let tls = if details.needs_tls() {
            self.exchange.enter(Phase::Handshake);
            Some(Box::new(self.shake_hands(host, &mut wire, deadline)?))
        } else {
            None
        };
        Ok(Some(NetTransport { wire, tls, buffers: ExchangeBuffers::default() }))
    }
}

impl NetConnector {
    fn connect_host(&self, host: &str, port: u16, deadline: Deadline) -> Result<Arc<Socket>, Error> {
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
        self.connect_any(&addresses, port, deadline).inspect_err(|_| self.names.doubt(host))
    }

    fn connect_path(&self, path: &Path, deadline: Deadline) -> Result<Arc<Socket>, Error> {
        self.exchange.enter(Phase::Connect);
        let failure = |error: io::Error| {
            let (path, cause) = (path.display().to_string(), system_words(&error));
            carry(HttpErrorKind::ConnectUnix { path, cause })
        };
        let address = SockAddr::unix(path).map_err(failure)?;
        let socket = Arc::new(Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failure)?);
        // The wait for a place in the listener's queue counts as writing.
        socket.set_write_timeout(Some(deadline.left()?)).map_err(failure)?;
        if !self.exchange.uses(&socket) {
            return Err(carry(HttpErrorKind::Cancelled));
        }
        match socket.connect(&address) {
            Ok(()) => Ok(socket),
            Err(_) if self.exchange.is_cancelled() => Err(carry(HttpErrorKind::Cancelled)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Timeout(deadline.reason)),
            Err(error) => Err(failure(error)),
        }
    }

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
        // As Go: the last piece of a body must not wait until the peer has said that the ones before arrived.
        socket.set_tcp_nodelay(true)?;
        let socket = Arc::new(socket);
        if !self.exchange.uses(&socket) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        socket.connect_timeout(&SockAddr::from(address), timeout)?;
        Ok(socket)
    }

    fn shake_hands(&self, host: &str, wire: &mut Wire, deadline: Deadline) -> Result<TlsSession, Error> {
        let tls = &self.profile.config().tls;
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = if tls.server_name.is_empty() { literal } else { &tls.server_name };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            carry(HttpErrorKind::Tls(format!("tls: {name:?} is not a name that a server can have")))
        })?;
        let config = self.profile.tls.client_config().map_err(|cause| carry(HttpErrorKind::Setup(cause)))?;
        TlsSession::connect(config, name, wire, deadline)
    }
}

/// One connection.
#[derive(Debug)]
pub(in crate::http) struct NetTransport {
    wire: Wire,
    tls: Option<Box<TlsSession>>,
    buffers: ExchangeBuffers,
}

impl NetTransport {
    /// Waits for the first byte without a buffer for it; false at the end of what the peer sends.
    fn await_bytes(&mut self, deadline: Deadline) -> Result<bool, Error> {
        match &mut self.tls {
            Some(tls) => tls.await_text(&mut self.wire, deadline),
            None => self.wire.await_bytes(deadline),
        }
    }

    /// Reads once into the input buffer; 0 is the end of what the peer sends.
    fn read(&mut self, deadline: Deadline) -> Result<usize, Error> {
        match &mut self.tls {
            Some(tls) => {
                let is_there = tls.await_text(&mut self.wire, deadline)?;
                Ok(if is_there { tls.take_text(self.buffers.input_append_buf()) } else { 0 })
            }
            None => self.wire.read(deadline, self.buffers.input_append_buf()),
        }
    }
}

impl Transport for NetTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.wire.exchange().enter(Phase::Send);
        self.wire.take_over()?;
        let deadline = Deadline::of(timeout.for_write());
        let output = &self.buffers.output()[..amount];
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.wire, deadline, output),
            None => self.wire.write_all(deadline, output),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::of(timeout.for_read());
        let exchange = self.wire.exchange();
        if exchange.phase() != Phase::Body {
            exchange.enter(Phase::Head);
        }
        if !self.buffers.has_input_memory() {
            self.buffers.free_output();
            if !self.await_bytes(deadline)? {
                return Ok(false);
            }
        }
        if self.buffers.input_append_buf().is_empty() {
            // The parser wants more than the buffer holds: a head, or the line of a chunk's size.
            let n_bytes = self.buffers.input().len();
            return Err(Error::LargeResponseHeader(n_bytes, n_bytes));
        }
        let n_bytes = self.read(deadline)?;
        if n_bytes > 0 {
            self.wire.exchange().got_input();
            self.buffers.input_appended(n_bytes);
        }
        Ok(n_bytes > 0)
    }

    /// ureq asks when it is done with a response, and again before it sends the next request: the buffers are not
    /// needed in between.
    fn is_open(&mut self) -> bool {
        self.buffers = ExchangeBuffers::default();
        // Text that nobody asked for and the end of the stream both make the connection useless.
        let is_open = match &mut self.tls {
            Some(tls) => tls.is_open(&self.wire),
            None => self.wire.pending() == Pending::Nothing,
        };
        is_open && !self.wire.exchange().is_cancelled()
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}
