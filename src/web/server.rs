//! The `web` thread: one `poll` loop over the listener and all connections.
//!
//! A handler only reads snapshots and never waits, so one thread serves everyone and a stalled client holds nothing
//! but its socket: heads and answers move as far as the sockets let them, and a deadline closes what does not move.
//! Knows no page: a [`Responder`] answers.

use crate::web::http::{Head, Request, Response, parse_head};
use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// As Prometheus' `--web.max-connections`; at the limit the connection idle for longest gives way.
const MAX_CONNECTIONS: usize = 512;
/// From the first byte of a request to its last, and as long for an answer that nobody reads.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long a served connection may wait for its next request; longer than usual scrape intervals.
const IDLE_DEADLINE: Duration = Duration::from_secs(130);
/// Answers not yet read by their clients, all together; over it the oldest is cut off.
const MAX_UNREAD_BYTES: usize = 32 << 20;
/// Sleep while an answer comes from another thread, whose channel `poll` can not watch.
const PENDING_POLL: Duration = Duration::from_millis(10);
/// Pause after the system refused to accept (out of file descriptors), to not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Gives the pages.
pub trait Responder {
    /// Answers a request without waiting.
    fn respond(&mut self, request: &Request) -> Reply;
}

/// An answer, or where it will come from.
#[derive(Debug)]
pub enum Reply {
    /// Ready.
    Now(Response),
    /// Comes from another thread; a closed channel is a 500.
    Later {
        /// Where it comes from.
        outcome: Receiver<Result<(), String>>,
        /// What it looks like.
        render: fn(Result<(), String>) -> Response,
    },
}

struct Connection {
    stream: TcpStream,
    state: State,
    deadline: Instant,
    /// Bytes read and not yet parsed.
    input: Vec<u8>,
}

enum State {
    Reading,
    Pending {
        request: Request,
        outcome: Receiver<Result<(), String>>,
        render: fn(Result<(), String>) -> Response,
    },
    Writing {
        bytes: Vec<u8>,
        written: usize,
        keep_alive: bool,
    },
    Closed,
}

/// Serves until `stop`'s other end is closed.
pub fn serve(listener: &TcpListener, stop: &UnixStream, responder: &mut dyn Responder) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let mut fds = Vec::with_capacity(connections.len() + 2);
        fds.push(PollFd::new(stop, PollFlags::IN));
        fds.push(PollFd::new(listener, PollFlags::IN));
        fds.extend(
            connections.iter().map(|connection| PollFd::new(&connection.stream, connection.interest())),
        );
        match poll(&mut fds, timeout(&connections).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready.first() == Some(&true) {
            return Ok(());
        }
        let now = Instant::now();
        for (connection, is_ready) in connections.iter_mut().zip(ready.iter().skip(2)) {
            connection.advance(*is_ready, now, responder);
        }
        connections.retain(|connection| !matches!(connection.state, State::Closed));
        if ready.get(1) == Some(&true) {
            accept(listener, &mut connections, now);
        }
        shed(&mut connections);
    }
}

/// Until the nearest deadline; none without connections.
fn timeout(connections: &[Connection]) -> Option<Timespec> {
    let now = Instant::now();
    let until = |connection: &Connection| match connection.state {
        State::Pending { .. } => PENDING_POLL,
        _ => connection.deadline.saturating_duration_since(now),
    };
    // A deadline that has just passed is seen in the next turn; one millisecond keeps the loop from spinning.
    let timeout = connections.iter().map(until).min()?.max(Duration::from_millis(1));
    Some(Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ })
}

fn accept(listener: &TcpListener, connections: &mut Vec<Connection>, now: Instant) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                // Without it a stalled client would stall everyone.
                if stream.set_nonblocking(true).is_err() {
                    continue;
                }
                let _ = stream.set_nodelay(true);
                let deadline = now + REQUEST_DEADLINE;
                connections.push(Connection { stream, state: State::Reading, deadline, input: Vec::new() });
                if connections.len() > MAX_CONNECTIONS {
                    drop_oldest(connections);
                }
            }
            Err(err) if err.kind() == ErrorKind::WouldBlock => return,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) if err.kind() == ErrorKind::ConnectionAborted => {}
            Err(err) => {
                log::warn!("cannot accept a connection: {err}; the oldest one is closed, trying again");
                drop_oldest(connections);
                std::thread::sleep(ACCEPT_PAUSE);
                return;
            }
        }
    }
}

/// Closes the connection that waits for its client for longest: the one whose deadline is next.
fn drop_oldest(connections: &mut Vec<Connection>) {
    let waiting = connections.iter().enumerate().filter(|(_, it)| matches!(it.state, State::Reading));
    let oldest = waiting.min_by_key(|(_, it)| it.deadline).map_or(0, |(idx, _)| idx);
    if oldest < connections.len() {
        connections.swap_remove(oldest);
    }
}

fn shed(connections: &mut Vec<Connection>) {
    let unread = |connections: &[Connection]| connections.iter().map(Connection::unread_bytes).sum::<usize>();
    while unread(connections) > MAX_UNREAD_BYTES {
        let writing = connections.iter().enumerate().filter(|(_, it)| it.unread_bytes() > 0);
        let mut by_age: Vec<(usize, Instant)> = writing.map(|(idx, it)| (idx, it.deadline)).collect();
        by_age.sort_by_key(|(_, deadline)| *deadline);
        // One answer larger than the limit is allowed: somebody may be reading it.
        match by_age.as_slice() {
            [(oldest, _), _, ..] => drop(connections.swap_remove(*oldest)),
            _ => return,
        }
    }
}

impl Connection {
    fn interest(&self) -> PollFlags {
        match self.state {
            State::Reading => PollFlags::IN,
            State::Writing { .. } => PollFlags::OUT,
            State::Pending { .. } | State::Closed => PollFlags::empty(),
        }
    }

    fn unread_bytes(&self) -> usize {
        match &self.state {
            State::Writing { bytes, written, .. } => bytes.len() - written,
            _ => 0,
        }
    }

    /// Moves as far as it goes without waiting.
    fn advance(&mut self, is_ready: bool, now: Instant, responder: &mut dyn Responder) {
        if is_ready && matches!(self.state, State::Reading) {
            self.read(now);
        }
        // A client may send its next request before it has the answer to this one.
        loop {
            if matches!(self.state, State::Reading) && !self.input.is_empty() {
                self.parse(now, responder);
            }
            self.collect_answer(now);
            if !matches!(self.state, State::Writing { .. }) {
                break;
            }
            self.write(now);
            if !matches!(self.state, State::Reading) || self.input.is_empty() {
                break;
            }
        }
        if now >= self.deadline && !matches!(self.state, State::Pending { .. }) {
            self.state = State::Closed;
        }
    }

    fn read(&mut self, now: Instant) {
        let mut chunk = [0; 2048];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.state = State::Closed,
            Ok(n) => {
                if self.input.is_empty() {
                    // The deadline counts from the first byte, or a dribbler would renew it for ever.
                    self.deadline = self.deadline.min(now + REQUEST_DEADLINE);
                }
                self.input.extend_from_slice(chunk.get(..n).unwrap_or_default());
            }
            Err(err) if is_transient(&err) => {}
            Err(_) => self.state = State::Closed,
        }
    }

    fn parse(&mut self, now: Instant, responder: &mut dyn Responder) {
        let (request, reply) = match parse_head(&self.input) {
            Head::Partial => return,
            Head::Complete(request, head_bytes) => {
                self.input.drain(..head_bytes);
                let reply = responder.respond(&request);
                (Some(request), reply)
            }
            Head::Refused(response) => (None, Reply::Now(response)),
        };
        match (request, reply) {
            (request, Reply::Now(response)) => self.answer(request.as_ref(), response, now),
            (Some(request), Reply::Later { outcome, render }) => {
                self.state = State::Pending { request, outcome, render };
            }
            (None, Reply::Later { .. }) => self.state = State::Closed,
        }
    }

    fn collect_answer(&mut self, now: Instant) {
        let State::Pending { request, outcome, render } = &self.state else { return };
        let response = match outcome.try_recv() {
            Ok(outcome) => render(outcome),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Response::text(500, "the daemon is stopping\n"),
        };
        let request = request.clone();
        self.answer(Some(&request), response, now);
    }

    fn answer(&mut self, request: Option<&Request>, response: Response, now: Instant) {
        let keep_alive = request.is_some_and(|request| request.keep_alive);
        self.state = State::Writing { bytes: response.into_bytes(request), written: 0, keep_alive };
        self.deadline = now + REQUEST_DEADLINE;
    }

    fn write(&mut self, now: Instant) {
        let State::Writing { bytes, written, keep_alive } = &mut self.state else { return };
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => {
                    self.state = State::Closed;
                    return;
                }
                Ok(n) => *written += n,
                Err(err) if is_transient(&err) => return,
                Err(_) => {
                    self.state = State::Closed;
                    return;
                }
            }
        }
        self.state = if *keep_alive { State::Reading } else { State::Closed };
        self.deadline = now + IDLE_DEADLINE;
        self.input.shrink_to_fit();
    }
}

fn is_transient(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
