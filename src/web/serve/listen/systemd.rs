//! Sockets handed over by systemd (`sd_listen_fds(3)`).

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::socket_acceptconn;
use socket2::{Socket, Type};
use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::web::serve::listen::error::ListenError;
use crate::web::serve::listen::listener::{Address, Listener};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// One listener per descriptor. They are taken once: whoever asks again gets the same numbers, which must not be.
pub(super) fn listeners() -> Result<Vec<Listener>, ListenError> {
    let number = |variable| env::var(variable).ok().and_then(|text| text.parse::<i32>().ok());
    let is_meant = number("LISTEN_PID") == Some(std::process::id().cast_signed());
    let n_descriptors = number("LISTEN_FDS").filter(|n| is_meant && *n > 0);
    let Some(n_descriptors) = n_descriptors else { return Err(ListenError::NothingHandedOver) };
    let descriptors = FIRST..FIRST.saturating_add(n_descriptors);
    descriptors
        .map(|descriptor| take(descriptor).map_err(|cause| ListenError::HandedOver { descriptor, cause }))
        .collect()
}

fn take(descriptor: RawFd) -> io::Result<Listener> {
    let socket = Socket::from(owned(descriptor)?);
    if socket.r#type()? != Type::STREAM || !socket_acceptconn(&socket)? {
        return Err(io::Error::other("it is no stream socket that listens"));
    }
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?;
    let path = || bound.as_pathname().unwrap_or(Path::new("@")).to_owned();
    let address = bound.as_socket().map_or_else(|| Address::Unix(path()), Address::Tcp);
    Ok(Listener::new(socket, address, None))
}

/// The descriptor, which commands that are run do not get.
#[allow(unsafe_code, reason = "a number of the environment becomes a descriptor")]
fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: looked at only to see whether it is open.
    let borrowed = unsafe { rustix::fd::BorrowedFd::borrow_raw(descriptor) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and systemd has opened it for this process and for nothing else in it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
