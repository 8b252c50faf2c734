//! What the parts of one client share about the exchange that runs, and how it is cancelled.
//!
//! The connector and the transport run inside ureq, on the caller's thread; the canceller on any other. ureq's own
//! `Agent::shutdown` cannot interrupt a connect, and hung connects are the common way for a target to be dead, so
//! the socket is known here from before it connects.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use socket2::Socket;

use crate::http::address::site::Site;
use crate::http::error::Phase;

/// Of a server's own words so much is shown.
const MAX_REASON_BYTES: usize = 200;

/// State of one client's exchange; one request at a time.
#[derive(Debug, Default)]
pub(in crate::http) struct Exchange {
    is_cancelled: AtomicBool,
    phase: AtomicU8,
    /// A connection was opened for this request: it is not a kept one that the peer may have closed meanwhile.
    is_fresh: AtomicBool,
    /// Something of the response came.
    has_input: AtomicBool,
    /// The peer reset the connection. ureq takes that for the end of a body that is delimited by its end.
    was_reset: AtomicBool,
    /// The words of a status that is not 200.
    reason: Mutex<Option<Box<str>>>,
    /// Whom the request is for: ureq cannot say it of every host.
    site: Mutex<Option<Arc<Site>>>,
    socket: Mutex<Weak<Socket>>,
}

impl Exchange {
    /// A new request begins.
    pub(in crate::http) fn begin(&self) {
        self.enter(Phase::Resolve);
        self.is_fresh.store(false, Ordering::Relaxed);
        self.has_input.store(false, Ordering::Relaxed);
        self.was_reset.store(false, Ordering::Relaxed);
        *self.reason.lock() = None;
    }

    /// The request that begins is for `site`.
    pub(in crate::http) fn is_for(&self, site: &Site) {
        let mut current = self.site.lock();
        if current.as_deref() != Some(site) {
            *current = Some(Arc::new(site.clone()));
        }
    }

    /// Whom the request is for.
    pub(in crate::http) fn site(&self) -> Option<Arc<Site>> {
        self.site.lock().clone()
    }

    /// The exchange has come to `phase`.
    pub(in crate::http) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// How far the exchange has come.
    pub(in crate::http) fn phase(&self) -> Phase {
        let phases = [
            Phase::Token,
            Phase::Resolve,
            Phase::Connect,
            Phase::Handshake,
            Phase::Send,
            Phase::Head,
            Phase::Body,
        ];
        phases.get(usize::from(self.phase.load(Ordering::Relaxed))).copied().unwrap_or(Phase::Resolve)
    }

    /// A connection is being opened for this request.
    pub(in crate::http) fn opens_connection(&self) {
        self.is_fresh.store(true, Ordering::Relaxed);
    }

    /// Bytes of the response came.
    pub(in crate::http) fn got_input(&self) {
        self.has_input.store(true, Ordering::Relaxed);
    }

    /// A status other than 200 came with these words.
    pub(in crate::http) fn got_reason(&self, words: &[u8]) {
        let words = &words[..words.len().min(MAX_REASON_BYTES)];
        let text = String::from_utf8_lossy(words).replace(|character: char| character.is_control(), " ");
        *self.reason.lock() = Some(text.into_boxed_str());
    }

    /// The words of the status, if it was not 200 and they came.
    pub(in crate::http) fn reason(&self) -> Option<Box<str>> {
        self.reason.lock().clone()
    }

    /// The connection was reset.
    pub(in crate::http) fn got_reset(&self) {
        self.was_reset.store(true, Ordering::Relaxed);
    }

    /// Whether the connection was reset.
    pub(in crate::http) fn was_reset(&self) -> bool {
        self.was_reset.load(Ordering::Relaxed)
    }

    /// Whether a failure now may only mean that the peer had closed the connection it was asked on.
    pub(in crate::http) fn was_stale(&self) -> bool {
        !self.is_fresh.load(Ordering::Relaxed) && !self.has_input.load(Ordering::Relaxed)
    }

    /// `socket` is used from here on; false when the client is cancelled.
    pub(in crate::http) fn uses(&self, socket: &Arc<Socket>) -> bool {
        *self.socket.lock() = Arc::downgrade(socket);
        // Looked at after the socket is known: a cancel either sees the socket or is seen here.
        !self.is_cancelled()
    }

    /// Whether the client is cancelled; it stays so.
    pub(in crate::http) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    /// Ends what runs now, at once, and everything later.
    pub(in crate::http) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        let socket = self.socket.lock().upgrade();
        if let Some(socket) = socket {
            // Also wakes a connect that waits. An error means that the socket is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
