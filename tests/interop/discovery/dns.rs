//! `dns_sd_configs` against a real Prometheus: both ask name servers of the test's own.
//!
//! Name servers have port 53 and stand in `/etc/resolv.conf`: the test runs itself once more in a network and file system
//! of its own, which needs no root (`unshare`). Where that cannot be had it says so and tests nothing.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};

use simple_dns::rdata::{A, AAAA, CNAME, MX, NS, RData, SRV, TXT};
use simple_dns::{Name, RCODE, TYPE};
use support::discovery::name_server::{Act, Asked, By, server_at};
use support::peers::differential::Both;
use support::system::own_network::{Files, runs_elsewhere};

const FILES: Files<'_> = Files { hosts: "127.0.0.1 localhost\n", resolv_conf: RESOLV_CONF };

const RESOLV_CONF: &str = "\
# made by hand
nameserver 127.0.0.1
  nameserver 127.0.0.2
domain nowhere.example
search site.example other.example.
options timeout:1 ndots:2
";

const LOOKUPS: &str = "prometheus_sd_dns_lookups_total";

fn name(text: &'static str) -> Name<'static> {
    Name::new(text).expect("a name")
}

fn a(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) })
}

fn aaaa(text: &str) -> RData<'static> {
    RData::AAAA(AAAA { address: text.parse::<Ipv6Addr>().expect("an address").to_bits() })
}

fn srv(target: &'static str, port: u16) -> RData<'static> {
    RData::SRV(SRV { priority: 1, weight: 2, port, target: name(target) })
}

fn mx(exchange: &'static str) -> RData<'static> {
    RData::MX(MX { preference: 1, exchange: name(exchange) })
}

fn ns(server: &'static str) -> RData<'static> {
    RData::NS(NS(name(server)))
}

fn found(records: &[RData<'static>]) -> Act {
    Act::Say(RCODE::NoError, records.to_vec())
}

/// Name and type → what the first server does; `NXDOMAIN` for all others. What it fails at the second server knows.
type Zone = Arc<Mutex<BTreeMap<(String, u16), Act>>>;

fn set(zone: &Zone, name: &str, record_type: TYPE, act: Act) {
    zone.lock().expect("not poisoned").insert((name.to_owned(), record_type.into()), act);
}

fn start_servers() -> Zone {
    let zone = Zone::default();
    let first = Arc::clone(&zone);
    server_at(([127, 0, 0, 1], 53).into(), move |asked: &Asked<'_>| {
        let zone = first.lock().expect("not poisoned");
        let name = asked.name.to_lowercase();
        let act = zone.get(&(name, asked.record_type.into())).cloned();
        match (act, asked.by) {
            (None, _) => Act::Say(RCODE::NameError, Vec::new()),
            (Some(Act::Cut(_)), By::Tcp) => found(&(100..140).map(a).collect::<Vec<_>>()),
            (Some(act), _) => act,
        }
    });
    server_at(([127, 0, 0, 2], 53).into(), |asked| match asked.name {
        "second.example" => found(&[a(22)]),
        _ => Act::Say(RCODE::Refused, Vec::new()),
    });
    zone
}

fn job(job: &str, record_type: &str, names: &str) -> String {
    format!(
        "- job_name: {job}\n  dns_sd_configs: [{{names: [{names}], type: {record_type}, port: 9100, refresh_interval: \
         500ms}}]\n"
    )
}

#[test]
fn what_records_say() {
    if runs_elsewhere(module_path!(), "what_records_say", &FILES) {
        return;
    }
    let zone = start_servers();
    let mut text = TXT::new();
    text.add_string("x").expect("short");
    set(&zone, "one.example", TYPE::A, found(&[a(1), RData::CNAME(CNAME(name("two.example"))), a(2), a(1)]));
    set(&zone, "mixed.example", TYPE::A, found(&[a(3), aaaa("::7"), RData::TXT(text), ns("ns.example")]));
    set(&zone, "short.other.example", TYPE::A, found(&[a(4)]));
    // One dot is less than `ndots`: the search list comes first.
    set(&zone, "a.dot", TYPE::A, found(&[a(5)]));
    set(&zone, "a.dot.site.example", TYPE::A, found(&[a(6)]));
    set(&zone, "two.dots.example", TYPE::A, found(&[a(7)]));
    set(&zone, "two.dots.example.site.example", TYPE::A, found(&[a(8)]));
    // There, without such records: nothing else is asked for.
    set(&zone, "empty.site.example", TYPE::A, found(&[]));
    set(&zone, "empty.other.example", TYPE::A, found(&[a(9)]));
    set(&zone, "second.example", TYPE::A, Act::Say(RCODE::ServerFailure, Vec::new()));
    set(&zone, "confused.example", TYPE::A, Act::Confuse(vec![a(10)]));
    set(&zone, "many.example", TYPE::A, Act::Cut(vec![a(251)]));
    set(
        &zone,
        "six.example",
        TYPE::AAAA,
        found(&[aaaa("fd00::1"), aaaa("::ffff:1.2.3.4"), aaaa("::"), aaaa("::1:0:0:0:1")]),
    );
    set(
        &zone,
        "_m._tcp.example",
        TYPE::SRV,
        found(&[srv("Box.example", 1), srv("box.example", 0), srv("", 3), srv("box.example", 0)]),
    );
    set(&zone, "_default.example", TYPE::SRV, found(&[srv("default.example", 65535)]));
    set(&zone, "mail.example", TYPE::MX, found(&[mx("mx1.example"), mx("mx2.example"), mx("")]));
    set(&zone, "servers.example", TYPE::NS, found(&[ns("ns1.example"), ns("ns1.example")]));
    let names = "one.example., mixed.example., short, a.dot, two.dots.example, empty, second.example., confused.example., nowhere";
    let jobs = job("a", "A", names)
        + &job("many", "a", "many.example.")
        + &job("again", "A", "one.example., one.example., mixed.example.")
        + &job("upper", "A", "One.Example.")
        + &job("aaaa", "AAAA", "six.example.")
        + &job("srv", "srv", "_m._tcp.example.")
        + &job("mx", "MX", "mail.example.")
        + &job("ns", "NS", "servers.example.")
        + "- job_name: default\n  dns_sd_configs: [{names: [_default.example.]}]\n\
           \x20 relabel_configs: [{source_labels: [__meta_dns_srv_record_target], target_label: host}]\n";
    let both = Both::start(&jobs, &[]);
    let of_a = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "[::7]", "ns.example"];
    let others = ["10.0.0.4", "10.0.0.6", "10.0.0.7", "10.0.0.22", "10.0.0.10", "10.0.0.1", "10.0.0.2"];
    let of_aaaa = ["[fd00::1]", "1.2.3.4", "[::]", "[::1:0:0:0:1]"];
    let exchanges = ["mx1.example", "mx2.example", "", "ns1.example"];
    let mut addresses: Vec<String> = (100..140).map(|last| format!("10.0.0.{last}:9100")).collect();
    let with_port = [of_a.as_slice(), &of_a, &others, &of_aaaa, &exchanges].concat();
    addresses.extend(with_port.iter().map(|host| format!("{host}:9100")));
    let mut addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    addresses.extend(["Box.example:1", "box.example:0", ":3", "default.example:65535"]);
    both.agree("every record", &addresses);
    let (theirs, ours) = both.families("prometheus_sd_dns");
    assert_eq!((theirs.len(), &theirs), (2, &ours));
}

#[test]
fn names_that_fail_and_come_back() {
    if runs_elsewhere(module_path!(), "names_that_fail_and_come_back", &FILES) {
        return;
    }
    let zone = start_servers();
    let change = |name: &str, act: Act| set(&zone, name, TYPE::A, act);
    change("one.example", found(&[a(1), a(2)]));
    change("two.site.example", found(&[a(3)]));
    let both = Both::start(&job("names", "A", "one.example., two"), &[]);
    let agree = |step: &str, addresses: &[&str]| {
        // A round may have begun before the change; two names a round.
        let before = both.values(LOOKUPS);
        both.wait_for_growth(LOOKUPS, before, 6.0);
        let addresses: Vec<String> = addresses.iter().map(|host| format!("{host}:9100")).collect();
        both.agree(step, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    };
    agree("at first", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    change("one.example", found(&[a(2), a(4)]));
    agree("a change", &["10.0.0.2", "10.0.0.4", "10.0.0.3"]);
    change("one.example", Act::Say(RCODE::ServerFailure, Vec::new()));
    change("two.site.example", found(&[a(5)]));
    agree("one fails", &["10.0.0.2", "10.0.0.4", "10.0.0.5"]);
    change("two.site.example", Act::Say(RCODE::Refused, vec![a(9)]));
    agree("both fail", &["10.0.0.2", "10.0.0.4", "10.0.0.5"]);
    // Nothing is known of the first name of the search list, and so there may be nothing to know.
    change("two.other.example", Act::Say(RCODE::NameError, Vec::new()));
    change("one.example", Act::Say(RCODE::NameError, Vec::new()));
    agree("one is gone for certain", &["10.0.0.5"]);
    change("two.other.example", found(&[a(6)]));
    agree("found further down", &["10.0.0.6"]);
    change("two.site.example", Act::Say(RCODE::NameError, Vec::new()));
    change("two.other.example", Act::Say(RCODE::NameError, Vec::new()));
    agree("both are gone", &[]);
    change("one.example", Act::Cut(vec![a(7)]));
    change("two", found(&[a(8)]));
    let back: Vec<String> =
        (100..140).map(|last| format!("10.0.0.{last}")).chain(["10.0.0.8".to_owned()]).collect();
    let back: Vec<&str> = back.iter().map(String::as_str).collect();
    agree("both are back", &back);
    change("one.example", Act::Garbage);
    change("two", found(&[]));
    agree("nonsense, and nothing", &back[..40]);
    change("one.example", Act::Silence);
    agree("silence", &back[..40]);
    change("one.example", found(&[a(1)]));
    agree("at last", &["10.0.0.1"]);
}
