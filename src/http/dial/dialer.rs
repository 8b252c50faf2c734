//! Sockets that are connected: names looked up, addresses tried, each within the deadline and cancellable.
//!
//! Runs on the thread that asks. Knows neither TLS nor HTTP.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use ureq::Error;

use crate::http::address::site::join;
use crate::http::dial::name_cache::{LookupError, Names};
use crate::http::dial::race::Race;
use crate::http::dial::socket::{failure, failure_at, new_socket, patiently, with_room};
use crate::http::error::{HttpErrorKind, Phase, system_words};
use crate::http::wire::carry::{Deadline, carry};
use crate::http::wire::exchange::Exchange;
use crate::names::address::Address;

/// Opens sockets for one client.
#[derive(Debug)]
pub(in crate::http) struct Dialer {
    pub(in crate::http) exchange: Arc<Exchange>,
    pub(in crate::http) names: Arc<Names>,
    /// Each connection begins with another address; without it all begin with the first.
    pub(in crate::http) turn: Option<Turn>,
}

/// Whose turn it is among the addresses of a host; what clients that spread their connections share.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<AtomicUsize>);

impl Turn {
    /// The address whose turn it is comes first, and the next connection gets the next one.
    fn take<T>(&self, addresses: &mut [T]) {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(first) = turn.checked_rem(addresses.len()) {
            addresses.rotate_left(first);
        }
    }
}

impl Dialer {
    /// To a host without brackets, by any of its addresses.
    pub(in crate::http) fn host(
        &self,
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<(Arc<Socket>, Address), Error> {
        self.exchange.enter(Phase::Resolve);
        if host.contains(['[', ']']) {
            let cause = format!("address {}: missing port in address", join(host, port));
            return Err(carry(HttpErrorKind::Dial(cause)));
        }
        let looked_up = self.names.addresses(host, deadline.at, || self.exchange.is_cancelled());
        let mut addresses = looked_up.map_err(|error| match error {
            LookupError::Failed(failure) => {
                let server = failure.server.map(|server| format!(" on {server}")).unwrap_or_default();
                carry(HttpErrorKind::Lookup { host: format!("{host}{server}"), cause: failure.cause })
            }
            LookupError::Deadline => Error::Timeout(deadline.reason),
            LookupError::Cancelled => carry(HttpErrorKind::Cancelled),
        })?;
        if let Some(turn) = &self.turn {
            turn.take(&mut addresses);
        }
        self.exchange.enter(Phase::Connect);
        let connected = match addresses.as_slice() {
            [address] => self.one(host, address, port, deadline),
            addresses => Race::new(&self.exchange, addresses, port, deadline).run(),
        };
        connected.inspect_err(|_| self.names.doubt(host))
    }

    /// To a socket of this machine.
    pub(in crate::http) fn path(&self, path: &Path, deadline: Deadline) -> Result<Arc<Socket>, Error> {
        self.exchange.enter(Phase::Connect);
        let failure = |error: io::Error| {
            let (path, cause) = (path.display().to_string(), system_words(&error));
            carry(HttpErrorKind::ConnectUnix { path, cause })
        };
        let address = SockAddr::unix(path).map_err(failure)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(with_room);
        let socket = Arc::new(socket.map_err(failure)?);
        // The wait for a place in the listener's queue counts as writing.
        socket.set_write_timeout(Some(deadline.left()?)).map_err(failure)?;
        if !self.exchange.uses(&socket) {
            return Err(carry(HttpErrorKind::Cancelled));
        }
        match socket.connect(&address) {
            Ok(()) => Ok(socket),
            Err(_) if self.exchange.is_cancelled() => Err(carry(HttpErrorKind::Cancelled)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Timeout(deadline.reason)),
            Err(error) => Err(failure(error)),
        }
    }

    fn one(
        &self,
        host: &str,
        known: &Address,
        port: u16,
        deadline: Deadline,
    ) -> Result<(Arc<Socket>, Address), Error> {
        let address = known.at(port);
        let connect = || -> io::Result<Arc<Socket>> {
            let socket = Arc::new(patiently(&self.exchange, deadline.at, || new_socket(address))?);
            if !self.exchange.uses(&socket) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            // After the wait for a descriptor; zero would mean no timeout.
            let left = deadline.at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            socket.connect_timeout(&SockAddr::from(address), left)?;
            Ok(socket)
        };
        deadline.left()?;
        match connect() {
            Ok(socket) => Ok((socket, known.clone())),
            Err(_) if self.exchange.is_cancelled() => Err(carry(HttpErrorKind::Cancelled)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Error::Timeout(deadline.reason)),
            // Without a host as Go shows it.
            Err(error) if host.is_empty() => Err(failure_at(format!(":{port}"), &error)),
            Err(error) => Err(failure(known, port, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialer, Turn};
    use crate::http::dial::name_cache::Names;
    use crate::http::wire::carry::Deadline;
    use crate::http::wire::exchange::Exchange;
    use crate::names::address::Address;
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    const LATE: Duration = Duration::from_secs(60);

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::parse(text).expect("an address")).collect()
    }

    fn dialer(look_up: fn(&str) -> Vec<Address>) -> Dialer {
        let names = Names::over(Box::new(move |host| Ok(look_up(host))));
        Dialer { exchange: Arc::new(Exchange::default()), names, turn: None }
    }

    fn within(time: Duration) -> Deadline {
        Deadline { at: Instant::now() + time, reason: ureq::Timeout::Global }
    }

    /// A listener that takes no connection any more, and what has filled it.
    fn full_listener(address: SocketAddr) -> (Socket, Vec<Socket>) {
        let new = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = new();
        listener.bind(&SockAddr::from(address)).expect("free");
        listener.listen(0).expect("listens");
        let fill = |_| {
            let filler = new();
            filler.set_nonblocking(true).expect("possible");
            let _ = filler.connect(&SockAddr::from(address));
            filler
        };
        (listener, (0..8).map(fill).collect())
    }

    #[test]
    fn an_address_that_hangs_does_not_hold_up_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let _full = full_listener(SocketAddr::from(([127, 0, 0, 2], port)));
        let dialer = dialer(|_| addresses(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]));
        let start = Instant::now();
        let (_, address) = dialer.host("box", port, within(LATE)).expect("connected");
        assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 1]));
        assert!(start.elapsed() < LATE / 2, "{:?}", start.elapsed());
    }

    #[test]
    fn the_first_failure_is_told_and_the_name_is_asked_for_anew() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static N_LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let dialer = dialer(|_| match N_LOOKUPS.fetch_add(1, Ordering::SeqCst) {
            0 => addresses(&["127.0.0.2", "127.0.0.3"]),
            _ => addresses(&["127.0.0.2", "127.0.0.1"]),
        });
        let error = dialer.host("box", port, within(LATE)).expect_err("nobody there");
        let expected = format!("dial tcp 127.0.0.2:{port}: connect: connection refused");
        assert!(error.to_string().contains(&expected), "{error}");
        let (_, address) = dialer.host("box", port, within(LATE)).expect("connected");
        assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn hanging_addresses_end_at_the_deadline_or_when_cancelled() {
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
        let _one = full_listener(SocketAddr::from(([127, 0, 0, 2], port)));
        let _two = full_listener(SocketAddr::from(([127, 0, 0, 3], port)));
        let dialer = dialer(|_| addresses(&["127.0.0.2", "127.0.0.3"]));
        let error = dialer.host("box", port, within(Duration::from_millis(500))).expect_err("nobody answers");
        assert!(matches!(error, ureq::Error::Timeout(_)), "{error}");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| dialer.host("box", port, within(LATE)).expect_err("cancelled"));
            thread::sleep(Duration::from_millis(100));
            dialer.exchange.cancel();
            assert_eq!(waiting.join().expect("no panic").to_string(), "other: context canceled");
        });
    }

    const HOSTS: [Ipv4Addr; 3] =
        [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

    fn by_turns(turn: Option<Turn>) -> Dialer {
        Dialer { turn, ..dialer(|_| HOSTS.map(|host| IpAddr::V4(host).into()).to_vec()) }
    }

    /// A port on which all the hosts listen but those in `silent`.
    fn listeners(silent: &[Ipv4Addr]) -> (u16, Vec<TcpListener>) {
        loop {
            let first = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 4), 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            let hosts = HOSTS.iter().filter(|host| !silent.contains(host));
            if let Ok(all) = hosts.map(|host| TcpListener::bind((*host, port))).collect() {
                return (port, all);
            }
        }
    }

    fn connected(dialer: &Dialer, port: u16) -> Ipv4Addr {
        let (socket, _) = dialer.host("many.example", port, within(LATE)).expect("connected");
        *socket.peer_addr().unwrap().as_socket_ipv4().unwrap().ip()
    }

    #[test]
    fn connections_go_to_each_address_in_turn() {
        let (port, _listeners) = listeners(&[]);
        let turn = Turn::default();
        // Two clients of one endpoint.
        let dialers = [by_turns(Some(turn.clone())), by_turns(Some(turn))];
        let hosts: Vec<Ipv4Addr> = (0..6).map(|idx| connected(&dialers[idx % 2], port)).collect();
        assert_eq!(hosts, [HOSTS, HOSTS].concat());
        let plain = by_turns(None);
        assert!((0..3).all(|_| connected(&plain, port) == HOSTS[0]));
    }

    #[test]
    fn one_that_does_not_listen_leaves_its_turn_to_the_next() {
        let (port, _listeners) = listeners(&[HOSTS[1]]);
        let dialer = by_turns(Some(Turn::default()));
        let hosts: Vec<Ipv4Addr> = (0..3).map(|_| connected(&dialer, port)).collect();
        assert_eq!(hosts, [HOSTS[0], HOSTS[2], HOSTS[2]]);
    }
}
