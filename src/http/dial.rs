//! Sockets that are connected: names looked up, addresses tried, each within the deadline and cancellable.
//!
//! Runs on the thread that asks. Knows neither TLS nor HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Each connection begins with another address; without it all begin with the first.
    pub(in crate::http) turn: Option<Turn>,
}

/// Whose turn it is among the addresses of a host; what clients that spread their connections share.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<AtomicUsize>);

impl Turn {
    /// The address whose turn it is comes first, and the next connection gets the next one.
    fn take<T>(&self, addresses: &mut [T]) {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(first) = turn.checked_rem(addresses.len()) {
            addresses.rotate_left(first);
        }
    }
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
        let mut addresses = self
            .names
            .addresses(host, deadline.at, || self.exchange.is_cancelled())
            .map_err(|error| match error {
                LookupError::Failed(cause) => carry(HttpErrorKind::Lookup { host: host.to_owned(), cause }),
                LookupError::Deadline => Error::Timeout(deadline.reason),
                LookupError::Cancelled => carry(HttpErrorKind::Cancelled),
            })?;
        if let Some(turn) = &self.turn {
            turn.take(&mut addresses);
        }
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

#[cfg(test)]
mod tests {
    use super::{Dialer, Turn};
    use crate::http::names::Names;
    use crate::http::wire::Deadline;
    use std::net::{IpAddr, Ipv4Addr, TcpListener};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const HOSTS: [Ipv4Addr; 3] =
        [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

    fn dialer(turn: Option<Turn>) -> Dialer {
        let names = Names::over(|_| Ok(HOSTS.map(IpAddr::V4).to_vec()));
        Dialer { exchange: Arc::default(), names, turn }
    }

    /// A port on which all the hosts listen but those in `silent`.
    fn listeners(silent: &[Ipv4Addr]) -> (u16, Vec<TcpListener>) {
        loop {
            let first = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            let hosts = HOSTS.iter().filter(|host| !silent.contains(host));
            if let Ok(all) = hosts.map(|host| TcpListener::bind((*host, port))).collect() {
                return (port, all);
            }
        }
    }

    fn connected(dialer: &Dialer, port: u16) -> Ipv4Addr {
        let deadline =
            Deadline { at: Instant::now() + Duration::from_secs(30), reason: ureq::Timeout::Global };
        let socket = dialer.host("many.example", port, deadline).unwrap();
        *socket.peer_addr().unwrap().as_socket_ipv4().unwrap().ip()
    }

    #[test]
    fn connections_go_to_each_address_in_turn() {
        let (port, _listeners) = listeners(&[]);
        let turn = Turn::default();
        // Two clients of one endpoint.
        let dialers = [dialer(Some(turn.clone())), dialer(Some(turn))];
        let hosts: Vec<Ipv4Addr> = (0..6).map(|idx| connected(&dialers[idx % 2], port)).collect();
        assert_eq!(hosts, [HOSTS, HOSTS].concat());
        let plain = dialer(None);
        assert!((0..3).all(|_| connected(&plain, port) == HOSTS[0]));
    }

    #[test]
    fn one_that_does_not_listen_leaves_its_turn_to_the_next() {
        let (port, _listeners) = listeners(&[HOSTS[1]]);
        let dialer = dialer(Some(Turn::default()));
        let hosts: Vec<Ipv4Addr> = (0..3).map(|_| connected(&dialer, port)).collect();
        assert_eq!(hosts, [HOSTS[0], HOSTS[2], HOSTS[2]]);
    }
}
