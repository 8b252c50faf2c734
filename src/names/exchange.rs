//! Questions to one name server and its answers: by UDP, by TCP where an answer does not fit, each with a deadline.
//!
//! Everything that asks a name server does so here. An answer is taken from the server that was asked only (its socket
//! is connected), on a port that the system chose at random, with the random number of the question and the question
//! itself; anything else is late or forged and is not looked at.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simple_dns::rdata::OPT;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// Largest answer that is taken by UDP; more than a server sends that was not asked for more.
const MAX_UDP_BYTES: usize = 4096;

/// A question.
#[derive(Clone, Debug)]
pub struct Query {
    id: u16,
    /// With its last dot.
    name: String,
    kind: TYPE,
    bytes: Vec<u8>,
}

/// What is said beside the question.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// What is said that we can take by UDP; 0: nothing, and so 512 bytes.
    pub udp_bytes: u16,
    /// Whether signatures were checked is asked for (`trust-ad`).
    pub is_ad_asked: bool,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How long it has, by UDP and again by TCP.
    pub timeout: Duration,
    /// Never by UDP.
    pub is_by_tcp: bool,
    /// A second question waits for the answer to the first.
    pub is_one_by_one: bool,
    /// How long an answer may come behind another one that has records.
    pub straggler_wait: Duration,
    /// A longer answer is none.
    pub max_bytes: usize,
}

/// Why there is no answer, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Not in time.
    Late(String),
    /// It could not be asked, or broke off.
    Broken(String),
}

impl NoAnswer {
    /// The words.
    pub fn words(self) -> String {
        match self {
            Self::Late(words) | Self::Broken(words) => words,
        }
    }
}

impl Query {
    /// Asks for records of `name`, which ends in a dot.
    ///
    /// # Errors
    /// Not a name that can be asked for.
    pub fn new(name: &str, kind: TYPE, wishes: Wishes) -> Result<Self, String> {
        let id = RandomState::new().hash_one(name) as u16;
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        if wishes.is_ad_asked {
            packet.set_flags(PacketFlag::AUTHENTIC_DATA);
        }
        let asked = Name::new(name).map_err(|error| format!("not a name: {error}"))?;
        packet.questions.push(Question::new(asked, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        if wishes.udp_bytes > 0 {
            *packet.opt_mut() =
                Some(OPT { opt_codes: Vec::new(), udp_packet_size: wishes.udp_bytes, version: 0 });
        }
        let bytes = packet.build_bytes_vec().map_err(|error| format!("not a name: {error}"))?;
        Ok(Self { id, name: name.to_owned(), kind, bytes })
    }

    /// What is asked for.
    pub fn kind(&self) -> TYPE {
        self.kind
    }

    /// The answer in `bytes`, if it is one to this question. A server that cannot read the question may leave it out.
    pub fn answer<'a>(&self, bytes: &'a [u8]) -> Option<Packet<'a>> {
        if bytes.get(..2) != Some(&self.id.to_be_bytes()) {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        let is_asked = |asked: &Question<'_>| {
            asked.qtype == QTYPE::TYPE(self.kind)
                && format!("{}.", asked.qname).eq_ignore_ascii_case(&self.name)
        };
        let is_echoed = match packet.questions.as_slice() {
            [] => packet.rcode() != RCODE::NoError && packet.answers.is_empty(),
            [asked] => is_asked(asked),
            _ => false,
        };
        (packet.has_flags(PacketFlag::RESPONSE) && is_echoed).then_some(packet)
    }
}

/// Asks `server` all `queries`, side by side unless `manner` says otherwise: for each of them the bytes of an answer that
/// [`Query::answer`] takes, or why there is none.
pub fn ask(server: SocketAddr, queries: &[&Query], manner: &Manner) -> Vec<Result<Vec<u8>, NoAnswer>> {
    let mut answers = Vec::with_capacity(queries.len());
    if manner.is_by_tcp {
        answers.extend(queries.iter().map(|query| by_tcp(server, query, manner)));
        return answers;
    }
    let at_once = if manner.is_one_by_one { 1 } else { queries.len().max(1) };
    for queries in queries.chunks(at_once) {
        for (query, by_udp) in queries.iter().zip(by_udp(server, queries, manner)) {
            answers.push(match by_udp {
                Ok(bytes) if is_cut(&bytes) => by_tcp(server, query, manner),
                outcome => outcome,
            });
        }
    }
    answers
}

/// Whether there is more than `bytes`.
fn is_cut(bytes: &[u8]) -> bool {
    const TRUNCATED: u8 = 0x02;
    bytes.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
}

/// Whether there are records in an answer.
fn has_records(bytes: &[u8]) -> bool {
    bytes.get(6..8).is_some_and(|count| count != [0, 0])
}

struct Asking<'a> {
    query: &'a Query,
    socket: io::Result<UdpSocket>,
    outcome: Option<Result<Vec<u8>, NoAnswer>>,
}

fn by_udp(server: SocketAddr, queries: &[&Query], manner: &Manner) -> Vec<Result<Vec<u8>, NoAnswer>> {
    let mut deadline = Instant::now() + manner.timeout;
    let mut asking: Vec<Asking<'_>> = queries
        .iter()
        .map(|query| Asking { query, socket: send(server, &query.bytes), outcome: None })
        .collect();
    for it in &mut asking {
        if let Err(error) = &it.socket {
            it.outcome = Some(Err(NoAnswer::Broken(format!("dial udp {server}: {}", words(error)))));
        }
    }
    let mut buffer = vec![0; MAX_UDP_BYTES];
    loop {
        let waiting: Vec<usize> = (0..asking.len()).filter(|idx| asking[*idx].outcome.is_none()).collect();
        let left = deadline.saturating_duration_since(Instant::now());
        if waiting.is_empty() || left.is_zero() {
            break;
        }
        let sockets = waiting.iter().filter_map(|idx| asking[*idx].socket.as_ref().ok());
        let mut fds: Vec<PollFd<'_>> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        // Whatever wakes us is looked at below.
        let _ = poll(&mut fds, Some(&timeout));
        for idx in waiting {
            let it = &mut asking[idx];
            let Ok(socket) = &it.socket else { continue };
            // A flood of forged answers must not keep us past the deadline.
            while it.outcome.is_none() && Instant::now() < deadline {
                match socket.recv(&mut buffer) {
                    Ok(n_read) => {
                        let bytes = buffer.get(..n_read).unwrap_or_default();
                        if it.query.answer(bytes).is_some() || is_cut_answer(it.query, bytes) {
                            it.outcome = Some(Ok(bytes.to_vec()));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        let shown = shown_way("udp", socket.local_addr(), server);
                        it.outcome =
                            Some(Err(NoAnswer::Broken(format!("read {shown}: read: {}", words(&error)))));
                    }
                }
            }
            if let Some(Ok(bytes)) = &it.outcome
                && has_records(bytes)
            {
                deadline = deadline.min(Instant::now() + manner.straggler_wait);
            }
        }
    }
    let outcome = |it: Asking<'_>| {
        it.outcome.unwrap_or_else(|| {
            let local = it.socket.and_then(|socket| socket.local_addr());
            Err(NoAnswer::Late(format!("read {}: i/o timeout", shown_way("udp", local, server))))
        })
    };
    asking.into_iter().map(outcome).collect()
}

/// An answer that was cut in the middle of a record is one all the same.
fn is_cut_answer(query: &Query, bytes: &[u8]) -> bool {
    const RESPONSE: u8 = 0x80;
    bytes.get(..2) == Some(&query.id.to_be_bytes())
        && is_cut(bytes)
        && bytes.get(2).is_some_and(|flags| flags & RESPONSE != 0)
}

fn send(server: SocketAddr, bytes: &[u8]) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    socket.send(bytes)?;
    Ok(socket)
}

fn by_tcp(server: SocketAddr, query: &Query, manner: &Manner) -> Result<Vec<u8>, NoAnswer> {
    let deadline = Instant::now() + manner.timeout;
    let late =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
    let mut stream =
        TcpStream::connect_timeout(&server, manner.timeout).map_err(|error| match late(&error) {
            true => NoAnswer::Late(format!("dial tcp {server}: i/o timeout")),
            false => NoAnswer::Broken(format!("dial tcp {server}: connect: {}", words(&error))),
        })?;
    let local = stream.local_addr();
    let bytes = exchange_by_tcp(&mut stream, &query.bytes, manner.max_bytes, deadline);
    let bytes = bytes.map_err(|error| {
        let shown = shown_way("tcp", local, server);
        match error.kind() {
            _ if late(&error) => NoAnswer::Late(format!("read {shown}: i/o timeout")),
            io::ErrorKind::UnexpectedEof => NoAnswer::Broken(format!("read {shown}: EOF")),
            _ => NoAnswer::Broken(format!("read {shown}: {}", words(&error))),
        }
    })?;
    match query.answer(&bytes) {
        None => Err(NoAnswer::Broken("cannot unmarshal DNS message".to_owned())),
        Some(_) if is_cut(&bytes) => {
            Err(NoAnswer::Broken("got truncated message on TCP (64kiB limit exceeded?)".to_owned()))
        }
        Some(_) => Ok(bytes),
    }
}

fn exchange_by_tcp(
    stream: &mut TcpStream,
    question: &[u8],
    max_bytes: usize,
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(left(deadline)?))?;
    // A question has a few hundred bytes: a name has no more than 255.
    let len = question.len() as u16;
    stream.write_all(&[&len.to_be_bytes(), question].concat())?;
    let mut len = [0; 2];
    read_exact(stream, &mut len, deadline)?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > max_bytes {
        return Err(io::Error::other(format!("an answer of {len} bytes (limit: {max_bytes})")));
    }
    let mut reply = vec![0; len];
    read_exact(stream, &mut reply, deadline)?;
    Ok(reply)
}

/// A byte now and then does not move the deadline.
fn read_exact(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut n_read = 0;
    while let Some(rest) = buffer.get_mut(n_read..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(rest)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => n_read += n,
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// `udp 10.0.0.5:40000->10.0.0.1:53`.
fn shown_way(network: &str, local: io::Result<SocketAddr>, server: SocketAddr) -> String {
    match local {
        Ok(local) => format!("{network} {local}->{server}"),
        Err(_) => format!("{network} {server}"),
    }
}

/// The system's words as Go prints them: lower case, without the number.
pub(in crate::names) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}
