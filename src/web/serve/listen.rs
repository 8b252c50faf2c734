//! Addresses of `--web.listen-address`, and sockets that listen on them.
//!
//! As Go's `net.Listen`: no host, or `[::]`, is every interface in both families; a name is every address it has.
//! `0.0.0.0` is every interface of IPv4 alone, which is where Go listens in both families too.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::names::listen::listen_addresses;

/// Connections that wait to be accepted; the system cuts it to its own limit.
const BACKLOG: i32 = 1024;
/// What the system may hold of an answer for a client that does not read; it doubles this.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum ListenError {
    /// It is taken.
    InUse {
        /// As it was given.
        address: String,
    },
    /// It was given twice.
    Twice {
        /// As it was given.
        address: String,
    },
    /// It is none, or its name has no address.
    Unknown {
        /// As it was given.
        address: String,
        /// Go's words.
        cause: String,
    },
    /// Anything else.
    Refused {
        /// As it was given.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { address } => write!(
                f,
                "{address} is in use by another process; stop that one or choose another address with \
                 --web.listen-address=HOST:PORT"
            ),
            Self::Twice { address } => write!(
                f,
                "listen tcp {address}: bind: address already in use: --web.listen-address names it twice; leave one out"
            ),
            Self::Unknown { address, cause } => {
                write!(
                    f,
                    "listen tcp: {cause}; {address:?} is nothing to listen on, choose another with \
                     --web.listen-address=HOST:PORT"
                )
            }
            Self::Refused { address, cause } => {
                write!(
                    f,
                    "cannot listen on {address}: {cause}; choose another with --web.listen-address=HOST:PORT"
                )
            }
        }
    }
}

impl std::error::Error for ListenError {}

impl Listener {
    /// Listens on all of `addresses`, each `HOST:PORT`.
    ///
    /// # Errors
    /// See [`ListenError`]; an address of a name that this machine does not have is none if there is another.
    pub fn all(addresses: &[String]) -> Result<Vec<Listener>, ListenError> {
        let mut listeners: Vec<Listener> = Vec::new();
        for text in addresses {
            let candidates = listen_addresses(text)
                .map_err(|cause| ListenError::Unknown { address: text.clone(), cause })?;
            let mut first_failure = None;
            let n_before = listeners.len();
            for address in candidates {
                match listen(address) {
                    Ok(socket) => {
                        let address = socket.local_addr().unwrap_or(address);
                        listeners.push(Listener { socket, address });
                    }
                    // Of a host with addresses of both families this machine may have one alone.
                    Err(cause) if is_missing(&cause) => {
                        first_failure.get_or_insert(cause);
                    }
                    Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                        let address = text.clone();
                        return Err(match listeners.iter().any(|it| it.covers(text)) {
                            true => ListenError::Twice { address },
                            false => ListenError::InUse { address },
                        });
                    }
                    Err(cause) => return Err(ListenError::Refused { address: text.clone(), cause }),
                }
            }
            if let Some(cause) = first_failure.filter(|_| listeners.len() == n_before) {
                return Err(ListenError::Refused { address: text.clone(), cause });
            }
        }
        Ok(listeners)
    }

    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    pub(in crate::web) fn accept(&self) -> io::Result<TcpStream> {
        self.socket.accept().map(|(stream, _)| stream)
    }

    /// Whether a socket for `text` would take the place of this one.
    fn covers(&self, text: &str) -> bool {
        let is_same = |other: &SocketAddr| {
            let (mine, other_ip) = (self.address.ip(), other.ip());
            let meet = mine == other_ip || mine.is_unspecified() || other_ip.is_unspecified();
            meet && self.address.port() == other.port()
        };
        listen_addresses(text).is_ok_and(|others| others.iter().any(is_same))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_missing(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match bind(address) {
        // Without IPv6, every interface is every interface of IPv4.
        Err(cause) if is_missing(&cause) && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        outcome => outcome,
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Only of `[::]` this makes a difference: both families.
        socket.set_only_v6(false)?;
    }
    // What it accepts inherits this.
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
