//! A neighbour on loopback that answers questions of multicast DNS.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, QTYPE, ResourceRecord, TYPE};
use socket2::{Domain, SockAddr, Socket, Type};

/// What a neighbour has to say; each record is given to whoever asks for it, or with the first answer.
#[derive(Clone)]
pub struct Neighbour {
    /// `_kind._tcp.local`.
    pub service: &'static str,
    /// Its name within the service.
    pub instance: &'static str,
    /// `host.local`.
    pub host: &'static str,
    /// Of the host.
    pub address: Ipv4Addr,
    /// Of the service.
    pub port: u16,
    /// `key=value`, one for each string of the TXT record.
    pub texts: &'static [&'static str],
    /// Of all its records, in seconds.
    pub ttl: u32,
    /// Everything at once, or only what was asked for.
    pub is_generous: bool,
}

impl Neighbour {
    fn records(&self) -> Vec<(TYPE, ResourceRecord<'static>)> {
        let name = |text: &str| Name::new(text).expect("a name").into_owned();
        let (service, instance) =
            (format!("{}.local", self.service), format!("{}.{}.local", self.instance, self.service));
        let record = |owner: &str, data| ResourceRecord::new(name(owner), CLASS::IN, self.ttl, data);
        let mut txt = TXT::new();
        self.texts.iter().for_each(|text| txt.add_string(text).expect("a short text"));
        let a = A { address: self.address.into() };
        let aaaa = AAAA { address: 0xfe80 << 112 | 1 };
        vec![
            (TYPE::PTR, record(&service, RData::PTR(PTR(name(&instance))))),
            (
                TYPE::SRV,
                record(
                    &instance,
                    RData::SRV(SRV { priority: 0, weight: 0, port: self.port, target: name(self.host) }),
                ),
            ),
            (TYPE::TXT, record(&instance, RData::TXT(txt))),
            (TYPE::A, record(self.host, RData::A(a))),
            (TYPE::AAAA, record(self.host, RData::AAAA(aaaa))),
        ]
    }

    fn answer(&self, question: &Packet<'_>) -> Option<Vec<u8>> {
        let mut reply = Packet::new_reply(question.id());
        for (kind, record) in self.records() {
            let is_asked = question.questions.iter().any(|asked| {
                asked.qtype == QTYPE::TYPE(kind)
                    && asked.qname.to_string().eq_ignore_ascii_case(&record.name.to_string())
            });
            match is_asked {
                true => reply.answers.push(record),
                false if self.is_generous => reply.additional_records.push(record),
                false => {}
            }
        }
        (!reply.answers.is_empty()).then(|| reply.build_bytes_vec().expect("a packet"))
    }
}

/// Held by a test while it has responders: those of another test would hear its questions.
pub fn link() -> MutexGuard<'static, ()> {
    static LINK: Mutex<()> = Mutex::new(());
    LINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A responder until it is dropped; `None` says nothing at all.
pub struct Responder(Arc<Mutex<Option<Neighbour>>>);

impl Responder {
    /// Answers questions on loopback from now on.
    pub fn start(neighbour: Option<Neighbour>) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        // Every responder of a machine has this port.
        socket.set_reuse_address(true).expect("an option");
        let group = Ipv4Addr::new(224, 0, 0, 251);
        socket.bind(&SockAddr::from(SocketAddrV4::new(group, 5353))).expect("the port of mDNS");
        socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).expect("multicast on loopback");
        let socket: UdpSocket = socket.into();
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("an option");
        let said = Arc::new(Mutex::new(neighbour));
        let says = Arc::downgrade(&said);
        let serve = move || {
            let mut bytes = [0; 9000];
            while let Some(neighbour) = says.upgrade() {
                let Ok((n_read, from)) = socket.recv_from(&mut bytes) else { continue };
                let question = Packet::parse(&bytes[..n_read]).expect("a question that can be read");
                let neighbour = neighbour.lock().expect("not poisoned").clone();
                if let Some(reply) = neighbour.and_then(|it| it.answer(&question)) {
                    socket.send_to(&reply, from).expect("loopback");
                    // And something that is no packet at all.
                    socket.send_to(&reply[..reply.len() / 2], from).expect("loopback");
                }
            }
        };
        thread::Builder::new().name("responder".to_owned()).spawn(serve).expect("a thread");
        Self(said)
    }

    /// Changes what it answers.
    pub fn say(&self, neighbour: Option<Neighbour>) {
        *self.0.lock().expect("not poisoned") = neighbour;
    }
}
