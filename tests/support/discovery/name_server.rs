//! A name server that does what a test says: by UDP and TCP, one thread each, until the process ends.
//!
//! Stands alone, so that the library's own tests may take it in by its path.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// First.
    Udp,
    /// When the answer does not fit.
    Tcp,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Without the last dot, as it is asked for.
    pub name: &'a str,
    /// The type of the records.
    pub record_type: TYPE,
    /// How it came.
    pub by: By,
}

/// What the server does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with these records.
    Say(RCODE, Vec<RData<'static>>),
    /// Answers with records of these names.
    Tell(Vec<(&'static str, RData<'static>)>),
    /// Answers that somebody else knows, and not who.
    Refer,
    /// Forgeries first: another id, another question, no answer, a packet that is none.
    Flood(Vec<RData<'static>>, Vec<RData<'static>>),
    /// Sets the flag that says that there is more.
    Cut(Vec<RData<'static>>),
    /// Answers with another id first.
    Confuse(Vec<RData<'static>>),
    /// Answers as if another name had been asked for.
    Mistake(Vec<RData<'static>>),
    /// Sends what is no packet.
    Garbage,
    /// By TCP it closes the connection.
    Silence,
}

type Acting = dyn Fn(&Asked<'_>) -> Act + Send + Sync;

/// A server on a port that the system chooses.
pub fn server(act: impl Fn(&Asked<'_>) -> Act + Send + Sync + 'static) -> SocketAddr {
    server_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), act)
}

/// Both sockets of one port. One that the system chooses for UDP may be taken by somebody's TCP.
fn sockets(address: SocketAddr) -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind(address).unwrap();
        match TcpListener::bind(udp.local_addr().unwrap()) {
            Ok(tcp) => return (udp, tcp),
            Err(error) => assert!(address.port() == 0, "{address}: {error}"),
        }
    }
}

/// The same, at `address`.
pub fn server_at(address: SocketAddr, act: impl Fn(&Asked<'_>) -> Act + Send + Sync + 'static) -> SocketAddr {
    let act: Arc<Acting> = Arc::new(act);
    let (udp, tcp) = sockets(address);
    let address = udp.local_addr().unwrap();
    let by_udp = Arc::clone(&act);
    spawn(move || {
        let mut question = [0; 512];
        while let Ok((n_read, client)) = udp.recv_from(&mut question) {
            for reply in replies(&question[..n_read], &*by_udp, By::Udp) {
                // Whoever asked may have stopped listening.
                let _ = udp.send_to(&reply, client);
            }
        }
    });
    spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut len = [0; 2];
            if stream.read_exact(&mut len).is_err() {
                continue;
            }
            let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut question).unwrap();
            for reply in replies(&question, &*act, By::Tcp) {
                let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
                // In two pieces.
                let _ = stream.write_all(&[&len[..], &reply[..5]].concat());
                let _ = stream.write_all(&reply[5..]);
            }
        }
    });
    address
}

fn spawn(serve: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("name-server".to_owned()).spawn(serve).unwrap();
}

fn replies(question: &[u8], act: &Acting, by: By) -> Vec<Vec<u8>> {
    let question = Packet::parse(question).unwrap();
    assert!(question.has_flags(PacketFlag::RECURSION_DESIRED));
    let name = question.questions[0].qname.to_string();
    let QTYPE::TYPE(record_type) = question.questions[0].qtype else {
        panic!("an odd question: {question:?}")
    };
    let reply = |id: u16, rcode: RCODE, records: Vec<RData<'static>>, is_cut: bool| {
        let mut reply = Packet::new_reply(id);
        *reply.rcode_mut() = rcode;
        reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
        if is_cut {
            reply.set_flags(PacketFlag::TRUNCATION);
        }
        reply.questions.clone_from(&question.questions);
        let owner = Name::new(&name).unwrap();
        reply
            .answers
            .extend(records.into_iter().map(|it| ResourceRecord::new(owner.clone(), CLASS::IN, 5, it)));
        reply.build_bytes_vec().unwrap()
    };
    let id = question.id();
    match act(&Asked { name: &name, record_type, by }) {
        Act::Say(rcode, records) => vec![reply(id, rcode, records, false)],
        Act::Tell(records) => {
            let mut packet = Packet::new_reply(id);
            packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
            packet.questions.clone_from(&question.questions);
            let named = |(name, data)| ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, 5, data);
            packet.answers.extend(records.into_iter().map(named));
            vec![packet.build_bytes_vec().unwrap()]
        }
        Act::Refer => {
            let mut packet = Packet::new_reply(id);
            packet.questions.clone_from(&question.questions);
            vec![packet.build_bytes_vec().unwrap()]
        }
        Act::Flood(forged, records) => {
            let mut other = Packet::new_reply(id);
            let owner = Name::new("another.example").unwrap();
            other.questions.push(Question::new(owner, TYPE::A.into(), CLASS::IN.into(), false));
            let mut query = reply(id, RCODE::NoError, forged.clone(), false);
            query[2] &= 0x7f;
            let mut unasked = reply(id, RCODE::NoError, forged.clone(), false);
            // Without its question, which stays in the packet as nonsense.
            unasked[5] = 0;
            vec![
                reply(id.wrapping_add(1), RCODE::NoError, forged.clone(), false),
                reply(id ^ 0x8000, RCODE::NameError, Vec::new(), false),
                other.build_bytes_vec().unwrap(),
                query,
                unasked,
                vec![],
                id.to_be_bytes().to_vec(),
                [&id.to_be_bytes()[..], &[0x80, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0xc0, 12]].concat(),
                reply(id, RCODE::NoError, records, false),
            ]
        }
        Act::Cut(records) => vec![reply(id, RCODE::NoError, records, true)],
        Act::Confuse(records) => {
            vec![
                reply(id.wrapping_add(1), RCODE::NameError, Vec::new(), false),
                reply(id, RCODE::NoError, records, false),
            ]
        }
        Act::Mistake(records) => {
            let mut packet = Packet::new_reply(id);
            let owner = Name::new("another.example").unwrap();
            packet.questions.push(Question::new(owner.clone(), TYPE::A.into(), CLASS::IN.into(), false));
            packet
                .answers
                .extend(records.into_iter().map(|it| ResourceRecord::new(owner.clone(), CLASS::IN, 5, it)));
            vec![packet.build_bytes_vec().unwrap()]
        }
        Act::Garbage => vec![[&id.to_be_bytes()[..], &[0xff; 40]].concat()],
        Act::Silence => Vec::new(),
    }
}
