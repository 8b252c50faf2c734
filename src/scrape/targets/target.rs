//! One target: its labels, its URL and its place on the time grid.
//!
//! Follows Prometheus' `scrape/target.go`. Runs inside a pool's sync on the rayon threads; opens no socket and knows no
//! loop.

use crate::config::client::go_url::redacted_address;
use crate::config::{Scheme, ScrapeConfig};
use crate::discovery::target_group::TargetGroup;
use crate::duration::{UnitError, format_duration, parse_duration};
use crate::scrape::targets::local_access::{LocalKind, Refusal, permit};
use crate::scrape::targets::target_options::{OptionError, TargetOptions};
use crate::scrape::targets::target_url::{PARAM_LABEL_PREFIX, TargetUrl, UrlScheme, local_part};
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::quote::Quoted;
use scraped_engine::labels::relabel::origin::written_by_rule;
use scraped_engine::labels::relabel::{RelabelRule, Verdict, relabel};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ADDRESS_LABEL: &str = "__address__";
/// Ours: a socket of this machine that is connected to in place of the address.
const UNIX_SOCKET_LABEL: &str = "__unix_socket__";
/// Who is asked over a socket when no one said so.
const SOCKET_HOST: &str = "localhost";
const SCHEME_LABEL: &str = "__scheme__";
const METRICS_PATH_LABEL: &str = "__metrics_path__";
const SCRAPE_INTERVAL_LABEL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT_LABEL: &str = "__scrape_timeout__";
const META_LABEL_PREFIX: &str = "__meta_";
/// Labels that start like this steer the scrape and do not reach samples.
const RESERVED_LABEL_PREFIX: &str = "__";
const JOB_LABEL: &str = "job";
const INSTANCE_LABEL: &str = "instance";

/// The kernel's host name; containers and machines differ in it.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

const NANOS_PER_MS: i128 = 1_000_000;

/// What is scraped; never changes, a reload makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Labels of every sample; none starts with `__`.
    pub labels: Labels,
    /// Where to ask.
    pub url: TargetUrl,
    /// Time between two scrapes.
    pub scrape_interval: Duration,
    /// Time for one scrape, at most the interval.
    pub scrape_timeout: Duration,
    /// What its labels say of histograms and its series budget.
    pub options: TargetOptions,
    /// Of a file or a socket that a relabel rule has named in part: the directory that the rule has written.
    pub local_dir: Option<Arc<Path>>,
    /// Distinguishes targets of a job: hash of all labels after relabelling, `__` ones included, and the URL.
    pub hash: u64,
}

impl Target {
    /// A target with these labels, for code that has no configuration; its hash knows only what is given here.
    pub fn new(labels: Labels, url: TargetUrl, scrape_interval: Duration, scrape_timeout: Duration) -> Self {
        let hash = target_hash(labels.hash(), &url);
        Self {
            labels,
            url,
            scrape_interval,
            scrape_timeout,
            options: TargetOptions::default(),
            local_dir: None,
            hash,
        }
    }

    /// Hash of what samples and requests see of the target. Two targets that differ in nothing else write the same
    /// series, so a scrape cache fits both.
    pub fn identity(&self) -> u64 {
        target_hash(self.labels.hash(), &self.url)
    }

    /// Time from `wall_ms` to the target's next slot: more than zero, at most the interval. Pinned to absolute time, so
    /// that a restart keeps the phase; `offset_seed` differs by host and external labels, so that two daemons scrape
    /// the same target at different times (`offset` in `scrape/target.go`).
    pub fn until_next_slot(&self, wall_ms: i64, offset_seed: u64) -> Duration {
        let interval_ns = self.scrape_interval.as_nanos().max(1) as i128;
        let offset_ns = i128::from(self.hash ^ offset_seed) % interval_ns;
        let into_slot_ns = (i128::from(wall_ms) * NANOS_PER_MS - offset_ns).rem_euclid(interval_ns);
        // An interval fits in 64 bits: durations of the configuration end at 292 years.
        Duration::from_nanos((interval_ns - into_slot_ns) as u64)
    }
}

/// Where a target came from. Its labels before relabelling are put together when somebody asks: discovery holds them
/// anyway.
#[derive(Clone, Debug)]
pub struct Discovered {
    config: Arc<ScrapeConfig>,
    group: Arc<TargetGroup>,
    target_idx: u32,
}

impl Discovered {
    /// The rules that have made a target of it, or dropped it.
    pub fn relabel_configs(&self) -> &[RelabelRule] {
        &self.config.relabel_configs
    }

    /// Which group of its source it is in: an index, or a file and an index.
    pub fn source(&self) -> &str {
        &self.group.source
    }

    /// The target's labels before `relabel_configs`.
    pub fn labels(&self) -> Labels {
        let mut builder = LabelsBuilder::new();
        if let Some(target_labels) = self.group.targets.get(self.target_idx as usize) {
            populate_discovered_labels(&mut builder, &self.config, target_labels, &self.group.labels);
        }
        if let Some(shown) = without_password(builder.get(ADDRESS_LABEL)) {
            builder.set(ADDRESS_LABEL, &shown);
        }
        builder.labels()
    }
}

/// Why a discovered address is no target, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the sentences")]
pub enum TargetError {
    NoAddress,
    NotAHostname { address: String },
    RelativeSocket { path: String },
    NotLocal { named: String, cause: Refusal },
    BadInterval { cause: UnitError },
    ZeroInterval,
    BadTimeout { cause: UnitError },
    ZeroTimeout,
    TimeoutOverInterval { timeout: String, interval: String },
    BadOption { cause: OptionError },
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("no address"),
            Self::NotAHostname { address } => write!(f, "{} is not a valid hostname", Quoted(address)),
            Self::RelativeSocket { path } => {
                write!(
                    f,
                    "{} is not an absolute path of a socket; set {UNIX_SOCKET_LABEL} to one",
                    Quoted(path)
                )
            }
            Self::NotLocal { named, cause } => write!(f, "{}: {cause}", Quoted(named)),
            Self::BadInterval { cause } => write!(f, "error parsing scrape interval: {cause}"),
            Self::ZeroInterval => f.write_str("scrape interval cannot be 0"),
            Self::BadTimeout { cause } => write!(f, "error parsing scrape timeout: {cause}"),
            Self::ZeroTimeout => f.write_str("scrape timeout cannot be 0"),
            Self::TimeoutOverInterval { timeout, interval } => write!(
                f,
                "scrape timeout cannot be greater than scrape interval ({} > {})",
                Quoted(timeout),
                Quoted(interval)
            ),
            Self::BadOption { cause } => cause.fmt(f),
        }
    }
}

impl std::error::Error for TargetError {}

/// What became of one discovered address: a target, dropped by relabelling (`None`), or an error.
pub type Outcome = Result<Option<Target>, TargetError>;

/// Calls `each` for every address of `group` (`TargetsFromGroup`).
pub fn targets_from_group(
    config: &Arc<ScrapeConfig>,
    group: &Arc<TargetGroup>,
    builder: &mut LabelsBuilder,
    mut each: impl FnMut(Discovered, Outcome),
) {
    for (target_idx, target_labels) in (0u32..).zip(&group.targets) {
        let outcome = populate(builder, config, target_labels, group);
        each(Discovered { config: Arc::clone(config), group: Arc::clone(group), target_idx }, outcome);
    }
}

/// Labels before relabelling (`PopulateDiscoveredLabels`).
fn populate_discovered_labels(
    builder: &mut LabelsBuilder,
    config: &ScrapeConfig,
    target_labels: &Labels,
    group_labels: &Labels,
) {
    builder.reset(group_labels);
    for (name, value) in target_labels.iter() {
        builder.set(name, value);
    }
    let scheme = match config.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let defaults = [
        (JOB_LABEL, config.job_name.as_str()),
        (SCRAPE_INTERVAL_LABEL, &format_duration(config.scrape_interval)),
        (SCRAPE_TIMEOUT_LABEL, &format_duration(config.scrape_timeout)),
        (METRICS_PATH_LABEL, config.metrics_path.as_str()),
        (SCHEME_LABEL, scheme),
    ];
    for (name, value) in defaults {
        if builder.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    TargetOptions::of_job(config).populate(builder);
    for (param, values) in &config.params {
        let name = format!("{PARAM_LABEL_PREFIX}{param}");
        if let Some(first) = values.first()
            && builder.get(&name).is_empty()
        {
            builder.set(&name, first);
        }
    }
}

/// `PopulateLabels`.
fn populate(
    builder: &mut LabelsBuilder,
    config: &ScrapeConfig,
    target_labels: &Labels,
    group: &TargetGroup,
) -> Outcome {
    populate_discovered_labels(builder, config, target_labels, &group.labels);
    if relabel(builder, &config.relabel_configs) != Verdict::Keep {
        return Ok(None);
    }
    let socket = builder.get(UNIX_SOCKET_LABEL).to_owned();
    if !socket.is_empty() && !socket.starts_with('/') {
        return Err(TargetError::RelativeSocket { path: socket });
    }
    let mut address = builder.get(ADDRESS_LABEL).to_owned();
    let local_dir = local_dir(config, target_labels, group, &address, &socket)?;
    // A password is none of an address, as in Prometheus, whose `instance` shows it all the same.
    if let Some(shown) = without_password(&address) {
        address = shown;
    }
    // What distinguishes it from others.
    let instance = if address.is_empty() { socket.clone() } else { address.clone() };
    if address.is_empty() && !socket.is_empty() {
        SOCKET_HOST.clone_into(&mut address);
    }
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    if address.contains('/') && local_part(&address).is_none() {
        return Err(TargetError::NotAHostname { address });
    }
    let interval_text = builder.get(SCRAPE_INTERVAL_LABEL);
    let scrape_interval =
        parse_duration(interval_text).map_err(|cause| TargetError::BadInterval { cause })?;
    if scrape_interval.is_zero() {
        return Err(TargetError::ZeroInterval);
    }
    let timeout_text = builder.get(SCRAPE_TIMEOUT_LABEL);
    let scrape_timeout = parse_duration(timeout_text).map_err(|cause| TargetError::BadTimeout { cause })?;
    if scrape_timeout.is_zero() {
        return Err(TargetError::ZeroTimeout);
    }
    if scrape_timeout > scrape_interval {
        return Err(TargetError::TimeoutOverInterval {
            timeout: timeout_text.to_owned(),
            interval: interval_text.to_owned(),
        });
    }
    let options = TargetOptions::read(builder, config).map_err(|cause| TargetError::BadOption { cause })?;
    builder.retain(|name, _| !name.starts_with(META_LABEL_PREFIX));
    if builder.get(INSTANCE_LABEL).is_empty() {
        builder.set(INSTANCE_LABEL, &instance);
    }
    let url = TargetUrl::build(
        builder.get(SCHEME_LABEL),
        &address,
        builder.get(METRICS_PATH_LABEL),
        &config.params,
        builder.iter().filter_map(|(name, value)| Some((name.strip_prefix(PARAM_LABEL_PREFIX)?, value))),
    );
    let url = if socket.is_empty() { url } else { url.over_socket(&socket) };
    let mut hash = target_hash(builder.hash(), &url);
    if let Some(dir) = &local_dir {
        // The same path with other bounds is another target.
        hash ^= Labels::from_pairs([(ADDRESS_LABEL, dir.to_string_lossy())]).hash();
    }
    builder.retain(|name, _| !name.starts_with(RESERVED_LABEL_PREFIX));
    Ok(Some(Target {
        labels: builder.labels(),
        url,
        scrape_interval,
        scrape_timeout,
        options,
        local_dir,
        hash,
    }))
}

/// Whether a target may be local if it is; see [`permit`].
fn local_dir(
    config: &ScrapeConfig,
    target_labels: &Labels,
    group: &TargetGroup,
    address: &str,
    socket: &str,
) -> Result<Option<Arc<Path>>, TargetError> {
    let of_address = local_part(address).map(|(scheme, _)| match scheme {
        UrlScheme::Exec => LocalKind::Command,
        _ => LocalKind::File,
    });
    let of_socket = (!socket.is_empty()).then_some(LocalKind::Socket);
    let mut dir = None;
    for (kind, label, named) in [(of_socket, UNIX_SOCKET_LABEL, socket), (of_address, ADDRESS_LABEL, address)]
    {
        let Some(kind) = kind else { continue };
        let written = || {
            let mut builder = LabelsBuilder::new();
            populate_discovered_labels(&mut builder, config, target_labels, &group.labels);
            written_by_rule(&mut builder, &config.relabel_configs, label)
        };
        dir = permit(group.provenance, kind, written)
            .map_err(|cause| TargetError::NotLocal { named: named.to_owned(), cause })?;
    }
    Ok(dir)
}

fn without_password(address: &str) -> Option<String> {
    redacted_address(address).filter(|_| local_part(address).is_none())
}

fn target_hash(labels_hash: u64, url: &TargetUrl) -> u64 {
    let mut fnv = Fnv64a::new();
    fnv.write(format!("{labels_hash:016}").as_bytes());
    fnv.write(url.to_string().as_bytes());
    fnv.finish()
}

/// Makes the grids of two daemons differ: hash of host name and external labels (`setOffsetSeed` in `scrape/manager.go`,
/// which also asks the name service for the host's full name; that may take seconds and is left out).
pub fn offset_seed(external_labels: &Labels) -> u64 {
    let host_name = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    let mut fnv = Fnv64a::new();
    fnv.write(format!("{}{external_labels}", host_name.trim_end()).as_bytes());
    fnv.finish()
}

/// Go's `hash/fnv.New64a`.
struct Fnv64a(u64);

impl Fnv64a {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
pub(in crate::scrape) mod tests;
