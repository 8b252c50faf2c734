//! A name server for tests: answers by UDP and TCP as a function says.

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::discovery::dns) enum By {
    Udp,
    Tcp,
}

/// What the server does; [`By::Udp`] comes first.
pub(in crate::discovery::dns) enum Act {
    Say(RCODE, Vec<RData<'static>>),
    /// Sets the flag that says that there is more.
    Cut(Vec<RData<'static>>),
    /// Answers with another id first.
    Confuse(Vec<RData<'static>>),
    /// Answers as if another name had been asked for.
    Mistake(Vec<RData<'static>>),
    Garbage,
    Silence,
}

type Acting = dyn Fn(&str, By) -> Act + Send + Sync;

/// A server that answers until the process ends. By TCP it closes the connection where it keeps silent.
pub(in crate::discovery::dns) fn server(act: impl Fn(&str, By) -> Act + Send + Sync + 'static) -> SocketAddr {
    server_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), act)
}

/// The same, at `address`.
pub(in crate::discovery::dns) fn server_at(
    address: SocketAddr,
    act: impl Fn(&str, By) -> Act + Send + Sync + 'static,
) -> SocketAddr {
    let act: Arc<Acting> = Arc::new(act);
    let udp = UdpSocket::bind(address).unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).unwrap();
    let by_udp = Arc::clone(&act);
    spawn(move || {
        let mut question = [0; 512];
        while let Ok((n_read, client)) = udp.recv_from(&mut question) {
            for reply in replies(&question[..n_read], &*by_udp, By::Udp) {
                udp.send_to(&reply, client).unwrap();
            }
        }
    });
    spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut question).unwrap();
            for reply in replies(&question, &*act, By::Tcp) {
                let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
                // In two pieces.
                stream.write_all(&[&len[..], &reply[..5]].concat()).unwrap();
                stream.write_all(&reply[5..]).unwrap();
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
    let reply = |id: u16, rcode: RCODE, records: Vec<RData<'static>>, is_cut: bool| {
        let mut reply = Packet::new_reply(id);
        *reply.rcode_mut() = rcode;
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
    match act(&name, by) {
        Act::Say(rcode, records) => vec![reply(id, rcode, records, false)],
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
