//! The bytes of one connection, with TLS or without. Never waits.

use crate::http::tls::server::Acceptor;
use crate::http::tls::server::session::ServerSession;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{RecvFlags, recv};
use socket2::Socket;
use std::io::{self, Read, Write};

/// How requests begin, as far as Go's server looks.
const HTTP: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// Go's answer to a client that speaks HTTP where TLS is spoken.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// A socket, and the TLS session on it.
#[derive(Debug)]
pub(in crate::web) struct Wire {
    socket: Socket,
    tls: Option<Box<ServerSession>>,
    has_begun: bool,
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Wire {
    /// A connection that was just accepted; without an acceptor it is plain.
    ///
    /// # Errors
    /// The socket can not be made one that never waits: a stalled client would stall everyone.
    pub(in crate::web) fn new(socket: Socket, acceptor: Option<&Acceptor>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // A unix socket has none.
        let _ = socket.set_tcp_nodelay(true);
        let tls = acceptor.map(Acceptor::accept).transpose()?.map(Box::new);
        Ok(Self { socket, tls, has_begun: false })
    }

    /// Reads what the client sent; 0 bytes are the end.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them, and what is wrong with a client's TLS.
    pub(in crate::web) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(bytes) };
        if !self.has_begun {
            let mut first = [0; 5];
            recv(&self.socket, &mut first, RecvFlags::PEEK)?;
            if HTTP.contains(&&first) {
                // Closing a socket with unread bytes would take the answer back.
                let _ = self.socket.read(bytes);
                let _ = self.socket.write(NOT_TLS);
                return Err(io::Error::other("the client speaks HTTP without TLS"));
            }
            self.has_begun = true;
        }
        tls.read(&mut self.socket, bytes)
    }

    /// Takes a part of an answer.
    ///
    /// # Errors
    /// Those of the socket, `WouldBlock` among them.
    pub(in crate::web) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    /// Sends all that was taken.
    ///
    /// # Errors
    /// `WouldBlock`: not all of it; others are the socket's.
    pub(in crate::web) fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.flush(&mut self.socket))
    }

    /// Says that nothing more comes.
    pub(in crate::web) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.socket);
        }
    }

    /// Whether there is something to read that the system knows nothing of.
    pub(in crate::web) fn has_text(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_text())
    }

    /// Whether the handshake waits for room in the socket.
    pub(in crate::web) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }
}
