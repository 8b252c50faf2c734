//! Questions to name servers: UDP first, TCP when the answer does not fit, each with a deadline.
//!
//! Runs on the provider's thread. After `lookupWithSearchPath`, `lookupFromAnyServer` and `askServerForName` of
//! Prometheus' `discovery/dns/dns.go`.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use crate::config::discovery::dns::DnsRecordType;
use crate::discovery::dns::resolv_conf::ResolvConf;

/// One exchange with one server (miekg/dns: `dnsTimeout`).
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that fails after this is asked after the others.
const LONG: Duration = Duration::from_secs(1);

/// What we say that we can take by UDP (miekg/dns: `DefaultMsgSize`).
const UDP_BYTES: u16 = 4096;

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Record {
    /// A and AAAA.
    Address(IpAddr),
    /// SRV: a name with its dot, and a port.
    Service(String, u16),
    /// MX.
    MailExchange(String),
    /// NS.
    NameServer(String),
}

/// What one server said.
enum Answer {
    Records(Vec<Record>),
    /// NXDOMAIN.
    NoSuchName,
}

/// All records of `name`; none if every server that was asked knows that there is no such name. Servers that fail and
/// take long for it are the last of `conf` from then on: one that is gone costs its time once, not with each name.
///
/// # Errors
/// Prometheus' sentence, with what the last server did.
pub(in crate::discovery) fn look_up(
    conf: &mut ResolvConf,
    name: &str,
    record_type: DnsRecordType,
) -> Result<Vec<Record>, String> {
    let mut failure = None;
    for candidate in conf.candidates(name) {
        match ask_any_server(conf, &candidate, record_type) {
            Ok(Answer::Records(records)) => return Ok(records),
            Ok(Answer::NoSuchName) => {}
            // A later name may give a good answer; but that there is none is not certain any more.
            Err(sentence) => failure = Some(sentence),
        }
    }
    match failure {
        None => Ok(Vec::new()),
        Some(sentence) => Err(format!(
            "could not resolve {name:?}: all servers responded with errors to at least one search domain ({sentence})"
        )),
    }
}

fn ask_any_server(conf: &mut ResolvConf, name: &str, record_type: DnsRecordType) -> Result<Answer, String> {
    let mut last = "no name server is configured".to_owned();
    let mut found = None;
    let mut slow = Vec::new();
    for &server in &conf.servers {
        let asked_at = Instant::now();
        match ask(server, name, record_type) {
            Ok(answer) => {
                found = Some(answer);
                break;
            }
            Err(sentence) => last = format!("{server}: {sentence}"),
        }
        if asked_at.elapsed() >= LONG {
            slow.push(server);
        }
    }
    conf.servers.retain(|server| !slow.contains(server));
    conf.servers.extend(slow);
    found.ok_or_else(|| format!("could not resolve {name}: no servers returned a viable answer; {last}"))
}

fn ask(server: SocketAddr, name: &str, record_type: DnsRecordType) -> Result<Answer, String> {
    let id = RandomState::new().hash_one(name) as u16;
    let question = question(id, name, record_type).map_err(|error| format!("not a name: {error}"))?;
    let deadline = Instant::now() + EXCHANGE_TIMEOUT;
    let reply = by_udp(server, id, &question, deadline).map_err(|error| in_words(&error))?;
    let is_cut = parse(&reply)?.has_flags(PacketFlag::TRUNCATION);
    let reply = match is_cut {
        false => reply,
        true => {
            by_tcp(server, &question, Instant::now() + EXCHANGE_TIMEOUT).map_err(|error| in_words(&error))?
        }
    };
    let packet = parse(&reply)?;
    let is_asked = |asked: &Question<'_>| {
        asked.qtype == QTYPE::TYPE(kind(record_type))
            && format!("{}.", asked.qname).eq_ignore_ascii_case(name)
    };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !packet.questions.iter().all(is_asked)
    {
        return Err("an answer to another question".to_owned());
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Err("got truncated message on TCP (64kiB limit exceeded?)".to_owned());
    }
    match packet.rcode() {
        RCODE::NoError => {
            Ok(Answer::Records(packet.answers.iter().filter_map(|it| record(&it.rdata)).collect()))
        }
        RCODE::NameError => Ok(Answer::NoSuchName),
        other => Err(format!("the server answers {other:?}")),
    }
}

fn question(id: u16, name: &str, record_type: DnsRecordType) -> Result<Vec<u8>, simple_dns::SimpleDnsError> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name)?,
        QTYPE::TYPE(kind(record_type)),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: UDP_BYTES, version: 0 });
    packet.build_bytes_vec()
}

fn kind(record_type: DnsRecordType) -> TYPE {
    match record_type {
        DnsRecordType::A => TYPE::A,
        DnsRecordType::Aaaa => TYPE::AAAA,
        DnsRecordType::Mx => TYPE::MX,
        DnsRecordType::Ns => TYPE::NS,
        DnsRecordType::Srv => TYPE::SRV,
    }
}

fn parse(reply: &[u8]) -> Result<Packet<'_>, String> {
    Packet::parse(reply).map_err(|error| format!("the answer is malformed: {error}"))
}

fn record(data: &RData<'_>) -> Option<Record> {
    let whole = |name: &Name<'_>| format!("{name}.");
    match data {
        RData::A(a) => Some(Record::Address(Ipv4Addr::from(a.address).into())),
        RData::AAAA(aaaa) => Some(Record::Address(Ipv6Addr::from(aaaa.address).into())),
        RData::SRV(srv) => Some(Record::Service(whole(&srv.target), srv.port)),
        RData::MX(mx) => Some(Record::MailExchange(whole(&mx.exchange))),
        RData::NS(ns) => Some(Record::NameServer(whole(&ns.0))),
        // The CNAME that stands before addresses, and whatever else a server adds.
        _ => None,
    }
}

fn by_udp(server: SocketAddr, id: u16, question: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.send(question)?;
    let mut reply = vec![0; usize::from(UDP_BYTES)];
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let n_read = socket.recv(&mut reply)?;
        // Anything else is late or forged.
        if reply.get(..2) == Some(&id.to_be_bytes()) {
            reply.truncate(n_read);
            return Ok(reply);
        }
    }
}

fn by_tcp(server: SocketAddr, question: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    // A question has a few hundred bytes: a name has no more than 255.
    let len = question.len() as u16;
    stream.write_all(&[&len.to_be_bytes(), question].concat())?;
    let mut len = [0; 2];
    read_exact(&mut stream, &mut len, deadline)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    read_exact(&mut stream, &mut reply, deadline)?;
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

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s", EXCHANGE_TIMEOUT.as_secs())
        }
        io::ErrorKind::UnexpectedEof => "the connection was closed inside the answer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
