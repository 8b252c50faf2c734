//! One connection of the web server: heads in, answers out, as far as the socket lets them.

use crate::web::metrics::{Account, OpenConnection};
use crate::web::serve::http::{Head, Outgoing, Request, Response, parse_head};
use crate::web::serve::reply::{Awaited, Reply, Responder, Times, Verdict};
use crate::web::serve::wire::Wire;
use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// An answer must move by this much within the deadline of a request.
const MIN_PROGRESS_BYTES: usize = 16 * 1024;
/// Pieces of an answer that one client gets before the others have their turn.
const PIECES_A_TURN: usize = 4;
/// Sleep while an answer comes from another thread, whose channel `poll` can not watch.
const PENDING_POLL: Duration = Duration::from_millis(10);
/// Sleep between two looks for what is new in a live answer.
const LIVE_POLL: Duration = Duration::from_millis(250);

/// A client.
pub(in crate::web) struct Connection {
    wire: Wire,
    _counted: OpenConnection,
    /// Whether it came to a socket that every browser on this machine reaches, and no one else.
    is_loopback: bool,
    state: State,
    deadline: Instant,
    /// When it was accepted, got its last answer, or last took a part of one.
    since: Instant,
    /// Whether it has had an answer.
    was_served: bool,
    /// Bytes read and not yet parsed.
    input: Vec<u8>,
}

enum State {
    Reading,
    Pending {
        request: Request,
        answer: Awaited,
        account: Option<Account>,
    },
    /// The password of a request is being checked.
    Checking {
        request: Request,
        verdict: Receiver<Verdict>,
    },
    Writing {
        outgoing: Outgoing,
        /// Bytes that moved since the deadline was set.
        n_moved: usize,
    },
    Closed,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

impl Connection {
    /// A client that was just accepted. Its handshake is part of the time of its first request.
    pub(in crate::web) fn new(
        wire: Wire,
        counted: OpenConnection,
        is_loopback: bool,
        now: Instant,
        times: Times,
    ) -> Self {
        Self {
            wire,
            _counted: counted,
            is_loopback,
            state: State::Reading,
            deadline: now + times.request,
            since: now,
            was_served: false,
            input: Vec::new(),
        }
    }

    pub(in crate::web) fn interest(&self) -> PollFlags {
        match self.state {
            State::Reading if self.wire.has_unsent() => PollFlags::IN | PollFlags::OUT,
            State::Reading => PollFlags::IN,
            State::Writing { .. } if self.is_listening() => PollFlags::IN,
            State::Writing { .. } => PollFlags::OUT,
            State::Pending { .. } | State::Checking { .. } | State::Closed => PollFlags::empty(),
        }
    }

    pub(in crate::web) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How long `poll` may sleep for this one.
    pub(in crate::web) fn patience(&self, now: Instant) -> Duration {
        match self.state {
            State::Writing { .. } if self.is_listening() => LIVE_POLL,
            State::Pending { .. } | State::Checking { .. } => PENDING_POLL,
            State::Reading if self.wire.has_text() => Duration::ZERO,
            _ => self.deadline.saturating_duration_since(now),
        }
    }

    /// Who gives way to a new client, the least first: those that were served and idle, then those that do not finish
    /// their request, then those that do not read their answer; of each kind the one that does so for longest.
    pub(in crate::web) fn worth(&self) -> (u8, Instant) {
        let kind = match self.state {
            State::Closed => 0,
            State::Reading if self.was_served && self.input.is_empty() => 1,
            State::Reading => 2,
            State::Writing { .. } if self.is_listening() => 1,
            State::Writing { .. } => 3,
            State::Pending { .. } | State::Checking { .. } => 4,
        };
        (kind, self.since)
    }

    /// Whether it waits for news of a live answer.
    fn is_listening(&self) -> bool {
        matches!(&self.state, State::Writing { outgoing, .. } if outgoing.is_live() && outgoing.n_unread() == 0)
    }

    /// Memory of an answer that waits for its client.
    pub(in crate::web) fn n_unread(&self) -> usize {
        match &self.state {
            State::Writing { outgoing, .. } => outgoing.n_unread(),
            _ => 0,
        }
    }

    /// Moves as far as it goes without waiting.
    pub(in crate::web) fn advance(
        &mut self,
        is_ready: bool,
        now: Instant,
        times: Times,
        responder: &mut dyn Responder,
    ) {
        if (is_ready || self.wire.has_text()) && matches!(self.state, State::Reading) {
            self.read(now, times);
        }
        if is_ready && self.is_listening() {
            self.notice_end();
        }
        // A client may send its next request before it has the answer to this one.
        loop {
            if matches!(self.state, State::Reading) && !self.input.is_empty() {
                self.parse(now, times, responder);
            }
            self.collect_verdict(now, times, responder);
            self.collect_answer(now, times, responder);
            if !matches!(self.state, State::Writing { .. }) {
                break;
            }
            self.write(now, times);
            if !matches!(self.state, State::Reading) || self.input.is_empty() {
                break;
            }
        }
        if now >= self.deadline && !matches!(self.state, State::Pending { .. } | State::Checking { .. }) {
            self.state = State::Closed;
        }
    }

    fn read(&mut self, now: Instant, times: Times) {
        let mut chunk = [0; 2048];
        match self.wire.read(&mut chunk) {
            Ok(0) => self.state = State::Closed,
            Ok(n) => {
                if self.input.is_empty() {
                    // The deadline counts from the first byte, or a dribbler would renew it for ever.
                    self.deadline = self.deadline.min(now + times.request);
                    self.since = now;
                }
                self.input.extend_from_slice(chunk.get(..n).unwrap_or_default());
            }
            Err(err) if is_transient(&err) => {}
            Err(err) => {
                log::debug!("a client of the web server is let go: {err}");
                self.state = State::Closed;
            }
        }
    }

    /// Who listens has nothing more to say.
    fn notice_end(&mut self) {
        match self.wire.read(&mut [0; 256]) {
            Ok(0) => self.state = State::Closed,
            Err(err) if !is_transient(&err) => self.state = State::Closed,
            _ => {}
        }
    }

    fn parse(&mut self, now: Instant, times: Times, responder: &mut dyn Responder) {
        match parse_head(&self.input) {
            Head::Partial => {}
            Head::Complete(request, head_bytes) => {
                self.input.drain(..head_bytes);
                let request = Request { is_loopback: self.is_loopback, ..request };
                let reply = responder.respond(&request);
                self.follow(request, reply, now, times, responder);
            }
            Head::Refused(response) => self.answer(None, responder.finish(response), now, times),
        }
    }

    fn follow(
        &mut self,
        request: Request,
        reply: Reply,
        now: Instant,
        times: Times,
        responder: &mut dyn Responder,
    ) {
        match reply {
            Reply::Now(response) => self.answer(Some(&request), responder.finish(response), now, times),
            Reply::Later { answer, account } => self.state = State::Pending { request, answer, account },
            Reply::Checking(verdict) => self.state = State::Checking { request, verdict },
        }
    }

    fn collect_verdict(&mut self, now: Instant, times: Times, responder: &mut dyn Responder) {
        let State::Checking { request, verdict } = &self.state else { return };
        let reply = match verdict.try_recv() {
            Ok(verdict) => responder.respond_to_checked(request, verdict),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {
                Reply::Now(Response::text(500, "the password could not be checked\n"))
            }
        };
        let request = request.clone();
        self.follow(request, reply, now, times, responder);
    }

    fn collect_answer(&mut self, now: Instant, times: Times, responder: &mut dyn Responder) {
        let State::Pending { request, answer, account } = &mut self.state else { return };
        let Some(mut response) = answer() else { return };
        response.account = account.take();
        let request = request.clone();
        self.answer(Some(&request), responder.finish(response), now, times);
    }

    fn answer(&mut self, request: Option<&Request>, response: Response, now: Instant, times: Times) {
        self.state = State::Writing { outgoing: response.begin(request), n_moved: 0 };
        self.deadline = now + times.request;
        self.since = now;
    }

    fn write(&mut self, now: Instant, times: Times) {
        let State::Writing { outgoing, n_moved } = &mut self.state else { return };
        let mut n_left = PIECES_A_TURN;
        let mut is_at_piece = outgoing.n_unread() == 0;
        loop {
            if is_at_piece {
                if n_left == 0 {
                    return;
                }
                n_left -= 1;
            }
            let is_live = outgoing.is_live();
            let ready = outgoing.ready();
            if ready.is_empty() && is_live {
                // News may come whenever they like, unless those before them are not read.
                if self.wire.flush().is_ok() {
                    self.deadline = now + times.request;
                }
                return;
            }
            if ready.is_empty() {
                break;
            }
            match self.wire.write(ready) {
                Ok(0) => {
                    self.state = State::Closed;
                    return;
                }
                Ok(n) => {
                    outgoing.written(n);
                    *n_moved += n;
                    if *n_moved >= MIN_PROGRESS_BYTES {
                        *n_moved = 0;
                        self.deadline = now + times.request;
                        self.since = now;
                    }
                }
                Err(err) if is_transient(&err) => return,
                Err(_) => {
                    self.state = State::Closed;
                    return;
                }
            }
            is_at_piece = outgoing.n_unread() == 0;
        }
        match self.wire.flush() {
            Ok(()) => {}
            Err(err) if is_transient(&err) => return,
            Err(_) => {
                self.state = State::Closed;
                return;
            }
        }
        if outgoing.keeps_alive() {
            self.state = State::Reading;
        } else {
            self.wire.close();
            self.state = State::Closed;
        }
        self.deadline = now + times.idle;
        self.since = now;
        self.was_served = true;
        self.input.shrink_to_fit();
    }
}

fn is_transient(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
