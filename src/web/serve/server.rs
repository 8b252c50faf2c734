//! The `web` thread: one `poll` loop over the listeners and all connections.
//!
//! A handler only reads snapshots and never waits, so one thread serves everyone and a stalled client holds nothing
//! but its socket and one piece of its answer: heads and answers move as far as the sockets let them, and a deadline
//! closes what does not move. A new client always finds a place: the least useful connection gives way to it. Knows no page:
//! a [`Responder`] answers.

use crate::descriptors;
use crate::descriptors::Purpose;
use crate::web::metrics::{OpenConnection, WebMetrics};
use crate::web::serve::connection::Connection;
use crate::web::serve::listen::listener::Listener;
use crate::web::serve::reply::{Responder, Times};
use crate::web::serve::wire::Wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use scraped_engine::sorting::sort_by_key;
use socket2::Socket;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From the first byte of a request to its last, and for each 16 KiB of an answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Answers not yet read by their clients, all together; over it the oldest is cut off.
const MAX_UNREAD_BYTES: usize = 32 << 20;
/// How many clients may give way to a new one that has one of the last descriptors.
const MAX_MOVES: usize = 8;
/// Pause after the system refused to accept (out of file descriptors), to not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections (`--web.max-connections`), at least 1.
    pub max_connections: usize,
    /// How long a connection may wait for its next request (`--web.read-timeout`).
    pub idle: Duration,
}

/// Serves until `stop`'s other end is closed.
pub(in crate::web) fn serve(
    listeners: &[Listener],
    stop: &UnixStream,
    limits: Limits,
    metrics: &Arc<WebMetrics>,
    responder: &mut dyn Responder,
) -> io::Result<()> {
    let times = Times { request: REQUEST_DEADLINE.min(limits.idle), idle: limits.idle };
    let mut places = Places { connections: Vec::new(), max: limits.max_connections, full_at: None };
    loop {
        let connections = &mut places.connections;
        let mut fds = Vec::with_capacity(1 + listeners.len() + connections.len());
        fds.push(PollFd::new(stop, PollFlags::IN));
        fds.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        fds.extend(connections.iter().map(|connection| PollFd::new(connection, connection.interest())));
        match poll(&mut fds, timeout(connections).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready.first() == Some(&true) {
            return Ok(());
        }
        let now = Instant::now();
        for (connection, is_ready) in connections.iter_mut().zip(ready.iter().skip(1 + listeners.len())) {
            connection.advance(*is_ready, now, times, responder);
        }
        connections.retain(|connection| !connection.is_closed());
        for (listener, is_ready) in listeners.iter().zip(ready.iter().skip(1)) {
            if *is_ready {
                places.accept(listener, now, times, metrics, responder);
            }
        }
        places.shed();
    }
}

/// Until the nearest deadline; none without connections.
fn timeout(connections: &[Connection]) -> Option<Timespec> {
    let now = Instant::now();
    let patience = connections.iter().map(|connection| connection.patience(now)).min()?;
    // A deadline that has just passed is seen in the next turn; one millisecond keeps the loop from spinning.
    let timeout = patience.max(Duration::from_millis(1));
    Some(Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ })
}

/// The clients, and room for one more.
struct Places {
    connections: Vec<Connection>,
    max: usize,
    /// How many there were when it was last said that there is no room.
    full_at: Option<usize>,
}

impl Places {
    fn accept(
        &mut self,
        listener: &Listener,
        now: Instant,
        times: Times,
        metrics: &Arc<WebMetrics>,
        responder: &mut dyn Responder,
    ) {
        loop {
            match listener.accept() {
                Ok(socket) => {
                    let counted = OpenConnection::new(metrics);
                    let wire = self.with_room(socket).and_then(|socket| {
                        let acceptor = responder.acceptor()?;
                        Wire::new(socket, acceptor.as_ref())
                    });
                    let connection =
                        wire.map(|wire| Connection::new(wire, counted, listener.is_loopback(), now, times));
                    self.connections.extend(connection);
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => return,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::ConnectionAborted => {}
                Err(err) => {
                    log::warn!("cannot accept a connection: {err}; the oldest one is closed, trying again");
                    self.drop_least();
                    std::thread::sleep(ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Makes others give way if there is no place for a new one, or if it has one of the last descriptors: then it moves
    /// to the number that became free.
    fn with_room(&mut self, mut socket: Socket) -> io::Result<Socket> {
        let n_connections = self.connections.len();
        if self.full_at.is_some_and(|full_at| n_connections < full_at / 2) {
            self.full_at = None;
        }
        let limit = descriptors::limit();
        if n_connections >= self.max {
            self.say_full(format!("--web.max-connections: {}", self.max));
            self.drop_least();
        } else if n_connections as u64 >= descriptors::share_of_web(limit) {
            self.say_full(format!("open files: {limit}"));
            self.drop_least();
        }
        // A scrape may take the number that becomes free, but not the last ones.
        for _ in 0..MAX_MOVES {
            if self.connections.is_empty() || descriptors::has_room(&socket, Purpose::Web) {
                break;
            }
            self.say_full(format!("open files: {limit}"));
            self.drop_least();
            socket = socket.try_clone()?;
        }
        Ok(socket)
    }

    fn say_full(&mut self, limit: String) {
        if self.full_at.is_none() {
            let n_connections = self.connections.len();
            log::warn!(
                "{n_connections} clients hold connections to the web server (limit of {limit}); each new one takes the place of \
                 the one that is idle for longest"
            );
            self.full_at = Some(n_connections);
        }
    }

    fn drop_least(&mut self) {
        let least = self.connections.iter().enumerate().min_by_key(|(_, connection)| connection.worth());
        if let Some((least, _)) = least {
            self.connections.swap_remove(least);
        }
    }

    fn shed(&mut self) {
        let unread = |connections: &[Connection]| connections.iter().map(Connection::n_unread).sum::<usize>();
        while unread(&self.connections) > MAX_UNREAD_BYTES {
            let writing = self.connections.iter().enumerate().filter(|(_, it)| it.n_unread() > 0);
            let mut by_age: Vec<(usize, Instant)> = writing.map(|(idx, it)| (idx, it.worth().1)).collect();
            sort_by_key(&mut by_age, |(_, since)| *since);
            // One answer larger than the limit is allowed: somebody may be reading it.
            match by_age.as_slice() {
                [(oldest, _), _, ..] => drop(self.connections.swap_remove(*oldest)),
                _ => return,
            }
        }
    }
}
