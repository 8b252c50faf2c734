//! Against a name server of the tests' own, by UDP and TCP.

use super::{Record, look_up};
use crate::config::discovery::dns::DnsRecordType;
use crate::names::resolv_conf::ResolvConf;
use crate::names::resolver::SlowServers;
use simple_dns::rdata::{A, AAAA, CNAME, MX, NS, RData, SRV};
use simple_dns::{Name, RCODE};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::discovery::name_server::{Act, By, server};

fn address(last: u8) -> RData<'static> {
    RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) })
}

fn conf(servers: &[SocketAddr]) -> ResolvConf {
    ResolvConf { servers: servers.to_vec(), search: vec!["site".to_owned()], ..ResolvConf::parse("", 53) }
}

/// Records of `name`, each on its own, or the error without the port of the server.
fn check(servers: &[SocketAddr], name: &str, want: Result<&[&str], &str>) {
    let got = look_up(&conf(servers), &SlowServers::default(), name, DnsRecordType::A).map(|records| {
        let text = |record: &Record| match record {
            Record::Address(address) => address.to_string(),
            Record::Service(host, port) => format!("{host} {port}"),
            Record::MailExchange(host) | Record::NameServer(host) => host.clone(),
        };
        records.iter().map(text).collect::<Vec<String>>()
    });
    let hide = |error: String| {
        let error = match error
            .split_once("read tcp ")
            .and_then(|(before, way)| Some((before, way.split_once("->")?)))
        {
            Some((before, (_, after))) => format!("{before}read tcp ME->{after}"),
            None => error,
        };
        let hide_port = |text: String, server: &SocketAddr| text.replace(&server.to_string(), "SERVER");
        servers.iter().fold(error, hide_port)
    };
    let got = got.map_err(hide);
    let want = want.map(|records| records.iter().map(|it| (*it).to_owned()).collect()).map_err(str::to_owned);
    assert_eq!(got, want, "{name}");
}

#[test]
fn records_of_every_type() {
    let name = |text: &'static str| Name::new(text).unwrap();
    let server = server(move |_| {
        let records = vec![
            RData::CNAME(CNAME(name("other.example"))),
            address(1),
            RData::AAAA(AAAA { address: 1 }),
            RData::SRV(SRV { priority: 1, weight: 2, port: 9100, target: name("box.example") }),
            RData::MX(MX { preference: 1, exchange: name("mail.example") }),
            RData::NS(NS(name("ns.example"))),
        ];
        Act::Say(RCODE::NoError, records)
    });
    let want = ["10.0.0.1", "::1", "box.example. 9100", "mail.example.", "ns.example."];
    check(&[server], "x.example", Ok(&want));
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_by_tcp() {
    let many = || (0..250).map(address).collect::<Vec<_>>();
    let cut_server = server(move |asked| match asked.by {
        By::Udp => Act::Cut(vec![address(1)]),
        By::Tcp => Act::Say(RCODE::NoError, many()),
    });
    let want: Vec<String> = (0..250).map(|last| format!("10.0.0.{last}")).collect();
    check(&[cut_server], "x.y", Ok(&want.iter().map(String::as_str).collect::<Vec<_>>()));
    let never_whole = server(|_| Act::Cut(vec![address(1)]));
    check(
        &[never_whole],
        "x.",
        Err(
            "could not resolve \"x.\": all servers responded with errors to at least one search domain (could not resolve \
             x.: no servers returned a viable answer; SERVER: got truncated message on TCP (64kiB limit exceeded?))",
        ),
    );
    let closed = server(|asked| if asked.by == By::Udp { Act::Cut(Vec::new()) } else { Act::Silence });
    check(
        &[closed],
        "x.",
        Err(
            "could not resolve \"x.\": all servers responded with errors to at least one search domain (could not resolve \
             x.: no servers returned a viable answer; SERVER: read tcp ME->SERVER: EOF)",
        ),
    );
}

#[test]
fn the_next_server_and_the_next_name_are_tried() {
    let failing = server(|_| Act::Say(RCODE::ServerFailure, Vec::new()));
    let garbage = server(|_| Act::Garbage);
    let good = server(|asked| match asked.name {
        "x.site" => Act::Confuse(vec![address(7)]),
        _ => Act::Say(RCODE::NameError, Vec::new()),
    });
    check(&[failing, garbage, good], "x", Ok(&["10.0.0.7"]));
    // Certainly nowhere: that is an answer too.
    check(&[good], "nowhere", Ok(&[]));
    let of_one = server(|asked| match asked.name {
        "x.site" => Act::Say(RCODE::ServerFailure, Vec::new()),
        _ => Act::Say(RCODE::NameError, Vec::new()),
    });
    check(
        &[of_one],
        "x",
        Err(
            "could not resolve \"x\": all servers responded with errors to at least one search domain (could not resolve \
             x.site.: no servers returned a viable answer; SERVER: the server answers ServerFailure)",
        ),
    );
    check(
        &[],
        "x.",
        Err(
            "could not resolve \"x.\": all servers responded with errors to at least one search domain (could not resolve \
             x.: no servers returned a viable answer; no name server is configured)",
        ),
    );
}

#[test]
fn a_server_that_keeps_silent_is_left_in_time() {
    let silent = server(|_| Act::Silence);
    let good = server(|_| Act::Say(RCODE::NoError, vec![address(1)]));
    check(&[silent, good], "x.y", Ok(&["10.0.0.1"]));
    check(
        &[silent],
        "x.",
        Err(
            "could not resolve \"x.\": all servers responded with errors to at least one search domain (could not resolve \
             x.: no servers returned a viable answer; SERVER: no answer within 2 s)",
        ),
    );
}

#[test]
fn a_server_that_keeps_silent_is_asked_last_from_then_on() {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_asked);
    let silent = server(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Act::Silence
    });
    let good = server(|_| Act::Say(RCODE::NoError, vec![address(1)]));
    let (conf, slow) = (conf(&[silent, good]), SlowServers::default());
    for name in ["a.", "b.", "c."] {
        let found = look_up(&conf, &slow, name, DnsRecordType::A);
        assert_eq!(found, Ok(vec![Record::Address([10, 0, 0, 1].into())]), "{name}");
    }
    assert_eq!(n_asked.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    let asked = server(|_| panic!("nothing is asked"));
    let long = "x".repeat(64) + ".";
    let error = look_up(&conf(&[asked]), &SlowServers::default(), &long, DnsRecordType::A).unwrap_err();
    assert!(error.contains("not a name"), "{error}");
}
