//! Records of a name: the search list, and one name server after the other.
//!
//! Runs on the provider's thread. After `lookupWithSearchPath`, `lookupFromAnyServer` and `askServerForName` of
//! Prometheus' `discovery/dns/dns.go`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{Name, RCODE, TYPE};

use crate::config::discovery::dns::DnsRecordType;
use crate::names::exchange::{Manner, NoAnswer, Query, Wishes, ask};
use crate::names::resolv_conf::ResolvConf;
use crate::names::resolver::SlowServers;

/// One exchange with one server (miekg/dns: `dnsTimeout`).
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

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
/// take long for it are asked last for a while: one that is gone costs its time once, not with each name.
///
/// # Errors
/// Prometheus' sentence, with what the last server did.
pub(in crate::discovery) fn look_up(
    conf: &ResolvConf,
    slow: &SlowServers,
    name: &str,
    record_type: DnsRecordType,
) -> Result<Vec<Record>, String> {
    let mut failure = None;
    for candidate in conf.candidates(name) {
        match ask_any_server(conf, slow, &candidate, record_type) {
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

fn ask_any_server(
    conf: &ResolvConf,
    slow: &SlowServers,
    name: &str,
    record_type: DnsRecordType,
) -> Result<Answer, String> {
    let mut last = "no name server is configured".to_owned();
    let mut servers = conf.servers.clone();
    slow.put_last(&mut servers);
    for server in servers {
        match ask_one(slow, server, name, record_type) {
            Ok(answer) => return Ok(answer),
            Err(sentence) => last = format!("{server}: {sentence}"),
        }
    }
    Err(format!("could not resolve {name}: no servers returned a viable answer; {last}"))
}

fn ask_one(
    slow: &SlowServers,
    server: SocketAddr,
    name: &str,
    record_type: DnsRecordType,
) -> Result<Answer, String> {
    let query = Query::new(name, kind(record_type), Wishes { udp_bytes: UDP_BYTES, is_ad_asked: false })?;
    let manner = Manner {
        timeout: EXCHANGE_TIMEOUT,
        is_by_tcp: false,
        is_one_by_one: false,
        straggler_wait: EXCHANGE_TIMEOUT,
        max_bytes: usize::from(u16::MAX),
    };
    let replies = ask(server, &[&query], &manner);
    slow.learn(server, replies.iter());
    let reply =
        replies.into_iter().next().unwrap_or_else(|| unreachable!("BUG: a question without an outcome"));
    let bytes = reply.map_err(in_words)?;
    let packet = query.answer(&bytes).ok_or("the answer is malformed")?;
    match packet.rcode() {
        RCODE::NoError => {
            Ok(Answer::Records(packet.answers.iter().filter_map(|it| record(&it.rdata)).collect()))
        }
        RCODE::NameError => Ok(Answer::NoSuchName),
        other => Err(format!("the server answers {other:?}")),
    }
}

fn in_words(no_answer: NoAnswer) -> String {
    match no_answer {
        NoAnswer::Late(_) => format!("no answer within {} s", EXCHANGE_TIMEOUT.as_secs()),
        NoAnswer::Broken(words) => words,
    }
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

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
