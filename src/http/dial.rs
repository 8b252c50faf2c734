//! Sockets that are connected: names looked up, addresses tried, each within the deadline and cancellable.
//!
//! Runs on the thread that asks. Knows neither TLS nor HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use ureq::Error;

use crate::http::error::{HttpErrorKind, Phase, system_words};
use crate::http::exchange::Exchange;
use crate::http::names::{LookupError, Names};
use crate::http::wire::{Deadline, carry};

/// With several addresses each gets its part of the time left, but at least this (Go's `net.Dialer` does the same).
const MIN_CONNECT_TIME: Duration = Duration::from_secs(2);

/// Opens sockets for one client.
#[derive(Debug)]
pub(in crate::http) struct Dialer {
    pub(in crate::http) exchange: Arc<Exchange>,
    pub(in crate::http) names: Arc<Names>,
}

impl Dialer {
    /// To a host, by any of its addresses.
    pub(in crate::http) fn host(
        &self,
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<Arc<Socket>, Error> {
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
        self.any(&addresses, port, deadline).inspect_err(|_| self.names.doubt(host))
    }

    /// To a socket of this machine.
    pub(in crate::http) fn path(&self, path: &Path, deadline: Deadline) -> Result<Arc<Socket>, Error> {
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

    fn any(&self, addresses: &[IpAddr], port: u16, deadline: Deadline) -> Result<Arc<Socket>, Error> {
        let mut failure = Error::Timeout(deadline.reason);
        for (address_idx, address) in addresses.iter().enumerate() {
            let left = deadline.left()?;
            let n_untried = (addresses.len() - address_idx) as u32;
            let timeout = (left / n_untried).max(MIN_CONNECT_TIME).min(left);
            let address = SocketAddr::new(*address, port);
            match self.one(address, timeout) {
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

    fn one(&self, address: SocketAddr, timeout: Duration) -> io::Result<Arc<Socket>> {
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
}
