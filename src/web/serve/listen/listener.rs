//! One socket that listens, and where clients find it.

use rustix::fd::{AsFd, BorrowedFd};
use socket2::Socket;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::web::serve::listen::socket_file::SocketFile;

/// Connections that wait to be accepted; the system cuts it to its own limit.
pub(super) const BACKLOG: i32 = 1024;
/// What the system may hold of an answer for a client that does not read; it doubles this.
pub(super) const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// What stands before the path of a unix socket.
pub(super) const UNIX: &str = "unix:";

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    /// Removed with the listener.
    _file: Option<SocketFile>,
}

/// Where clients find a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On the network, or on this machine alone.
    Tcp(SocketAddr),
    /// In the file system.
    Unix(PathBuf),
}

impl Address {
    /// None of a unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl Listener {
    /// `file` is removed when the listener is dropped.
    pub(super) fn new(socket: Socket, address: Address, file: Option<SocketFile>) -> Self {
        Self { socket, address, _file: file }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether every browser on this machine reaches it, and no one else: then only names of this machine are answered.
    pub fn is_loopback(&self) -> bool {
        self.address.tcp().is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether other machines reach it.
    pub fn is_open(&self) -> bool {
        self.address.tcp().is_some() && !self.is_loopback()
    }

    pub(in crate::web) fn accept(&self) -> io::Result<Socket> {
        self.socket.accept().map(|(socket, _)| socket)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
