//! TLS of one client's connection: text in and out of records, as far as the socket lets them. Never waits.

use std::io::{self, ErrorKind, Read, Write};

use rustls::ServerConnection;

use crate::http::tls::server::Acceptor;
use crate::http::tls::words::words;

/// Text that is encrypted before the socket has taken what came before it: one record.
const MAX_UNSENT_BYTES: usize = 16 << 10;

/// One client.
#[derive(Debug)]
pub struct ServerSession {
    connection: ServerConnection,
    /// Bytes of text that no one has read yet.
    n_text: usize,
}

impl Acceptor {
    /// A session with a client that has just connected; its handshake is part of the first reads.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn accept(&self) -> io::Result<ServerSession> {
        let connection = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        Ok(ServerSession { connection, n_text: 0 })
    }
}

impl ServerSession {
    /// Reads text; 0 bytes are its end.
    ///
    /// # Errors
    /// Those of `wire`, `WouldBlock` among them, or a sentence about what the client did wrong, which it has been sent.
    pub fn read(&mut self, wire: &mut (impl Read + Write), text: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(text) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                // Without a word of farewell, which is as good to a server.
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => {
                    self.n_text -= outcome.as_ref().map_or(self.n_text, |n_read| *n_read);
                    return outcome;
                }
            }
            self.send(wire)?;
            if self.connection.read_tls(wire)? == 0 {
                return Ok(0);
            }
            match self.connection.process_new_packets() {
                Ok(state) => self.n_text = state.plaintext_bytes_to_read(),
                Err(error) => {
                    // The alert that says so; if that fails too, the client learns from the closed connection.
                    let _ = self.send(wire);
                    return Err(io::Error::other(words(&error)));
                }
            }
            self.send(wire)?;
        }
    }

    /// Takes a part of `text`, as soon as all that was taken before is sent.
    ///
    /// # Errors
    /// Those of `wire`, `WouldBlock` among them.
    pub fn write(&mut self, wire: &mut impl Write, text: &[u8]) -> io::Result<usize> {
        self.flush(wire)?;
        let n_taken = self.connection.writer().write(text.get(..MAX_UNSENT_BYTES).unwrap_or(text))?;
        self.send(wire)?;
        Ok(n_taken)
    }

    /// Sends what was taken.
    ///
    /// # Errors
    /// `WouldBlock`: not all of it. Others are those of `wire`.
    pub fn flush(&mut self, wire: &mut impl Write) -> io::Result<()> {
        self.send(wire)?;
        if self.connection.wants_write() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// Says that nothing more comes.
    pub fn close(&mut self, wire: &mut impl Write) {
        self.connection.send_close_notify();
        let _ = self.send(wire);
    }

    /// Whether there is text that no one has read yet.
    pub fn has_text(&self) -> bool {
        self.n_text > 0
    }

    /// Whether records wait for the socket.
    pub fn has_unsent(&self) -> bool {
        self.connection.wants_write()
    }

    /// As far as the socket takes it; a full one is no failure.
    fn send(&mut self, wire: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(wire) {
                Ok(_) => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}
