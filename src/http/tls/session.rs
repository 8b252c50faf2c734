//! TLS of one connection, without a buffer of its own while the connection idles.
//!
//! rustls' unbuffered interface turns records into text and back; the bytes live here, from the first that is needed
//! to the last that is used. Runs inside the transport, on the thread that asks.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use ureq::Error;

use crate::http::error::HttpErrorKind;
use crate::http::tls::words::{first_words, words};
use crate::http::wire::carry::{Deadline, Link, Pending, carry};

/// The first read; most answers of a handshake fit.
const FIRST_INCOMING_BYTES: usize = 4 << 10;

/// One record, the longest there may be.
const RECORD_BYTES: usize = (16 << 10) + 2048 + 5;

/// A chain of certificates may take several records, of at most 64 KiB together (rustls' own limit).
const MAX_INCOMING_BYTES: usize = (64 << 10) + RECORD_BYTES;

/// A record's head, its tag and what else a cipher adds.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// One connection.
pub(in crate::http) struct TlsSession {
    connection: UnbufferedClientConnection,
    /// Records as they came; `[..n_incoming]` is not used up yet.
    incoming: Vec<u8>,
    n_incoming: usize,
    /// Text that no one took yet, from `taken` on.
    text: Vec<u8>,
    taken: usize,
    /// Records to be sent.
    outgoing: Vec<u8>,
    /// The peer said that nothing more comes.
    has_ended: bool,
    /// Something was wrong; rustls is not to be asked again.
    has_failed: bool,
}

/// What a session needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Bytes of the peer.
    NeedsInput,
    /// What is in `outgoing` must be sent.
    NeedsOutput,
    /// Nothing: the handshake is done.
    Ready,
    /// Nothing: text came, or its end.
    Text,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

impl TlsSession {
    /// Shakes hands over a fresh connection.
    pub(in crate::http) fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        wire: &mut dyn Link,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(|error| failure(&error))?;
        let mut session = Self {
            connection,
            incoming: Vec::new(),
            n_incoming: 0,
            text: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            has_ended: false,
            has_failed: false,
        };
        loop {
            match session.step(None) {
                Ok(Step::NeedsInput) => session.receive(wire, deadline)?,
                Ok(Step::NeedsOutput) => session.send(wire, deadline)?,
                Ok(Step::Ready) => break,
                Ok(Step::Text) if session.has_ended => return Err(unexpected_eof()),
                Ok(Step::Text) => break,
                Err(error) => {
                    session.send_alert(wire, deadline);
                    if session.incoming.starts_with(b"HTTP/") {
                        let cause = "http: server gave HTTP response to HTTPS client".to_owned();
                        return Err(carry(HttpErrorKind::Tls(cause)));
                    }
                    let has_answered = session.connection.protocol_version().is_some();
                    let words = if has_answered { words(&error) } else { first_words(&error) };
                    return Err(carry(HttpErrorKind::Tls(words)));
                }
            }
        }
        session.send(wire, deadline)?;
        session.free_unused();
        Ok(session)
    }

    /// Sends `text`.
    pub(in crate::http) fn write(
        &mut self,
        wire: &mut dyn Link,
        deadline: Deadline,
        text: &[u8],
    ) -> Result<(), Error> {
        loop {
            match self.step(Some(text)).map_err(|error| failure(&error))? {
                Step::Ready => return self.send(wire, deadline),
                Step::NeedsOutput => self.send(wire, deadline)?,
                Step::NeedsInput => self.receive(wire, deadline)?,
                // An answer before the end of the request; the next read gets it.
                Step::Text if !self.has_ended => {}
                Step::Text => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
            }
        }
    }

    /// Waits for text; false at its end.
    pub(in crate::http) fn await_text(
        &mut self,
        wire: &mut dyn Link,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        loop {
            if self.has_text() {
                return Ok(true);
            }
            if self.has_ended {
                return Ok(false);
            }
            match self.step(None).map_err(|error| failure(&error))? {
                Step::Text => {}
                Step::NeedsOutput => self.send(wire, deadline)?,
                Step::Ready | Step::NeedsInput => self.receive(wire, deadline)?,
            }
        }
    }

    /// Copies text that is there.
    pub(in crate::http) fn take_text(&mut self, buffer: &mut [u8]) -> usize {
        let n_taken = buffer.len().min(self.text.len() - self.taken);
        buffer[..n_taken].copy_from_slice(&self.text[self.taken..self.taken + n_taken]);
        self.taken += n_taken;
        if self.taken == self.text.len() {
            self.text.clear();
            self.taken = 0;
        }
        n_taken
    }

    /// Whether there is text that no one took yet.
    pub(in crate::http) fn has_text(&self) -> bool {
        self.taken < self.text.len()
    }

    /// Between two exchanges: frees what is not needed, and looks whether the peer still wants the connection.
    /// Session tickets and the like may come at any time.
    pub(in crate::http) fn is_open(&mut self, wire: &mut dyn Link) -> bool {
        loop {
            if self.has_ended || self.has_text() {
                return false;
            }
            match wire.pending() {
                Pending::Nothing => break,
                Pending::End => return false,
                Pending::Bytes => {
                    let Ok(n_read) = wire.read_at_once(self.room()) else { return false };
                    self.n_incoming += n_read;
                    // What is to be sent for it goes with the next request.
                    loop {
                        match self.step(None) {
                            Ok(Step::Ready | Step::NeedsInput) => break,
                            Ok(Step::NeedsOutput) => {}
                            Ok(Step::Text) | Err(_) => return false,
                        }
                    }
                }
            }
        }
        self.free_unused();
        true
    }

    /// Handles what came. With `to_send`, encrypts it as soon as that is possible, and only then is `Ready`.
    fn step(&mut self, to_send: Option<&[u8]>) -> Result<Step, rustls::Error> {
        if self.has_failed {
            return Err(rustls::Error::General("failed before".to_owned()));
        }
        let step = self.step_on(to_send);
        self.has_failed = step.is_err();
        step
    }

    fn step_on(&mut self, to_send: Option<&[u8]>) -> Result<Step, rustls::Error> {
        loop {
            let incoming = &mut self.incoming[..self.n_incoming];
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(incoming);
            let step = match state {
                Err(error) => Err(error),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.text.extend_from_slice(record.payload);
                    }
                    Ok(Some(Step::Text))
                }
                Ok(ConnectionState::EncodeTlsData(mut record)) => {
                    let encode = |room: &mut [u8]| match record.encode(room) {
                        Ok(n_bytes) => Ok(n_bytes),
                        Err(EncodeError::InsufficientSize(needed)) => Err(Some(needed.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Err(None),
                    };
                    append(&mut self.outgoing, RECORD_OVERHEAD_BYTES, encode)?;
                    Ok(None)
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    // Counted as sent: `send` follows, or the session is of no use any more.
                    transmit.done();
                    Ok(Some(Step::NeedsOutput))
                }
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(Step::NeedsInput)),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if let Some(text) = to_send {
                        let encrypt = |room: &mut [u8]| match traffic.encrypt(text, room) {
                            Ok(n_bytes) => Ok(n_bytes),
                            Err(EncryptError::InsufficientSize(needed)) => Err(Some(needed.required_size)),
                            Err(EncryptError::EncryptExhausted) => Err(None),
                        };
                        append(&mut self.outgoing, text.len() + RECORD_OVERHEAD_BYTES, encrypt)?;
                    }
                    Ok(Some(Step::Ready))
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.has_ended = true;
                    Ok(Some(Step::Text))
                }
                Ok(_) => Err(rustls::Error::HandshakeNotComplete),
            };
            self.discard(discard);
            if let Some(step) = step? {
                return Ok(step);
            }
        }
    }

    fn discard(&mut self, n_bytes: usize) {
        self.incoming.copy_within(n_bytes..self.n_incoming, 0);
        self.n_incoming -= n_bytes;
    }

    /// Where the next bytes go; empty when the peer sent more than there may be in one piece.
    fn room(&mut self) -> &mut [u8] {
        if self.n_incoming == self.incoming.len() {
            let grown = match self.incoming.len() {
                0 => FIRST_INCOMING_BYTES,
                len if len < RECORD_BYTES => RECORD_BYTES,
                _ => MAX_INCOMING_BYTES,
            };
            self.incoming.resize(grown, 0);
        }
        &mut self.incoming[self.n_incoming..]
    }

    fn receive(&mut self, wire: &mut dyn Link, deadline: Deadline) -> Result<(), Error> {
        if self.n_incoming == 0 {
            // A peer that hangs costs no buffer.
            self.incoming = Vec::new();
            wire.await_bytes(deadline)?;
        }
        let room = self.room();
        if room.is_empty() {
            return Err(failure(&rustls::Error::PeerSentOversizedRecord));
        }
        match wire.read(deadline, room)? {
            0 => Err(unexpected_eof()),
            n_read => {
                self.n_incoming += n_read;
                Ok(())
            }
        }
    }

    fn send(&mut self, wire: &mut dyn Link, deadline: Deadline) -> Result<(), Error> {
        let outgoing = std::mem::take(&mut self.outgoing);
        wire.write_all(deadline, &outgoing)
    }

    /// After a failure: says to the peer why. If that fails too, it learns from the closed connection.
    fn send_alert(&mut self, wire: &mut dyn Link, deadline: Deadline) {
        // What is to be sent comes before anything else, and only that is wanted: what came is damaged.
        let incoming = &mut self.incoming[..self.n_incoming];
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(incoming);
        if let Ok(ConnectionState::EncodeTlsData(mut record)) = state {
            let mut alert = [0; RECORD_OVERHEAD_BYTES];
            if let Ok(n_bytes) = record.encode(&mut alert) {
                let _ = wire.write_all(deadline, &alert[..n_bytes]);
            }
        }
    }

    fn free_unused(&mut self) {
        if self.n_incoming == 0 {
            self.incoming = Vec::new();
        }
        if self.text.is_empty() {
            self.text = Vec::new();
        }
    }
}

/// Appends what `write` writes; it says how much room it needs if it was too little, or that it never will.
fn append(
    bytes: &mut Vec<u8>,
    expected_bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), rustls::Error> {
    let start = bytes.len();
    bytes.resize(start + expected_bytes, 0);
    let mut outcome = write(&mut bytes[start..]);
    if let Err(Some(needed_bytes)) = outcome {
        bytes.resize(start + needed_bytes, 0);
        outcome = write(&mut bytes[start..]);
    }
    bytes.truncate(start + outcome.unwrap_or(0));
    outcome.map(drop).map_err(|_| rustls::Error::EncryptError)
}

fn failure(error: &rustls::Error) -> Error {
    carry(HttpErrorKind::Tls(words(error)))
}

/// Without a word of farewell somebody may have cut the text short.
fn unexpected_eof() -> Error {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
