//! TCP addresses to listen on.
//!
//! As Go's `net.Listen`: no host, or `[::]`, is every interface in both families; a name is every address it has.
//! `0.0.0.0` is every interface of IPv4 alone, which is where Go listens in both families too.

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::names::listen::listen_addresses;
use crate::web::serve::listen::error::ListenError;
use crate::web::serve::listen::listener::{Address, BACKLOG, Listener, SEND_BUFFER_BYTES};

/// Adds what `text`, a `HOST:PORT`, stands for.
pub(super) fn add(text: &str, listeners: &mut Vec<Listener>) -> Result<(), ListenError> {
    let candidates =
        listen_addresses(text).map_err(|cause| ListenError::Unknown { address: text.to_owned(), cause })?;
    let mut first_failure = None;
    let n_before = listeners.len();
    for address in candidates {
        match listen(address) {
            Ok(socket) => {
                let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
                listeners.push(Listener::new(socket, Address::Tcp(bound.unwrap_or(address)), None));
            }
            // Of a host with addresses of both families this machine may have one alone.
            Err(cause) if is_missing(&cause) => {
                first_failure.get_or_insert(cause);
            }
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                let address = text.to_owned();
                return Err(match listeners.iter().any(|it| covers(it, text)) {
                    true => ListenError::Twice { address },
                    false => ListenError::InUse { address },
                });
            }
            Err(cause) => return Err(ListenError::Refused { address: text.to_owned(), cause }),
        }
    }
    match first_failure.filter(|_| listeners.len() == n_before) {
        Some(cause) => Err(ListenError::Refused { address: text.to_owned(), cause }),
        None => Ok(()),
    }
}

/// Whether a socket for `text` would take the place of `listener`.
fn covers(listener: &Listener, text: &str) -> bool {
    let Some(address) = listener.address().tcp() else { return false };
    let is_same = |other: &SocketAddr| {
        let (mine, other_ip) = (address.ip(), other.ip());
        let meet = mine == other_ip || mine.is_unspecified() || other_ip.is_unspecified();
        meet && address.port() == other.port()
    };
    listen_addresses(text).is_ok_and(|others| others.iter().any(is_same))
}

fn is_missing(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    match bind(address) {
        // Without IPv6, every interface is every interface of IPv4.
        Err(cause) if is_missing(&cause) && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        outcome => outcome,
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
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
    Ok(socket)
}
