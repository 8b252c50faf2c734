//! The source on a thread as the manager runs it, with a `resolv.conf` and name servers of the tests' own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use simple_dns::rdata::{A, CNAME, RData};
use simple_dns::{Name, RCODE};
use tempfile::TempDir;

use crate::config::discovery::dns::{DnsRecordType, DnsSdConfig};
use crate::discovery::discoverer::{Discoverer, GroupSender, Update};
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::dns::DnsSource;
use crate::discovery::refresh::Refresher;
use scraped_engine::threads::stop::{Stopper, stop_pair};
use support::discovery::name_server::{Act, By, server, server_at};

const PATIENCE: Duration = Duration::from_secs(60);

type Acting = Arc<dyn Fn(&str, By) -> Act + Send + Sync>;

/// A name server that can be made to answer differently.
struct Server {
    address: SocketAddr,
    act: Arc<Mutex<Acting>>,
}

impl Server {
    fn start() -> Self {
        let act: Arc<Mutex<Acting>> = Arc::new(Mutex::new(Arc::new(|_: &str, _| Act::Silence)));
        let acting = Arc::clone(&act);
        let address = server(move |asked| {
            let act = Arc::clone(&*acting.lock().unwrap());
            act(asked.name, asked.by)
        });
        Self { address, act }
    }

    fn set(&self, act: impl Fn(&str, By) -> Act + Send + Sync + 'static) {
        *self.act.lock().unwrap() = Arc::new(act);
    }
}

/// A source that runs.
struct Running {
    dir: TempDir,
    updates: Receiver<Update>,
    metrics: Arc<DiscoveryMetrics>,
    _stopper: Stopper,
}

impl Running {
    fn start(names: &[&str], server_port: u16, resolv_conf: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write(&path, resolv_conf).unwrap();
        let config = DnsSdConfig {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            refresh_interval: Duration::from_millis(50),
            record_type: DnsRecordType::A,
            port: 9100,
        };
        let metrics = Arc::new(DiscoveryMetrics::default());
        let source =
            DnsSource { resolv_conf: path, server_port, ..DnsSource::new(&config, Arc::clone(&metrics)) };
        let (stopper, stop) = stop_pair();
        let (sender, updates) = bounded(0);
        let mut groups = GroupSender { provider: 0, updates: sender, stop: stop.clone(), keeper: None };
        let refresher = Box::new(Refresher {
            source,
            interval: config.refresh_interval,
            job: "dns".to_owned(),
            metrics: Arc::clone(&metrics),
        });
        thread::Builder::new().spawn(move || refresher.run(&mut groups, &stop)).unwrap();
        Self { dir, updates, metrics, _stopper: stopper }
    }

    fn next(&self) -> String {
        let groups = self.updates.recv_timeout(PATIENCE).unwrap().groups;
        let text = |group: &Arc<crate::discovery::target_group::TargetGroup>| {
            let addresses: Vec<&str> = group.targets.iter().map(|it| it.get("__address__")).collect();
            format!("{}: {}", group.source, addresses.join(" ")).trim_end().to_owned()
        };
        groups.iter().map(text).collect::<Vec<String>>().join("; ")
    }

    /// Waits for `want`; nothing but what was there `before` may come until then.
    fn expect(&self, before: &str, want: &str) {
        loop {
            let next = self.next();
            if next == want {
                return;
            }
            assert_eq!(next, before, "on the way to {want}");
        }
    }

    /// So many lookups fail from now on.
    fn failures(&self, n: u64) {
        let before = self.metrics.dns_lookup_failures.get();
        let failed = || self.metrics.dns_lookup_failures.get() - before;
        while failed() < n {
            let _ = self.updates.recv_timeout(Duration::from_millis(10));
        }
    }
}

fn address(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) })
}

fn say(last: u8) -> Act {
    Act::Say(RCODE::NoError, vec![address(last)])
}

#[test]
fn targets_stay_whatever_the_server_does_until_it_answers() {
    let server = Server::start();
    let conf = "nameserver 127.0.0.1\nsearch nowhere.example\n";
    server.set(|_, _| Act::Say(RCODE::ServerFailure, Vec::new()));
    let running = Running::start(&["box.example"], server.address.port(), conf);
    running.failures(2);
    server.set(|_, _| say(1));
    // Nothing was said before the first answer.
    assert_eq!(running.next(), "box.example: 10.0.0.1:9100");
    let bad: [fn(&str, By) -> Act; 8] = [
        |_, _| Act::Say(RCODE::ServerFailure, Vec::new()),
        |_, _| Act::Say(RCODE::Refused, Vec::new()),
        |_, _| Act::Say(RCODE::FormatError, Vec::new()),
        |_, _| Act::Garbage,
        |_, _| Act::Mistake(vec![address(66)]),
        |_, _| Act::Silence,
        // Truncated, and the rest is not to be had.
        |_, by| if by == By::Udp { Act::Cut(vec![address(66)]) } else { Act::Silence },
        |_, by| if by == By::Udp { Act::Cut(vec![address(66)]) } else { Act::Garbage },
    ];
    for (n, act) in (2_u8..).zip(bad) {
        let before = format!("box.example: 10.0.0.{}:9100", n - 1);
        server.set(act);
        running.failures(2);
        server.set(move |_, _| say(n));
        running.expect(&before, &format!("box.example: 10.0.0.{n}:9100"));
    }
    // That there is no such name is an answer.
    server.set(|_, _| Act::Say(RCODE::NameError, Vec::new()));
    running.expect("box.example: 10.0.0.9:9100", "box.example:");
}

#[test]
fn a_server_that_flaps_takes_nothing_away() {
    static N_ASKED: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start();
    server.set(|_, _| match N_ASKED.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => say(1),
        1 => Act::Say(RCODE::ServerFailure, Vec::new()),
        _ => Act::Garbage,
    });
    let running = Running::start(&["box."], server.address.port(), "nameserver 127.0.0.1\n");
    for _ in 0..20 {
        assert_eq!(running.next(), "box.: 10.0.0.1:9100");
    }
    assert!(running.metrics.dns_lookup_failures.get() > 0);
}

#[test]
fn large_answers_come_by_tcp_and_aliases_are_passed_over() {
    let server = Server::start();
    let many = || -> Vec<RData<'static>> {
        let alias = RData::CNAME(CNAME(Name::new("other.example").unwrap()));
        let addresses = (0..2000_u32).map(|n| RData::A(A { address: 0x0a00_0000 + n }));
        std::iter::once(alias).chain(addresses).collect()
    };
    server.set(move |_, by| match by {
        By::Udp => Act::Cut(Vec::new()),
        By::Tcp => Act::Say(RCODE::NoError, many()),
    });
    let running = Running::start(&["box.example."], server.address.port(), "nameserver 127.0.0.1\n");
    let targets = running.next();
    assert_eq!(targets.split_ascii_whitespace().count(), 1 + 2000);
    assert!(targets.starts_with("box.example.: 10.0.0.0:9100 ") && targets.ends_with(" 10.0.7.207:9100"));
}

#[test]
fn each_name_is_on_its_own_and_is_searched_for() {
    let server = Server::start();
    server.set(|name, _| match name {
        "one.site.example" => say(1),
        "two.site.example" => Act::Say(RCODE::ServerFailure, Vec::new()),
        _ => Act::Say(RCODE::NameError, Vec::new()),
    });
    let conf = "nameserver 127.0.0.1\nsearch other.example site.example\noptions ndots:2\n";
    let running = Running::start(&["one", "two", "three"], server.address.port(), conf);
    assert_eq!(running.next(), "one: 10.0.0.1:9100; three:");
    server.set(|name, _| match name {
        "two.site.example" => say(2),
        "three" => say(3),
        _ => Act::Say(RCODE::NameError, Vec::new()),
    });
    loop {
        let next = running.next();
        if next == "one:; two: 10.0.0.2:9100; three: 10.0.0.3:9100" {
            break;
        }
    }
}

/// Servers at these addresses, all with one port.
fn servers<const N: usize>(hosts: [IpAddr; N], act: fn(usize) -> Act) -> u16 {
    let port = loop {
        let port = server(|_| Act::Silence).port();
        let is_free = |host: &IpAddr| std::net::UdpSocket::bind((*host, port)).is_ok();
        if hosts.iter().all(is_free) {
            break port;
        }
    };
    for (idx, host) in hosts.into_iter().enumerate() {
        server_at(SocketAddr::new(host, port), move |_| act(idx));
    }
    port
}

#[test]
fn the_first_server_that_can_answer_does_and_the_file_is_read_anew() {
    let second = Ipv4Addr::new(127, 0, 0, 2).into();
    let port = servers([second, Ipv6Addr::LOCALHOST.into()], |idx| match idx {
        0 => Act::Say(RCODE::Refused, Vec::new()),
        _ => say(6),
    });
    // No one is at the first, the second refuses, the third speaks IPv6.
    let conf = "nameserver 127.0.0.77\nnameserver 127.0.0.2\nnameserver ::1\n";
    let running = Running::start(&["box."], port, conf);
    assert_eq!(running.next(), "box.: 10.0.0.6:9100");
    fs::write(running.dir.path().join("resolv.conf"), "nameserver 127.0.0.2\n").unwrap();
    running.failures(2);
    fs::remove_file(running.dir.path().join("resolv.conf")).unwrap();
    let page = || running.metrics.refresh_failures.with(&["dns", "dns"]).get();
    while page() < 2 {
        let _ = running.updates.recv_timeout(Duration::from_millis(10));
    }
    fs::write(running.dir.path().join("resolv.conf"), "nameserver ::1\n").unwrap();
    assert_eq!(running.next(), "box.: 10.0.0.6:9100");
}
