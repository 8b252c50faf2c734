//! A connection under ureq, with TLS or without, which costs almost nothing while it idles.
//!
//! Runs inside ureq on the thread that asks. Buffers exist only from the first byte sent to the last byte read, and
//! the input buffer not before the peer has answered: a hung target holds a socket and no buffer. The trait is one of
//! ureq's `unversioned` ones: every bump of ureq is checked by `tests/library/http` and
//! `tests/library/scrape/fetch.rs`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use crate::config::client::secret::Secret;
use crate::http::dial::name_cache::Names;
use crate::http::dial::proxy::Proxy;
use crate::http::error::Phase;
use crate::http::tls::session::TlsSession;
use crate::http::wire::buffers::ExchangeBuffers;
use crate::http::wire::carry::{Deadline, Link, Pending, Wire, carry};
use crate::names::address::Address;

/// One connection.
#[derive(Debug)]
pub(in crate::http) struct NetTransport {
    wire: Wire,
    /// TLS to a proxy that carries TLS to the target.
    outer: Option<Box<TlsSession>>,
    /// TLS to the peer.
    tls: Option<Box<TlsSession>>,
    buffers: ExchangeBuffers,
    preface: Option<Box<Preface>>,
    /// By which name it was opened, if by one.
    origin: Option<Box<Origin>>,
    /// Nothing of the request was sent yet.
    is_at_start: bool,
}

/// After this a kept connection is given up if its name leads elsewhere: what runs on may be the old machine, while
/// everybody else has moved.
const NAME_CHECK_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Which name a connection was opened by, and what it led to.
#[derive(Debug)]
struct Origin {
    host: String,
    address: Address,
    names: Arc<Names>,
    checked_at: Instant,
}

impl Origin {
    /// Whether the name leads elsewhere now, as far as is known. Never waits.
    fn has_moved(&mut self, now: Instant) -> bool {
        if now.duration_since(self.checked_at) < NAME_CHECK_INTERVAL {
            return false;
        }
        match self.names.still_leads_to(&self.host, &self.address, self.checked_at) {
            Some(true) => {
                self.checked_at = now;
                false
            }
            Some(false) => true,
            None => false,
        }
    }
}

/// What the head of each request gets on its way to an HTTP proxy that is to forward it.
#[derive(Debug)]
pub(in crate::http) struct Preface {
    /// `http://host:port`, before the path.
    origin: String,
    /// `Proxy-Authorization`, after the request line.
    authorization: Option<Secret>,
}

impl Preface {
    /// For requests to `authority`.
    pub(in crate::http) fn new(authority: &str, proxy: &Proxy) -> Self {
        Self { origin: format!("http://{authority}"), authorization: proxy.authorization() }
    }

    /// The start of a request, as the proxy wants it.
    fn applied(&self, output: &[u8]) -> Vec<u8> {
        let target_idx = memchr::memchr(b' ', output).map_or(0, |idx| idx + 1);
        let line_end = memchr::memchr(b'\n', output).map_or(output.len(), |idx| idx + 1);
        let mut text =
            [&output[..target_idx], self.origin.as_bytes(), &output[target_idx..line_end]].concat();
        if let Some(authorization) = &self.authorization {
            text.extend_from_slice(b"Proxy-Authorization: ");
            text.extend_from_slice(authorization.expose().as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(&output[line_end..]);
        text
    }
}

/// What TLS to a target runs over when the proxy is spoken to by TLS itself.
pub(in crate::http) struct OverProxy<'a> {
    pub(in crate::http) wire: &'a mut Wire,
    pub(in crate::http) outer: &'a mut TlsSession,
}

impl Link for OverProxy<'_> {
    fn read(&mut self, deadline: Deadline, buffer: &mut [u8]) -> Result<usize, Error> {
        let is_there = self.outer.await_text(self.wire, deadline)?;
        Ok(if is_there { self.outer.take_text(buffer) } else { 0 })
    }

    fn await_bytes(&mut self, deadline: Deadline) -> Result<bool, Error> {
        self.outer.await_text(self.wire, deadline)
    }

    fn write_all(&mut self, deadline: Deadline, bytes: &[u8]) -> Result<(), Error> {
        self.outer.write(self.wire, deadline, bytes)
    }

    fn pending(&mut self) -> Pending {
        match self.outer.is_open(self.wire) {
            true => Pending::Nothing,
            false if self.outer.has_text() => Pending::Bytes,
            false => Pending::End,
        }
    }

    fn read_at_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.outer.take_text(buffer))
    }
}

impl NetTransport {
    /// `tls` is the one to the peer, `outer` the one below it.
    pub(in crate::http) fn new(
        wire: Wire,
        outer: Option<TlsSession>,
        tls: Option<TlsSession>,
        preface: Option<Preface>,
    ) -> Self {
        Self {
            wire,
            outer: outer.map(Box::new),
            tls: tls.map(Box::new),
            buffers: ExchangeBuffers::default(),
            preface: preface.map(Box::new),
            origin: None,
            is_at_start: true,
        }
    }

    /// The same, opened by a name; an address leads nowhere else.
    pub(in crate::http) fn leading_to(mut self, host: &str, address: Address, names: &Arc<Names>) -> Self {
        if !host.is_empty() && Address::parse(host).is_none() {
            let (host, names) = (host.to_owned(), Arc::clone(names));
            self.origin = Some(Box::new(Origin { host, address, names, checked_at: Instant::now() }));
        }
        self
    }

    /// Waits for the first byte without a buffer for it; false at the end of what the peer sends.
    fn await_bytes(&mut self, deadline: Deadline) -> Result<bool, Error> {
        match (&mut self.tls, &mut self.outer) {
            (None, _) => self.wire.await_bytes(deadline),
            (Some(tls), None) => tls.await_text(&mut self.wire, deadline),
            (Some(tls), Some(outer)) => {
                tls.await_text(&mut OverProxy { wire: &mut self.wire, outer }, deadline)
            }
        }
    }

    /// Reads once into the input buffer; 0 is the end of what the peer sends.
    fn read(&mut self, deadline: Deadline) -> Result<usize, Error> {
        if self.tls.is_none() {
            return self.wire.read(deadline, self.buffers.input_append_buf());
        }
        let is_there = self.await_bytes(deadline)?;
        match &mut self.tls {
            Some(tls) if is_there => Ok(tls.take_text(self.buffers.input_append_buf())),
            _ => Ok(0),
        }
    }
}

fn write(
    wire: &mut Wire,
    outer: &mut Option<Box<TlsSession>>,
    tls: &mut Option<Box<TlsSession>>,
    deadline: Deadline,
    bytes: &[u8],
) -> Result<(), Error> {
    match (tls, outer) {
        (None, _) => wire.write_all(deadline, bytes),
        (Some(tls), None) => tls.write(wire, deadline, bytes),
        (Some(tls), Some(outer)) => tls.write(&mut OverProxy { wire, outer }, deadline, bytes),
    }
}

impl Transport for NetTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.wire.exchange().enter(Phase::Send);
        self.wire.take_over()?;
        let deadline = Deadline::of(timeout.for_write());
        let output = &self.buffers.output()[..amount];
        let is_at_start = std::mem::take(&mut self.is_at_start);
        match self.preface.as_ref().filter(|_| is_at_start) {
            None => write(&mut self.wire, &mut self.outer, &mut self.tls, deadline, output),
            Some(preface) => {
                let output = preface.applied(output);
                write(&mut self.wire, &mut self.outer, &mut self.tls, deadline, &output)
            }
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::of(timeout.for_read());
        let exchange = self.wire.exchange();
        if exchange.phase() != Phase::Body {
            exchange.enter(Phase::Head);
        }
        if !self.buffers.has_input_memory() {
            self.buffers.free_output();
            if !self.await_bytes(deadline)? {
                return Ok(false);
            }
        }
        if self.buffers.input_append_buf().is_empty() {
            // Of a body: the line of a chunk's size has no end.
            let n_bytes = self.buffers.input().len();
            return Err(Error::LargeResponseHeader(n_bytes, n_bytes));
        }
        let n_bytes = self.read(deadline)?;
        if n_bytes > 0 {
            let exchange = self.wire.exchange();
            exchange.got_input();
            self.buffers.input_appended(n_bytes);
            if let Some(reason) = self.buffers.take_head().map_err(|error| carry(error.into()))? {
                exchange.got_reason(reason);
            }
        }
        Ok(n_bytes > 0)
    }

    /// ureq asks when it is done with a response, and again before it sends the next request: the buffers are not
    /// needed in between.
    fn is_open(&mut self) -> bool {
        self.buffers = ExchangeBuffers::default();
        self.is_at_start = true;
        // Text that no one asked for and the end of the stream both make the connection useless.
        let is_open = match (&mut self.tls, &mut self.outer) {
            (None, _) => self.wire.pending() == Pending::Nothing,
            (Some(tls), None) => tls.is_open(&mut self.wire),
            (Some(tls), Some(outer)) => tls.is_open(&mut OverProxy { wire: &mut self.wire, outer }),
        };
        let has_moved = self.origin.as_mut().is_some_and(|origin| origin.has_moved(Instant::now()));
        is_open && !has_moved && self.wire.may_be_kept() && !self.wire.exchange().is_cancelled()
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME_CHECK_INTERVAL, Origin};
    use crate::http::dial::name_cache::Names;
    use crate::names::address::Address;
    use std::net::IpAddr;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn a_connection_is_given_up_some_time_after_its_name_has_moved() {
        let start = Instant::now();
        let origin = |address: [u8; 4]| {
            let moved_to = Address::from(IpAddr::from([10, 0, 0, 2]));
            let names = Names::over(Box::new(move |_| Ok(vec![moved_to.clone()])));
            let address = IpAddr::from(address).into();
            Origin { host: "box".to_owned(), address, names, checked_at: start }
        };
        let later = start + NAME_CHECK_INTERVAL;
        let mut moved = origin([10, 0, 0, 1]);
        assert!(!moved.has_moved(later - Duration::from_secs(1)), "not looked at yet");
        while !moved.has_moved(later) {
            assert!(start.elapsed() < Duration::from_secs(30), "never noticed");
            thread::sleep(Duration::from_millis(1));
        }
        let mut same = origin([10, 0, 0, 2]);
        while same.checked_at == start {
            assert!(!same.has_moved(later));
            assert!(start.elapsed() < Duration::from_secs(30), "never looked at");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
