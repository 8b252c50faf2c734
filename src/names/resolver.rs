//! Addresses of a name: the hosts file, this machine's own names, the link, and then the name servers.
//!
//! Runs on whatever thread asks and keeps nothing but which servers are slow. After Go's `net/dnsclient_unix.go`, with
//! its words, and the C library's options. Nothing here loads a library or reads `nsswitch.conf`.

use scraped_engine::sorting::sort_by_key;
use std::env;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, RCODE, TYPE};

use crate::names::address;
use crate::names::address::Address;
use crate::names::exchange::{Manner, NoAnswer, Query, Wishes, ask, words};
use crate::names::link::Link;
use crate::names::resolv_conf::ResolvConf;
use crate::names::{hosts, local};

const HOSTS: &str = "/etc/hosts";
pub(in crate::names) const RESOLV_CONF: &str = "/etc/resolv.conf";
pub(in crate::names) const SERVER_PORT: u16 = 53;

/// Go's words.
pub const NO_SUCH_HOST: &str = "no such host";
const MISBEHAVING: &str = "server misbehaving";
const LAME: &str = "lame referral";

/// A lookup ends after this, whatever `resolv.conf` says: its caller has left long before.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Once addresses of one family are there, those of the other have this long in all, and this long at one server: some
/// routers swallow questions for IPv6 addresses.
const OTHER_FAMILY: Duration = Duration::from_secs(1);
const OTHER_FAMILY_AT_ONCE: Duration = Duration::from_millis(500);

/// As many as the C library and Go ask.
const MAX_SERVERS: usize = 3;

/// An alias of an alias of an alias.
const MAX_ALIASES: usize = 16;

/// Addresses of a name that are kept.
const MAX_ADDRESSES: usize = 64;

/// What a name's addresses fit in many times; a packet costs a multiple of its size when it is taken apart.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who said so, or did not answer; `None`: no one was asked.
    pub server: Option<SocketAddr>,
    /// In Go's words.
    pub cause: String,
}

impl Failure {
    /// A name that stands for nothing, whoever is asked.
    pub fn no_such_host() -> Self {
        Self { server: None, cause: NO_SUCH_HOST.to_owned() }
    }
}

/// As it stands behind `lookup NAME` in Go's errors.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = self.server {
            write!(f, " on {server}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

/// Looks names up.
#[derive(Debug)]
pub struct Resolver {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    server_port: u16,
    turn: AtomicUsize,
    /// That there is no `resolv_conf` was said.
    has_missed: AtomicBool,
    slow: SlowServers,
}

impl Resolver {
    /// By the files of this system.
    pub fn system() -> Self {
        Self::of_files(HOSTS.into(), RESOLV_CONF.into(), SERVER_PORT)
    }

    /// By other files; servers are asked at `server_port`.
    pub(in crate::names) fn of_files(hosts: PathBuf, resolv_conf: PathBuf, server_port: u16) -> Self {
        Self {
            hosts,
            resolv_conf,
            server_port,
            turn: AtomicUsize::new(0),
            has_missed: AtomicBool::new(false),
            slow: SlowServers::default(),
        }
    }

    /// Addresses of `host`, at least one, the best first.
    ///
    /// # Errors
    /// There is none, or no one knows; after `MAX_TIME` at the latest.
    pub fn look_up(&self, host: &str) -> Result<Vec<Address>, Failure> {
        let mut addresses = self.unsorted(host)?;
        address::sort(&mut addresses);
        Ok(addresses)
    }

    fn unsorted(&self, host: &str) -> Result<Vec<Address>, Failure> {
        let known_here = hosts::look_up(&self.hosts, host);
        if !known_here.is_empty() {
            return Ok(known_here);
        }
        if is_localhost(host) {
            return Ok(address::loopback());
        }
        if !is_name(host) || is_below(host, "onion") {
            return Err(Failure::no_such_host());
        }
        let by_link =
            local::is_local(host).then(|| Link::open(&[]).and_then(|link| local::look_up(host, &link)));
        match by_link {
            Some(Ok(addresses)) if !addresses.is_empty() => {
                Ok(addresses.into_iter().map(Address::from).collect())
            }
            Some(Err(error)) => self.by_servers(host).map_err(|failure| Failure {
                cause: format!(
                    "{}; by multicast DNS the link could not be asked: {}",
                    failure.cause,
                    words(&error)
                ),
                ..failure
            }),
            _ => self.by_servers(host),
        }
    }

    /// Says once that nothing says whom to ask.
    fn miss(&self, error: &io::Error) {
        if !self.has_missed.swap(true, Ordering::Relaxed) {
            let file = self.resolv_conf.display();
            log::warn!("{file} cannot be read ({error}): names are asked of a server on this machine");
        }
    }

    /// (`goLookupIPCNAMEOrder`.)
    fn by_servers(&self, host: &str) -> Result<Vec<Address>, Failure> {
        let conf = ResolvConf::read(&self.resolv_conf, self.server_port);
        let conf = conf.unwrap_or_else(|error| {
            self.miss(&error);
            ResolvConf::parse("", self.server_port)
        });
        let mut conf = conf.with_environment(|name| env::var(name).ok()).with_defaults(self.server_port);
        conf.servers.truncate(MAX_SERVERS);
        if conf.is_rotated {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let n_servers = conf.servers.len();
            conf.servers.rotate_left(turn % n_servers.max(1));
        }
        self.slow.put_last(&mut conf.servers);
        let deadline = Instant::now() + MAX_TIME;
        let as_it_is = format!("{}.", host.trim_end_matches('.'));
        let mut failure = None;
        for candidate in conf.candidates(host) {
            match self.ask_for(&candidate, &conf, deadline) {
                Ok(addresses) => return Ok(addresses.into_iter().map(Address::from).collect()),
                // What was said of the name itself is reported, not what was said of one that it may stand for.
                Err(other) if failure.is_none() || candidate == as_it_is => failure = Some(other),
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(Failure::no_such_host))
    }

    /// Both families of one whole name. (`tryOneName`.)
    fn ask_for(&self, name: &str, conf: &ResolvConf, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
        let wishes = Wishes { udp_bytes: 0, is_ad_asked: conf.is_ad_asked };
        let kinds: &[TYPE] = if conf.is_v4_only { &[TYPE::A] } else { &[TYPE::A, TYPE::AAAA] };
        let queries = kinds.iter().map(|kind| Query::new(name, *kind, wishes));
        let mut waiting: Vec<Query> =
            queries.collect::<Result<_, String>>().map_err(|_| Failure::no_such_host())?;
        let mut deadline = deadline;
        let mut found: Vec<IpAddr> = Vec::new();
        let (mut trouble, mut none) = (None, None);
        let servers = (0..conf.n_attempts).flat_map(|_| conf.servers.iter().copied());
        for server in servers {
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.is_empty() || left.is_zero() {
                break;
            }
            let mut timeout = conf.timeout.min(left);
            if !found.is_empty() {
                timeout = timeout.min(OTHER_FAMILY_AT_ONCE);
            }
            let manner = Manner {
                timeout,
                is_by_tcp: conf.is_by_tcp,
                is_one_by_one: conf.is_one_by_one,
                straggler_wait: OTHER_FAMILY_AT_ONCE,
                max_bytes: MAX_ANSWER_BYTES,
            };
            let replies = ask(server, &waiting.iter().collect::<Vec<_>>(), &manner);
            self.slow.learn(server, replies.iter());
            let had_none = found.is_empty();
            let asked = std::mem::take(&mut waiting);
            for (query, reply) in asked.into_iter().zip(replies) {
                let failed = |cause: &str| Some(Failure { server: Some(server), cause: cause.to_owned() });
                match reply.map(|bytes| verdict(&query, &bytes, name)) {
                    Ok(Verdict::Found(addresses)) => found.extend(addresses),
                    Ok(Verdict::None) => none = failed(NO_SUCH_HOST),
                    Ok(Verdict::Trouble(cause)) => {
                        trouble = failed(cause);
                        waiting.push(query);
                    }
                    Err(no_answer) => {
                        trouble = failed(&no_answer.words());
                        waiting.push(query);
                    }
                }
            }
            if had_none && !found.is_empty() {
                deadline = deadline.min(Instant::now() + OTHER_FAMILY);
            }
        }
        found.truncate(MAX_ADDRESSES);
        match found.is_empty() {
            false => Ok(found),
            // The family that no server answered for may be the one that there is.
            true if !waiting.is_empty() => Err(trouble.or(none).unwrap_or_else(Failure::no_such_host)),
            true => Err(none.unwrap_or_else(Failure::no_such_host)),
        }
    }
}

/// What an answer says.
enum Verdict {
    Found(Vec<IpAddr>),
    /// There is no such name, or it has no such address: another server would say the same.
    None,
    /// The next server may know better.
    Trouble(&'static str),
}

/// (`checkHeader` and `skipToAnswer`.)
fn verdict(query: &Query, bytes: &[u8], name: &str) -> Verdict {
    let Some(packet) = query.answer(bytes) else { return Verdict::Trouble("cannot unmarshal DNS message") };
    let is_authority = packet.has_flags(PacketFlag::AUTHORITATIVE_ANSWER)
        || packet.has_flags(PacketFlag::RECURSION_AVAILABLE);
    match packet.rcode() {
        RCODE::NameError => Verdict::None,
        RCODE::NoError if packet.answers.is_empty() && !is_authority => Verdict::Trouble(LAME),
        RCODE::NoError => match addresses_in(&packet, query.kind(), name) {
            addresses if addresses.is_empty() => Verdict::None,
            addresses => Verdict::Found(addresses),
        },
        _ => Verdict::Trouble(MISBEHAVING),
    }
}

/// Addresses of `name`, or of what it is an alias of; what an answer says of other names is passed over.
fn addresses_in(packet: &Packet<'_>, kind: TYPE, name: &str) -> Vec<IpAddr> {
    let mut owner = name.trim_end_matches('.').to_owned();
    for _ in 0..MAX_ALIASES {
        let is_owner = |name: &simple_dns::Name<'_>| name.to_string().eq_ignore_ascii_case(&owner);
        let mut alias = None;
        let mut addresses = Vec::new();
        for record in packet.answers.iter().filter(|record| is_owner(&record.name)) {
            match &record.rdata {
                RData::A(a) if kind == TYPE::A => addresses.push(Ipv4Addr::from(a.address).into()),
                RData::AAAA(aaaa) if kind == TYPE::AAAA => {
                    addresses.push(Ipv6Addr::from(aaaa.address).into());
                }
                RData::CNAME(target) => alias = Some(target.0.to_string()),
                _ => {}
            }
        }
        match alias {
            Some(alias) if addresses.is_empty() => owner = alias,
            _ => return addresses,
        }
    }
    Vec::new()
}

/// Servers that did not answer lately: asked after the others, so that one that is gone costs its time once.
#[derive(Debug, Default)]
pub struct SlowServers(Mutex<Vec<(SocketAddr, Instant)>>);

/// A server is asked in its turn again after this.
const SLOW_FOR: Duration = Duration::from_secs(60);

/// More than one lookup asks, of some files.
const MAX_SLOW_SERVERS: usize = 16;

impl SlowServers {
    /// Slow ones come last.
    pub fn put_last(&self, servers: &mut [SocketAddr]) {
        let mut slow = self.0.lock();
        slow.retain(|(_, since)| since.elapsed() < SLOW_FOR);
        sort_by_key(servers, |server| slow.iter().any(|(it, _)| it == server));
    }

    /// What `server` did.
    pub fn learn<'a>(
        &self,
        server: SocketAddr,
        mut replies: impl Iterator<Item = &'a Result<Vec<u8>, NoAnswer>>,
    ) {
        let is_slow = replies.all(|reply| matches!(reply, Err(NoAnswer::Late(_))));
        let mut slow = self.0.lock();
        slow.retain(|(it, _)| *it != server);
        if is_slow && slow.len() < MAX_SLOW_SERVERS {
            slow.push((server, Instant::now()));
        }
    }
}

/// `localhost` and what is below it: this machine, and no one is asked (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost") || is_below(host, "localhost")
}

fn is_below(host: &str, domain: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (before, last) = host.rsplit_once('.').unwrap_or_default();
    !before.is_empty() && last.eq_ignore_ascii_case(domain)
}

/// What name servers can be asked for (Go's `isDomainName`): letters, digits, underscores and inner hyphens; a number
/// alone is none.
pub fn is_name(text: &str) -> bool {
    const MAX_LABEL_BYTES: usize = 63;
    const MAX_BYTES: usize = 253;
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'-';
    name.len() <= MAX_BYTES && name.split('.').all(is_label) && name.bytes().any(is_word)
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
