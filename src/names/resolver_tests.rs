//! Against name servers of the tests' own, with files of the tests' own.

use super::{Failure, NO_SUCH_HOST, Resolver, is_localhost, is_name};
use crate::names::address::Address;
use simple_dns::rdata::{A, AAAA, CNAME, RData};
use simple_dns::{Name, RCODE, TYPE};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::discovery::name_server::{Act, Asked, By, server, server_at};
use tempfile::TempDir;

type Acting = fn(&Asked<'_>) -> Act;

fn a(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) })
}

fn aaaa(last: u8) -> RData<'static> {
    RData::AAAA(AAAA { address: (0xfd00 << 112) | u128::from(last) })
}

fn alias(target: &'static str) -> RData<'static> {
    RData::CNAME(CNAME(Name::new(target).unwrap()))
}

fn found(records: Vec<RData<'static>>) -> Act {
    Act::Say(RCODE::NoError, records)
}

fn nowhere() -> Act {
    Act::Say(RCODE::NameError, Vec::new())
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("forger".to_owned()).spawn(run).unwrap();
}

/// Files, and servers at 127.0.0.1 and what follows it.
struct System {
    dir: TempDir,
    resolver: Resolver,
    port: u16,
}

impl System {
    fn new(servers: &[SocketAddr], options: &str, hosts: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let port = servers.first().map_or(1, SocketAddr::port);
        let resolver = Resolver::of_files(dir.path().join("hosts"), dir.path().join("resolv.conf"), port);
        let system = Self { dir, resolver, port };
        fs::write(system.dir.path().join("hosts"), hosts).unwrap();
        system.set_conf(servers, options);
        system
    }

    fn set_conf(&self, servers: &[SocketAddr], options: &str) {
        let lines: String = servers.iter().map(|server| format!("nameserver {}\n", server.ip())).collect();
        fs::write(self.dir.path().join("resolv.conf"), lines + options).unwrap();
    }

    /// Addresses, or the error with S1 and S2 for the servers and without the port that asked.
    fn look_up(&self, host: &str) -> Result<String, String> {
        let shown = |found: Vec<Address>| found.iter().map(Address::to_string).collect::<Vec<_>>().join(" ");
        self.resolver.look_up(host).map(shown).map_err(|failure: Failure| {
            let mut text = format!("lookup {host}{failure}");
            for n in 1..4 {
                text = text.replace(&format!("127.0.0.{n}:{}", self.port), &format!("S{n}"));
            }
            match (text.find("127.0.0.1:"), text.find("->")) {
                (Some(start), Some(end)) => format!("{}ME{}", &text[..start], &text[end..]),
                _ => text,
            }
        })
    }

    fn check(&self, host: &str, want: Result<&str, &str>) {
        assert_eq!(self.look_up(host), want.map(str::to_owned).map_err(str::to_owned), "{host}");
    }
}

/// Servers at 127.0.0.1 and the addresses behind it, with one port.
fn servers(acts: Vec<Acting>) -> Vec<SocketAddr> {
    let hosts: Vec<Ipv4Addr> = (1..=acts.len()).map(|last| Ipv4Addr::new(127, 0, 0, last as u8)).collect();
    let port = loop {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let is_free = |host: &Ipv4Addr| {
            UdpSocket::bind((*host, port)).is_ok() && std::net::TcpListener::bind((*host, port)).is_ok()
        };
        if hosts.iter().all(is_free) {
            break port;
        }
    };
    hosts.iter().zip(acts).map(|(host, act)| server_at((*host, port).into(), act)).collect()
}

#[test]
fn this_machine_knows_its_own_names() {
    let asked = server(|_| panic!("nobody is asked"));
    let hosts = "10.0.0.7 box.lan Box\n10.0.0.8 box.lan\nfe80::7%lo box.lan\n10.0.0.9 printer.local\n";
    let system = System::new(&[asked], "", hosts);
    let here = system.look_up("localhost").unwrap();
    assert!(["127.0.0.1 ::1", "::1 127.0.0.1"].contains(&here.as_str()), "{here}");
    for host in ["LOCALHOST", "localhost.", "a.b.localhost", "Grafana.Localhost."] {
        system.check(host, Ok(&here));
    }
    system.check("BOX", Ok("10.0.0.7"));
    system.check("printer.local", Ok("10.0.0.9"));
    let mut of_box: Vec<String> = system.look_up("box.lan.").unwrap().split(' ').map(str::to_owned).collect();
    of_box.sort();
    assert_eq!(of_box, ["10.0.0.7", "10.0.0.8", "fe80::7%lo"]);
    // What is no name is not asked for.
    for host in
        ["127.1", "2130706433", "127.0.0.1.", "a b", "a..b", ".b", "-a", "a-", "a%b", "küche", "x.onion", ""]
    {
        system.check(host, Err(&format!("lookup {host}: no such host")));
    }
    // What changes holds at once.
    fs::write(system.dir.path().join("hosts"), "127.0.0.5 localhost\n10.0.0.6 box\n").unwrap();
    system.check("localhost", Ok("127.0.0.5"));
    system.check("box", Ok("10.0.0.6"));
}

#[test]
fn names_of_the_tests_are_told_apart() {
    for name in ["box", "my_host.lan", "0x7f.1", "a-b.c", "xn--kche-0ra.lan", "1.a", "box.lan."] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", ".", "1.2.3", "a.", "a..b", "a b", "ü", &"a".repeat(64), &"a.".repeat(200)] {
        assert_eq!(is_name(name), name == "a.", "{name}");
    }
    assert!(!is_localhost("localhost.lan") && !is_localhost("xlocalhost") && !is_localhost(".localhost"));
}

#[test]
fn both_families_are_asked_side_by_side_and_aliases_are_followed() {
    let system = System::new(
        &servers(vec![|asked| match (asked.name, asked.record_type) {
            ("both.lan", TYPE::A) => found(vec![a(1), a(2)]),
            ("both.lan", _) => found(vec![aaaa(1)]),
            ("six.lan", TYPE::AAAA) => found(vec![aaaa(6)]),
            ("six.lan", _) => found(vec![]),
            // In any order, and with what was not asked for.
            ("alias.lan", TYPE::A) => Act::Tell(vec![
                ("b.lan", a(9)),
                ("Alias.lan", alias("A.lan")),
                ("evil.lan", a(66)),
                ("a.LAN", alias("b.lan")),
            ]),
            ("wrong.lan", TYPE::A) => Act::Tell(vec![("other.lan", a(66)), ("wrong.lan", aaaa(66))]),
            ("loop.lan", TYPE::A) => Act::Tell(vec![
                ("loop.lan", alias("pool.lan")),
                ("pool.lan", alias("loop.lan")),
                ("x.lan", a(66)),
            ]),
            ("self.lan", _) => Act::Tell(vec![("self.lan", alias("self.lan"))]),
            ("dead.lan", _) => Act::Tell(vec![("dead.lan", alias("nowhere.lan"))]),
            _ => nowhere(),
        }]),
        "",
        "",
    );
    let mut both: Vec<String> = system.look_up("both.lan").unwrap().split(' ').map(str::to_owned).collect();
    both.sort();
    assert_eq!(both, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    system.check("six.lan", Ok("fd00::6"));
    system.check("alias.lan", Ok("10.0.0.9"));
    for host in ["wrong.lan", "loop.lan", "self.lan", "dead.lan", "nowhere.lan"] {
        system.check(host, Err(&format!("lookup {host} on S1: no such host")));
    }
}

#[test]
fn the_search_list_and_ndots_say_what_is_asked_for() {
    static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let all = servers(vec![|asked| {
        if asked.record_type == TYPE::A {
            ASKED.lock().unwrap().push(asked.name.to_owned());
        }
        match asked.name {
            "box.site.lan" => found(vec![a(1)]),
            "two.dots.site.lan" => found(vec![a(2)]),
            "trouble.lan" => Act::Say(RCODE::ServerFailure, vec![]),
            "trouble.site.lan" => found(vec![a(3)]),
            _ => nowhere(),
        }
    }]);
    let system = System::new(&all, "search lan site.lan\n", "");
    let asked = |host: &str, want: Result<&str, &str>, names: &[&str]| {
        ASKED.lock().unwrap().clear();
        system.check(host, want);
        assert_eq!(*ASKED.lock().unwrap(), names);
    };
    asked("box", Ok("10.0.0.1"), &["box.lan", "box.site.lan"]);
    asked("box.", Err("lookup box. on S1: no such host"), &["box"]);
    asked("two.dots", Ok("10.0.0.2"), &["two.dots", "two.dots.lan", "two.dots.site.lan"]);
    asked("none", Err("lookup none on S1: no such host"), &["none.lan", "none.site.lan", "none"]);
    asked("trouble", Ok("10.0.0.3"), &["trouble.lan", "trouble.lan", "trouble.site.lan"]);
    system.set_conf(&all, "search lan site.lan\noptions ndots:2\n");
    asked("two.dots", Ok("10.0.0.2"), &["two.dots.lan", "two.dots.site.lan"]);
    system.set_conf(&all, "domain site.lan\noptions no-aaaa\n");
    asked("box", Ok("10.0.0.1"), &["box.site.lan"]);
}

#[test]
fn the_next_server_is_asked_when_one_has_no_answer() {
    let bad: [(&str, Acting); 4] = [
        ("server misbehaving", |_| Act::Say(RCODE::ServerFailure, vec![])),
        ("server misbehaving", |_| Act::Say(RCODE::Refused, vec![])),
        ("server misbehaving", |_| Act::Say(RCODE::FormatError, vec![])),
        ("lame referral", |_| Act::Refer),
    ];
    for (words, act) in bad {
        let both = servers(vec![act, |_| found(vec![a(2)])]);
        let system = System::new(&both, "options attempts:1\n", "");
        system.check("box.lan", Ok("10.0.0.2"));
        system.set_conf(&both[..1], "options attempts:1\n");
        system.check("box.lan", Err(&format!("lookup box.lan on S1: {words}")));
    }
    // That there is no such name is known from the first that says it.
    let both = servers(vec![|_| nowhere(), |_| found(vec![a(2)])]);
    System::new(&both, "", "").check("box.lan", Err("lookup box.lan on S1: no such host"));
    // No one is there at all.
    let closed = SocketAddr::from(([127, 0, 0, 1], servers(vec![|_| nowhere()])[0].port()));
    let system = System::new(&[closed], "options attempts:1\n", "");
    let gone = Resolver::of_files(system.dir.path().join("hosts"), system.dir.path().join("resolv.conf"), {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    });
    let cause = gone.look_up("box.lan").unwrap_err().cause;
    assert!(
        cause.starts_with("read udp 127.0.0.1:") && cause.ends_with(": read: connection refused"),
        "{cause}"
    );
}

#[test]
fn a_silent_server_costs_its_timeout_once() {
    static N_ASKED: AtomicUsize = AtomicUsize::new(0);
    let both = servers(vec![
        |_| {
            N_ASKED.fetch_add(1, Ordering::SeqCst);
            Act::Silence
        },
        |_| found(vec![a(2)]),
    ]);
    let system = System::new(&both, "options timeout:1 attempts:1\n", "");
    let start = Instant::now();
    system.check("box.lan", Ok("10.0.0.2"));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    let before = N_ASKED.load(Ordering::SeqCst);
    system.check("other.lan", Ok("10.0.0.2"));
    assert_eq!(N_ASKED.load(Ordering::SeqCst), before, "asked last from then on");
    system.set_conf(&both[..1], "options timeout:1 attempts:2\n");
    let start = Instant::now();
    system.check("box.lan", Err("lookup box.lan on S1: read udp ME->S1: i/o timeout"));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_swallows_one_family_does_not_hold_up_the_other() {
    let one = servers(vec![|asked| match asked.record_type {
        TYPE::A => found(vec![a(1)]),
        _ => Act::Silence,
    }]);
    let system = System::new(&one, "options timeout:20 attempts:3\n", "");
    let start = Instant::now();
    system.check("box.lan", Ok("10.0.0.1"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn servers_take_turns_if_they_are_to() {
    let both = servers(vec![|_| found(vec![a(1)]), |_| found(vec![a(2)])]);
    let system = System::new(&both, "options rotate\n", "");
    let told: Vec<String> = (0..4).map(|_| system.look_up("box.lan").unwrap()).collect();
    assert_eq!(told, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    system.set_conf(&both, "");
    assert!((0..4).all(|_| system.look_up("box.lan").unwrap() == "10.0.0.1"));
}

#[test]
fn what_does_not_fit_comes_by_tcp() {
    let many = |n: u8| (1..=n).map(a).collect::<Vec<_>>();
    let cut = server(move |asked| match (asked.by, asked.record_type) {
        (By::Udp, TYPE::A) => Act::Cut(many(3)),
        (By::Tcp, TYPE::A) => found(many(60)),
        _ => found(vec![]),
    });
    let system = System::new(&[cut], "", "");
    assert_eq!(system.look_up("box.lan").unwrap().split(' ').count(), 60);
    let only_tcp = server(move |asked| match (asked.by, asked.record_type) {
        (By::Udp, _) => panic!("asked by UDP"),
        (By::Tcp, TYPE::A) => found(many(2)),
        _ => found(vec![]),
    });
    System::new(&[only_tcp], "options use-vc\n", "").check("box.lan", Ok("10.0.0.1 10.0.0.2"));
    // Cut for ever, closed, nonsense, and more than anybody needs.
    let acts: [(&str, Acting); 4] = [
        ("got truncated message on TCP", |_| Act::Cut(vec![a(1)])),
        ("EOF", |_| Act::Silence),
        ("cannot unmarshal DNS message", |_| Act::Garbage),
        ("an answer of", |_| found((0..1500).map(|n| a(n as u8)).collect())),
    ];
    for (words, act) in acts {
        let bad = server(move |asked| match asked.by {
            By::Udp => Act::Cut(vec![a(1)]),
            By::Tcp => act(asked),
        });
        let error = System::new(&[bad], "options attempts:1 timeout:2\n", "").look_up("box.lan").unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn forged_answers_are_not_taken() {
    let flooding = server(|asked| match asked.record_type {
        TYPE::A => Act::Flood(vec![a(66)], vec![a(1)]),
        _ => Act::Flood(vec![aaaa(66)], vec![]),
    });
    let system = System::new(&[flooding], "", "");
    system.check("box.lan", Ok("10.0.0.1"));
    // Another machine that sees the question and answers first, from an address that was not asked.
    let asked = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = asked.local_addr().unwrap();
    spawn(move || {
        let forger = UdpSocket::bind("127.0.0.2:0").unwrap();
        let mut question = [0; 512];
        while let Ok((n_read, client)) = asked.recv_from(&mut question) {
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0];
            let mut reply = question[..n_read].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            reply[6..8].copy_from_slice(&[0, 1]);
            let is_a = reply[n_read - 4..n_read - 2] == [0, 1];
            let forged = [&reply[..], &record, &[66]].concat();
            let _ = forger.send_to(&forged, client);
            std::thread::sleep(Duration::from_millis(50));
            let _ = asked.send_to(&[&reply[..], &record, &[1]].concat(), client).map(|_| is_a);
        }
    });
    let system = System::new(&[address], "options no-aaaa\n", "");
    system.check("box.lan", Ok("10.0.0.1"));
}

#[test]
fn questions_differ_in_id_and_port() {
    let seen: Arc<Mutex<Vec<(u16, u16)>>> = Arc::default();
    let asked = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (address, seeing) = (asked.local_addr().unwrap(), Arc::clone(&seen));
    spawn(move || {
        let mut question = [0; 512];
        while let Ok((n_read, client)) = asked.recv_from(&mut question) {
            seeing.lock().unwrap().push((u16::from_be_bytes([question[0], question[1]]), client.port()));
            let mut reply = question[..n_read].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x83]);
            let _ = asked.send_to(&reply, client);
        }
    });
    let system = System::new(&[address], "", "");
    for _ in 0..50 {
        system.check("box.lan", Err("lookup box.lan on S1: no such host"));
    }
    let seen = seen.lock().unwrap();
    let distinct = |values: Vec<u16>| values.into_iter().collect::<std::collections::BTreeSet<u16>>().len();
    assert_eq!(seen.len(), 100);
    assert!(distinct(seen.iter().map(|it| it.0).collect()) > 90, "{seen:?}");
    assert!(distinct(seen.iter().map(|it| it.1).collect()) > 50, "{seen:?}");
}

#[test]
fn only_one_label_under_local_goes_to_the_link() {
    let asked = server(|asked| match (asked.name, asked.record_type) {
        ("nobody.local" | "x.svc.cluster.local", TYPE::A) => found(vec![a(1)]),
        _ => nowhere(),
    });
    let system = System::new(&[asked], "", "");
    let start = Instant::now();
    for _ in 0..20 {
        system.check("x.svc.cluster.local", Ok("10.0.0.1"));
        system.check("y.corp.local", Err("lookup y.corp.local on S1: no such host"));
    }
    // Waiting for the link once takes 750 ms.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Where no one on the link answers, the name server may know.
    system.check("nobody.local", Ok("10.0.0.1"));
    let error = system.look_up("no-such-box.local").unwrap_err();
    assert!(error.starts_with("lookup no-such-box.local on S1: no such host"), "{error}");
    assert_eq!(Failure::no_such_host().cause, NO_SUCH_HOST);
}
