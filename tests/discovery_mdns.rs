//! `mdns_sd_configs`: two neighbours on loopback, which come, say little, lie and go.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has to fail")]

mod sd_support;
mod support;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sd_support::Discovery;
use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, QTYPE, ResourceRecord, TYPE};
use socket2::{Domain, SockAddr, Socket, Type};

const JOB: &str =
    "- job_name: mdns\n  mdns_sd_configs: [{interfaces: [127.0.0.1], refresh_interval: 200ms, SETTINGS}]\n";

/// What a neighbour has to say; each record is given to whoever asks for it, or with the first answer.
#[derive(Clone)]
struct Neighbour {
    service: &'static str,
    instance: &'static str,
    host: &'static str,
    port: u16,
    texts: &'static [&'static str],
    ttl: u32,
    /// Everything at once, or only what was asked for.
    is_generous: bool,
}

impl Neighbour {
    fn records(&self) -> Vec<(TYPE, ResourceRecord<'static>)> {
        let name = |text: &str| Name::new(text).expect("a name").into_owned();
        let (service, instance) =
            (format!("{}.local", self.service), format!("{}.{}.local", self.instance, self.service));
        let record = |owner: &str, data| ResourceRecord::new(name(owner), CLASS::IN, self.ttl, data);
        let mut txt = TXT::new();
        self.texts.iter().for_each(|text| txt.add_string(text).expect("a short text"));
        let a =
            A { address: u32::from_be_bytes([10, 0, 0, if self.host == "Attic.local" { 100 } else { 101 }]) };
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

/// A responder until it is dropped; `None` says nothing at all.
struct Responder(Arc<Mutex<Option<Neighbour>>>);

impl Responder {
    fn start(neighbour: Option<Neighbour>) -> Self {
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

    fn say(&self, neighbour: Option<Neighbour>) {
        *self.0.lock().expect("not poisoned") = neighbour;
    }
}

fn attic() -> Neighbour {
    Neighbour {
        service: "_prometheus-http._tcp",
        instance: "Attic sensor",
        host: "Attic.local",
        port: 9100,
        texts: &["path=/sensor/metrics", "room=attic", "flag"],
        ttl: 120,
        is_generous: true,
    }
}

fn cellar() -> Neighbour {
    Neighbour {
        instance: "cellar",
        host: "cellar.local",
        port: 9101,
        texts: &[],
        is_generous: false,
        ..attic()
    }
}

const ATTIC: &str = concat!(
    r#"10.0.0.100:9100{__meta_mdns_host="attic.local", __meta_mdns_instance="Attic sensor", __meta_mdns_port="9100", "#,
    r#"__meta_mdns_txt_path="/sensor/metrics", __meta_mdns_txt_room="attic", __metrics_path__="/sensor/metrics", "#,
    r#"__meta_mdns_service="_prometheus-http._tcp"}"#,
);

const CELLAR: &str = concat!(
    r#"10.0.0.101:9101{__meta_mdns_host="cellar.local", __meta_mdns_instance="cellar", __meta_mdns_port="9101", "#,
    r#"__meta_mdns_service="_prometheus-http._tcp"}"#,
);

/// One test: the port of mDNS is there once, and every responder on loopback hears every question.
#[test]
fn neighbours_come_and_go() {
    let first = Responder::start(Some(attic()));
    let second = Responder::start(None);
    let discovery = Discovery::start(&JOB.replace(", SETTINGS", ""), &[]);
    discovery.expect(&format!("mdns: {ATTIC}"));
    // A second one, which has to be asked for every record.
    second.say(Some(cellar()));
    discovery.expect(&format!("mdns: {ATTIC} {CELLAR}"));
    // What it said stays good for as long as it said; a record of no duration takes it back.
    first.say(None);
    second.say(Some(Neighbour { port: 9102, ..cellar() }));
    let moved =
        CELLAR.replace("10.0.0.101:9101", "10.0.0.101:9102").replace("port=\"9101\"", "port=\"9102\"");
    discovery.expect(&format!("mdns: {ATTIC} {moved}"));
    first.say(Some(Neighbour { ttl: 0, ..attic() }));
    discovery.expect(&format!("mdns: {moved}"));
    second.say(Some(Neighbour { ttl: 1, ..cellar() }));
    let lines = [format!("mdns: {CELLAR}"), format!("mdns: {moved}")];
    assert!(lines.contains(&discovery.next()));
    first.say(None);
    second.say(None);
    discovery.expect("mdns:");
    // Other services are not looked for.
    first.say(Some(Neighbour { service: "_http._tcp", ..attic() }));
    discovery.reload(&JOB.replace("SETTINGS", "services: [_printer._udp, _http._tcp]"));
    discovery.expect(&format!("mdns: {}", ATTIC.replace("_prometheus-http._tcp", "_http._tcp")));
    discovery.handle.stop();
}
