//! One socket: opened when there is a descriptor for it, and the words when it fails.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use ureq::Error;

use crate::descriptors;
use crate::descriptors::Purpose;
use crate::http::address::site::join;
use crate::http::error::{HttpErrorKind, system_words};
use crate::http::wire::carry::carry;
use crate::http::wire::exchange::Exchange;
use crate::names::address::Address;

/// How often somebody who waits for a descriptor looks whether there is one.
const ROOM_POLL: Duration = Duration::from_millis(20);

/// Opens a socket, and waits while there is no descriptor for it: others give theirs back.
pub(in crate::http::dial) fn patiently(
    exchange: &Exchange,
    until: Instant,
    open: impl Fn() -> io::Result<Socket>,
) -> io::Result<Socket> {
    loop {
        match open() {
            Err(error)
                if error.raw_os_error() == Some(libc::EMFILE)
                    && !exchange.is_cancelled()
                    && Instant::now() + ROOM_POLL < until =>
            {
                thread::sleep(ROOM_POLL);
            }
            outcome => return outcome,
        }
    }
}

pub(in crate::http::dial) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = with_room(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?)?;
    // As Go: the last piece of a body must not wait until the peer has said that the ones before arrived.
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// The socket, unless those that are left belong to the log and the web server.
pub(in crate::http::dial) fn with_room(socket: Socket) -> io::Result<Socket> {
    match descriptors::has_room(&socket, Purpose::Exchange) {
        true => Ok(socket),
        false => Err(io::Error::from_raw_os_error(libc::EMFILE)),
    }
}

pub(in crate::http::dial) fn failure(address: &Address, port: u16, error: &io::Error) -> Error {
    failure_at(join(&address.to_string(), port), error)
}

pub(in crate::http::dial) fn failure_at(address: String, error: &io::Error) -> Error {
    carry(HttpErrorKind::Connect { address, cause: system_words(error) })
}
