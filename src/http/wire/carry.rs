//! A TCP connection with a deadline for each step: what the transport and TLS read from and write to.
//!
//! Runs on the thread that asks. Sets a socket's own timeout only when it is far from the time left, since each
//! setting costs a system call.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use ureq::Error;
use ureq::unversioned::transport::NextTimeout;

use crate::descriptors;
use crate::descriptors::Purpose;
use crate::http::error::HttpErrorKind;
use crate::http::wire::exchange::Exchange;

/// A socket's own timeout may be this much behind the deadline.
const TIMEOUT_SLACK: Duration = Duration::from_millis(20);

/// Far away, where ureq sets no timeout.
const NO_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// An error of this client inside one of ureq's.
#[derive(Debug)]
pub(in crate::http) struct Carried(pub(in crate::http) HttpErrorKind);

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

/// Wraps an error of this client for its way through ureq.
pub(in crate::http) fn carry(kind: HttpErrorKind) -> Error {
    Error::Other(Box::new(Carried(kind)))
}

/// When a step must be done, and ureq's name for that.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Deadline {
    pub(in crate::http) at: Instant,
    pub(in crate::http) reason: ureq::Timeout,
}

impl Deadline {
    pub(in crate::http) fn of(timeout: NextTimeout) -> Self {
        let after = if timeout.after.is_not_happening() { NO_TIMEOUT } else { *timeout.after };
        Self { at: Instant::now() + after, reason: timeout.reason }
    }

    /// Time left, never zero.
    pub(in crate::http) fn left(self) -> Result<Duration, Error> {
        let left = self.at.saturating_duration_since(Instant::now());
        // The system counts in microseconds and takes zero for "no timeout".
        if left < Duration::from_micros(1) { Err(Error::Timeout(self.reason)) } else { Ok(left) }
    }
}

/// What a connection has to say without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Pending {
    /// Nothing, as it should be between two exchanges.
    Nothing,
    /// Bytes.
    Bytes,
    /// Its end.
    End,
}

/// What TLS runs over: a connection, or TLS to a proxy in turn.
pub(in crate::http) trait Link {
    /// Reads once; `Ok(0)` is the end of what the peer sends.
    fn read(&mut self, deadline: Deadline, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Waits until there is something to read, or the end of it (`Ok(false)`).
    fn await_bytes(&mut self, deadline: Deadline) -> Result<bool, Error>;

    /// Writes all of `bytes`.
    fn write_all(&mut self, deadline: Deadline, bytes: &[u8]) -> Result<(), Error>;

    /// What is there to read without waiting.
    fn pending(&mut self) -> Pending;

    /// Reads what is there.
    fn read_at_once(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// One connection.
#[derive(Debug)]
pub(in crate::http) struct Wire {
    socket: Arc<Socket>,
    exchange: Arc<Exchange>,
    /// As last set on the socket; zero: never.
    read_timeout: Duration,
    write_timeout: Duration,
    /// The peer takes nothing more, but has said something: whatever is written is dropped.
    is_deaf: bool,
}

impl Wire {
    /// Whether the connection may be kept until the next exchange.
    pub(in crate::http) fn may_be_kept(&self) -> bool {
        descriptors::has_room(&*self.socket, Purpose::Kept)
    }

    pub(in crate::http) fn new(socket: Arc<Socket>, exchange: Arc<Exchange>) -> Self {
        Self { socket, exchange, read_timeout: Duration::ZERO, write_timeout: Duration::ZERO, is_deaf: false }
    }

    /// The exchange that runs on it.
    pub(in crate::http) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The exchange goes on over this connection; fails when it is cancelled.
    pub(in crate::http) fn take_over(&self) -> Result<(), Error> {
        if self.exchange.uses(&self.socket) { Ok(()) } else { Err(carry(HttpErrorKind::Cancelled)) }
    }

    fn read_with(
        &mut self,
        deadline: Deadline,
        mut read: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Result<usize, Error> {
        loop {
            let left = deadline.left()?;
            if is_far(self.read_timeout, left) {
                self.socket.set_read_timeout(Some(left))?;
                self.read_timeout = left;
            }
            match read(&self.socket) {
                Ok(n_bytes) => return Ok(n_bytes),
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::ConnectionReset {
                        self.exchange.got_reset();
                    }
                    return Err(error.into());
                }
            }
        }
    }
}

impl Link for Wire {
    fn read(&mut self, deadline: Deadline, buffer: &mut [u8]) -> Result<usize, Error> {
        self.read_with(deadline, |mut socket| socket.read(buffer))
    }

    fn await_bytes(&mut self, deadline: Deadline) -> Result<bool, Error> {
        let peek = |socket: &Socket| socket.recv_with_flags(&mut [MaybeUninit::uninit(); 1], libc::MSG_PEEK);
        self.read_with(deadline, peek).map(|n_bytes| n_bytes > 0)
    }

    fn read_at_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        let outcome = (&*self.socket).read(buffer);
        self.socket.set_nonblocking(false)?;
        outcome
    }

    /// A peer that answers before it has everything and closes is no failure: its answer says
    /// why.
    fn write_all(&mut self, deadline: Deadline, bytes: &[u8]) -> Result<(), Error> {
        let mut n_sent = 0;
        while n_sent < bytes.len() && !self.is_deaf {
            let left = deadline.left()?;
            if is_far(self.write_timeout, left) {
                self.socket.set_write_timeout(Some(left))?;
                self.write_timeout = left;
            }
            match (&*self.socket).write(&bytes[n_sent..]) {
                Ok(n_bytes) => n_sent += n_bytes,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    let is_closed =
                        matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
                    if !is_closed || self.pending() != Pending::Bytes {
                        return Err(error.into());
                    }
                    self.is_deaf = true;
                }
            }
        }
        Ok(())
    }

    fn pending(&mut self) -> Pending {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match self.socket.recv_with_flags(&mut [MaybeUninit::uninit(); 1], flags) {
            Ok(0) => Pending::End,
            Ok(_) => Pending::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_deaf => Pending::Nothing,
            Err(_) => Pending::End,
        }
    }
}

/// Whether a timeout set on the socket is too long for the time left, or so short that it would wake a lot.
fn is_far(set: Duration, left: Duration) -> bool {
    set > left + TIMEOUT_SLACK || set < left / 2
}

/// The socket's own timeout or a signal: the deadline decides whether to go on.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
