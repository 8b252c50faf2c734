//! Connections to several addresses of one host, which race: the first that answers wins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{SockAddr, Socket};
use ureq::Error;

use crate::http::dial::socket::{failure, new_socket, patiently};
use crate::http::error::HttpErrorKind;
use crate::http::wire::carry::{Deadline, carry};
use crate::http::wire::exchange::Exchange;
use crate::names::address::Address;

/// With several addresses the next one is tried beside the others after this (Go's `net.Dialer`: the same; RFC 8305,
/// section 5).
const NEXT_ATTEMPT_AFTER: Duration = Duration::from_millis(300);

/// How often somebody who waits for several connections looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// A name with more addresses is a mistake, or an attack.
const MAX_ADDRESSES: usize = 16;

/// Attempts, each begun a little after the one before and none of them given up.
pub(in crate::http::dial) struct Race<'host> {
    exchange: &'host Exchange,
    port: u16,
    deadline: Deadline,
    untried: vec::IntoIter<Address>,
    /// Sockets that are being connected.
    attempts: Vec<(Socket, Address)>,
    /// The one to report if all fail.
    first_failure: Option<Error>,
    /// When the next address is tried, unless one fails before.
    next_at: Instant,
}

impl<'host> Race<'host> {
    pub(in crate::http::dial) fn new(
        exchange: &'host Exchange,
        addresses: &[Address],
        port: u16,
        deadline: Deadline,
    ) -> Self {
        let untried = in_turn(addresses).into_iter();
        let next_at = Instant::now();
        Self { exchange, port, deadline, untried, attempts: Vec::new(), first_failure: None, next_at }
    }

    /// The socket that is connected first, and where to.
    pub(in crate::http::dial) fn run(mut self) -> Result<(Arc<Socket>, Address), Error> {
        loop {
            self.begin_due()?;
            let next_in = self.next_at.saturating_duration_since(Instant::now());
            let wait = self.deadline.left()?.min(CANCEL_POLL).min(next_in);
            if let Some(winner) = self.settle(wait)? {
                return Ok(winner);
            }
        }
    }

    /// Tries the next address if it is time, and another one in place of each that fails at once.
    fn begin_due(&mut self) -> Result<(), Error> {
        loop {
            if self.exchange.is_cancelled() {
                return Err(carry(HttpErrorKind::Cancelled));
            }
            self.deadline.left()?;
            let now = Instant::now();
            if now < self.next_at && !self.attempts.is_empty() {
                return Ok(());
            }
            let Some(address) = self.untried.next() else {
                if self.attempts.is_empty() {
                    let timeout = Error::Timeout(self.deadline.reason);
                    return Err(self.first_failure.take().unwrap_or(timeout));
                }
                self.next_at = self.deadline.at;
                return Ok(());
            };
            self.next_at = now + NEXT_ATTEMPT_AFTER;
            // Others may be connected meanwhile; only without them there is nothing to wait for but a descriptor.
            let until = if self.attempts.is_empty() { self.deadline.at } else { now };
            match patiently(self.exchange, until, || begin(address.at(self.port))) {
                Ok(socket) => self.attempts.push((socket, address)),
                Err(error) => self.failed(&address, &error),
            }
        }
    }

    /// Waits so long for answers. What has failed is given up.
    fn settle(&mut self, wait: Duration) -> Result<Option<(Arc<Socket>, Address)>, Error> {
        for idx in ready(&self.attempts, wait)?.into_iter().rev() {
            let (socket, address) = self.attempts.swap_remove(idx);
            match socket.take_error().map(|error| error.map_or(Ok(()), Err)).and_then(|outcome| outcome) {
                Ok(()) => {
                    socket.set_nonblocking(false)?;
                    let socket = Arc::new(socket);
                    // Who is cancelled now finds out when it sends.
                    self.exchange.uses(&socket);
                    return Ok(Some((socket, address)));
                }
                Err(error) => self.failed(&address, &error),
            }
        }
        Ok(None)
    }

    fn failed(&mut self, address: &Address, error: &io::Error) {
        self.first_failure.get_or_insert_with(|| failure(address, self.port, error));
        self.next_at = Instant::now();
    }
}

/// A socket that is being connected.
fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Which of them are connected or have failed, after `wait` at most.
fn ready(attempts: &[(Socket, Address)], wait: Duration) -> io::Result<Vec<usize>> {
    let mut fds: Vec<PollFd<'_>> =
        attempts.iter().map(|(socket, _)| PollFd::new(socket, PollFlags::OUT)).collect();
    let wait = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
    match poll(&mut fds, Some(&wait)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((0..fds.len()).filter(|idx| !fds[*idx].revents().is_empty()).collect())
}

/// The families by turns, the one of the best address first: where one of them leads nowhere, the
/// other is tried next.
fn in_turn(addresses: &[Address]) -> Vec<Address> {
    let is_v4 = |address: &Address| address.ip().is_ipv4();
    let is_first = |address: &&Address| Some(is_v4(address)) == addresses.first().map(is_v4);
    let mut preferred = addresses.iter().filter(is_first);
    let mut others = addresses.iter().filter(|address| !is_first(address));
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len().min(MAX_ADDRESSES) {
        ordered.extend(preferred.next().cloned());
        ordered.extend(others.next().cloned());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::parse(text).expect("an address")).collect()
    }

    #[test]
    fn families_are_tried_by_turns() {
        let check = |given: &[&str], want: &[&str]| assert_eq!(in_turn(&addresses(given)), addresses(want));
        check(&["fd00::1", "fd00::2", "10.0.0.1"], &["fd00::1", "10.0.0.1", "fd00::2"]);
        check(&["10.0.0.1", "10.0.0.2", "fd00::1"], &["10.0.0.1", "fd00::1", "10.0.0.2"]);
        check(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"]);
    }
}
