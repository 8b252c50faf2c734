//! `remote_write`: endpoints that samples are sent to.
//!
//! After `RemoteWriteConfig`, `QueueConfig` and `MetadataConfig` of Prometheus' `config/config.go`; `in_order` and
//! `backlog_share` are ours.

use std::sync::Arc;
use std::time::Duration;

use crate::config::client::go_url;
use crate::config::client::http_client;
use crate::config::client::http_client::{HttpClientConfig, read_plain_headers};
use crate::config::client::secret::Secret;
use crate::config::client::secret_names::{shown_value, without_secret_parameters};
use crate::config::print::emit::{Yaml, emit};
use crate::config::print::entries::{Entries, duration, rule};
use crate::config::relabel::read_rules;
use crate::config::text::fields::{Field, Fields};
use scraped_engine::labels::relabel::{NameScheme, RelabelRule};
use xxhash_rust::xxh64::xxh64;

const DEFAULT_REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteConfig {
    /// `url`, absolute, without user and password: it is printed, and remembered on disk.
    pub url: String,
    /// `user:password` of `url`, as typed.
    pub userinfo: Option<Secret>,
    /// `name`; may be empty.
    pub name: String,
    /// What makes it the same endpoint over reloads and restarts: its name, or else its URL, with a hash of what distinguishes
    /// it from others of the same URL.
    pub identity: String,
    /// `remote_timeout`, over a whole request; default 30s.
    pub remote_timeout: Duration,
    /// `headers`, sorted by name as typed.
    pub headers: Vec<(String, String)>,
    /// `write_relabel_configs`.
    pub write_relabel_configs: Vec<RelabelRule>,
    /// `send_exemplars`.
    pub send_exemplars: bool,
    /// `send_native_histograms`; 2.0 has them in any case.
    pub send_native_histograms: bool,
    /// `protobuf_message`.
    pub protobuf_message: ProtobufMessage,
    /// `round_robin_dns`: connections go to each of the host's addresses in turn.
    pub round_robin_dns: bool,
    /// `failed_request_logging`: 2.0 requests that fail are logged at level debug.
    pub failed_request_logging: bool,
    /// The HTTP client's settings.
    pub http_client: Arc<HttpClientConfig>,
    /// `queue_config`.
    pub queue: QueueConfig,
    /// `metadata_config`; without a meaning with 2.0.
    pub metadata: MetadataConfig,
}

/// `protobuf_message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtobufMessage {
    /// `prometheus.WriteRequest`: remote write 1.0.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`: remote write 2.0.
    V2,
}

impl ProtobufMessage {
    const ALL: [ProtobufMessage; 2] = [ProtobufMessage::V1, ProtobufMessage::V2];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            ProtobufMessage::V1 => "prometheus.WriteRequest",
            ProtobufMessage::V2 => "io.prometheus.write.v2.Request",
        }
    }
}

/// `queue_config`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueConfig {
    /// Samples in memory a shard, beside those being sent.
    pub capacity: usize,
    /// Most requests in flight.
    pub max_shards: usize,
    /// Least.
    pub min_shards: usize,
    /// Samples a request.
    pub max_samples_per_send: usize,
    /// Age at which a batch is sent though it is not full.
    pub batch_send_deadline: Duration,
    /// First pause after a failure.
    pub min_backoff: Duration,
    /// Longest pause; each is twice the one before.
    pub max_backoff: Duration,
    /// What status 429 means: `true`, "again soon"; `false`, "never", as in Prometheus, and the samples are dropped;
    /// `None`, when nothing is typed, "leave me alone for a while".
    pub retry_on_http_429: Option<bool>,
    /// Older samples are dropped; zero: none.
    pub sample_age_limit: Duration,
    /// Samples of a series go in their order; otherwise the newest go first, and a backlog beside them.
    pub in_order: bool,
    /// Of the samples sent, this part comes from the backlog while there is one: 0 to 1.
    pub backlog_share: f64,
}

impl QueueConfig {
    /// Whether it says how long a batch waits: Prometheus' default, which it prints where nothing is said, says nothing.
    pub fn has_deadline(&self) -> bool {
        self.batch_send_deadline != Self::default().batch_send_deadline
    }
}

/// Half of the link for the backlog, half for what is new.
const DEFAULT_BACKLOG_SHARE: f64 = 0.5;

impl Default for QueueConfig {
    /// Prometheus' `DefaultQueueConfig`.
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: None,
            sample_age_limit: Duration::ZERO,
            in_order: true,
            backlog_share: DEFAULT_BACKLOG_SHARE,
        }
    }
}

/// `metadata_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Whether metadata of families is sent.
    pub send: bool,
    /// From one time to the next.
    pub send_interval: Duration,
    /// Families a request.
    pub max_samples_per_send: usize,
}

impl Default for MetadataConfig {
    /// Prometheus' `DefaultMetadataConfig`.
    fn default() -> Self {
        Self { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2000 }
    }
}

impl RemoteWriteConfig {
    /// [`RemoteWriteConfig::identity`], for a place in memory or on disk.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether this is the other one as it was typed, whatever stands beside them.
    pub fn has_settings_of(&self, other: &Self) -> bool {
        let with_identity = |of: &str| Self { identity: of.to_owned(), ..self.clone() };
        with_identity(&other.identity) == *other
    }

    /// The identity that it has, without a name, beside others of its URL.
    pub fn identity_beside_others(&self) -> String {
        format!("{}#{}", self.url, hash(&self.tenant()))
    }

    /// What distinguishes two tenants of one URL, as it is printed.
    fn tenant(&self) -> String {
        let mut entries = Entries::default();
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), Yaml::text(value)));
        entries.add("headers", Yaml::sorted(headers.collect()));
        entries.add_list("write_relabel_configs", self.write_relabel_configs.iter().map(rule));
        entries.add("user", Yaml::text(self.shown_url()));
        self.http_client.print(&mut entries, false);
        self.print_cloud(&mut entries);
        emit(&entries.into_map())
    }

    /// The URL without its password and without parameters that are named like secrets.
    pub fn shown_url(&self) -> String {
        let url = without_secret_parameters(&self.url);
        match (&self.userinfo, url.split_once("://")) {
            (Some(userinfo), Some((scheme, rest))) => {
                let (user, password) = userinfo.expose().split_once(':').unzip();
                let user = user.unwrap_or(userinfo.expose());
                let password = password.map_or("", |_| ":xxxxx");
                format!("{scheme}://{user}{password}@{rest}")
            }
            _ => url,
        }
    }

    /// As Prometheus prints it.
    pub(in crate::config) fn to_tree(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("url", Yaml::text(self.shown_url()));
        entries.add("remote_timeout", duration(self.remote_timeout));
        if !self.headers.is_empty() {
            let shown =
                |(name, value): &(String, String)| (name.clone(), Yaml::text(shown_value(name, value)));
            let headers = self.headers.iter().map(shown);
            entries.add("headers", Yaml::sorted(headers.collect()));
        }
        entries.add_list("write_relabel_configs", self.write_relabel_configs.iter().map(rule));
        entries.add_text("name", &self.name);
        entries.add_flag("send_exemplars", self.send_exemplars);
        entries.add_flag("send_native_histograms", self.send_native_histograms);
        entries.add_flag("round_robin_dns", self.round_robin_dns);
        entries.add("protobuf_message", Yaml::text(self.protobuf_message.name()));
        entries.add_flag("failed_request_logging", self.failed_request_logging);
        self.http_client.print(&mut entries, false);
        let mut queue = Entries::default();
        queue.add("capacity", Yaml::raw(self.queue.capacity));
        queue.add("max_shards", Yaml::raw(self.queue.max_shards));
        queue.add("min_shards", Yaml::raw(self.queue.min_shards));
        queue.add("max_samples_per_send", Yaml::raw(self.queue.max_samples_per_send));
        queue.add("batch_send_deadline", duration(self.queue.batch_send_deadline));
        queue.add("min_backoff", duration(self.queue.min_backoff));
        queue.add("max_backoff", duration(self.queue.max_backoff));
        // Unlike Prometheus, for which both are the same, `false` is shown: it is not what one gets without it.
        if let Some(retry) = self.queue.retry_on_http_429 {
            queue.add("retry_on_http_429", Yaml::raw(retry));
        }
        if !self.queue.sample_age_limit.is_zero() {
            queue.add("sample_age_limit", duration(self.queue.sample_age_limit));
        }
        if !self.queue.in_order {
            queue.add("in_order", Yaml::raw(false));
            queue.add("backlog_share", Yaml::raw(self.queue.backlog_share));
        }
        entries.add("queue_config", queue.into_map());
        let mut metadata = Entries::default();
        metadata.add("send", Yaml::raw(self.metadata.send));
        metadata.add("send_interval", duration(self.metadata.send_interval));
        metadata.add("max_samples_per_send", Yaml::raw(self.metadata.max_samples_per_send));
        entries.add("metadata_config", metadata.into_map());
        self.print_cloud(&mut entries);
        entries.into_map()
    }

    fn print_cloud(&self, entries: &mut Entries) {
        if let Some(auth) = &self.http_client.auth {
            auth.print_of_cloud(entries);
        }
    }
}

/// The entries of `remote_write`.
pub(in crate::config) fn read(field: &Field<'_>, names: NameScheme) -> Vec<RemoteWriteConfig> {
    let mut configs: Vec<RemoteWriteConfig> = Vec::new();
    for item in field.items() {
        if item.is_null() {
            item.mistake("empty or null remote write config section");
            continue;
        }
        let Some(config) = item.fields().map(|mut fields| {
            let config = read_section(&mut fields, names);
            fields.finish(|_| false);
            config
        }) else {
            continue;
        };
        let is_named_twice = configs.iter().any(|other| !config.name.is_empty() && other.name == config.name);
        // Prometheus, too, compares what it prints, without secrets.
        let is_there_twice = configs.iter().any(|other| emit(&other.to_tree()) == emit(&config.to_tree()));
        if is_named_twice {
            item.mistake(format!("found multiple remote write configs with job name {:?}", config.name));
        } else if is_there_twice && !config.url.is_empty() {
            item.mistake(format!(
                "duplicate remote write configs are not allowed, found duplicate for URL: {}; give each a name of its own",
                config.shown_url()
            ));
        }
        configs.push(config);
    }
    identify(&mut configs);
    configs
}

fn hash(text: &str) -> String {
    format!("{:016x}", xxh64(text.as_bytes(), 0))
}

/// Gives each its identity. Of tenants of one URL that says who they are, so that a setting of the queue may change
/// while nothing runs; only those that are the same in that are distinguished by everything.
fn identify(configs: &mut [RemoteWriteConfig]) {
    let identities: Vec<String> = configs
        .iter()
        .enumerate()
        .map(|(idx, config)| {
            let rivals = || {
                let others = configs.iter().enumerate().filter(move |(other_idx, _)| *other_idx != idx);
                others
                    .map(|(_, other)| other)
                    .filter(|other| other.name.is_empty() && other.url == config.url)
            };
            if !config.name.is_empty() {
                config.name.clone()
            } else if rivals().next().is_none() {
                config.url.clone()
            } else if rivals().all(|other| other.tenant() != config.tenant()) {
                config.identity_beside_others()
            } else {
                format!("{}#{}", config.url, hash(&emit(&config.to_tree())))
            }
        })
        .collect();
    for (config, identity) in configs.iter_mut().zip(identities) {
        config.identity = identity;
    }
}

fn read_section(fields: &mut Fields<'_>, names: NameScheme) -> RemoteWriteConfig {
    let url = fields.take("url");
    let (url, userinfo) = without_userinfo(read_url(fields.owner(), url.as_ref()));
    let config = RemoteWriteConfig {
        url,
        userinfo,
        name: fields.text("name").unwrap_or_default(),
        identity: String::new(),
        remote_timeout: read_timeout(fields),
        headers: fields.take("headers").map(|field| read_plain_headers(&field)).unwrap_or_default(),
        write_relabel_configs: fields
            .take("write_relabel_configs")
            .map(|field| read_rules(&field, "relabeling rule in remote write config", names))
            .unwrap_or_default(),
        send_exemplars: fields.bool("send_exemplars").unwrap_or(false),
        send_native_histograms: fields.bool("send_native_histograms").unwrap_or(false),
        protobuf_message: fields
            .take("protobuf_message")
            .map(|field| read_message(&field))
            .unwrap_or_default(),
        round_robin_dns: fields.bool("round_robin_dns").unwrap_or(false),
        failed_request_logging: fields.bool("failed_request_logging").unwrap_or(false),
        http_client: Arc::new(http_client::read_client_of_endpoint(fields)),
        queue: fields.take("queue_config").map(|field| read_queue(&field)).unwrap_or_default(),
        metadata: fields.take("metadata_config").map(|field| read_metadata(&field)).unwrap_or_default(),
    };
    if let Some(field) = fields.take("enable_http2") {
        // Requests are HTTP/1.1 either way.
        field.bool();
    }
    config
}

fn read_url(owner: &Field<'_>, field: Option<&Field<'_>>) -> String {
    let text = field.and_then(Field::text).unwrap_or_default();
    let Some(field) = field.filter(|_| !text.is_empty()) else {
        owner.mistake_below("url", "url for remote_write is empty");
        return text;
    };
    if let Some(complaint) = go_url::complaint(&text) {
        field.mistake(complaint);
        return text;
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    // User and password are no host.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(complaint) = go_url::complaint(&text) {
        field.mistake(complaint);
        return text;
    }
    match scheme.to_ascii_lowercase().as_str() {
        _ if ["", ":"].contains(&authority) => field.mistake("the URL names no host"),
        "http" | "https" => {}
        _ => field.mistake(format!("unsupported protocol scheme {scheme:?}, must be http or https")),
    }
    text
}

fn without_userinfo(url: String) -> (String, Option<Secret>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url, None) };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((userinfo, host)) => (format!("{scheme}://{host}{path}"), Some(Secret::new(userinfo))),
        None => (url, None),
    }
}

fn read_timeout(fields: &mut Fields<'_>) -> Duration {
    let Some(field) = fields.take("remote_timeout") else { return DEFAULT_REMOTE_TIMEOUT };
    let timeout = field.duration().unwrap_or(DEFAULT_REMOTE_TIMEOUT);
    if timeout.is_zero() {
        field.mistake("remote_timeout must be positive: no request is answered in no time");
    }
    timeout
}

fn read_message(field: &Field<'_>) -> ProtobufMessage {
    let text = field.text().unwrap_or_default();
    let message = ProtobufMessage::ALL.into_iter().find(|message| message.name() == text);
    message.unwrap_or_else(|| {
        let names = ProtobufMessage::ALL.map(ProtobufMessage::name).join(", ");
        field.mistake(format!(
            "invalid protobuf_message value: unknown type for remote write protobuf message {text}, supported: {names}"
        ));
        ProtobufMessage::V1
    })
}

fn read_queue(field: &Field<'_>) -> QueueConfig {
    let mut queue = QueueConfig::default();
    let Some(mut fields) = field.fields() else { return queue };
    for (name, value) in [
        ("max_shards", &mut queue.max_shards),
        ("min_shards", &mut queue.min_shards),
        ("max_samples_per_send", &mut queue.max_samples_per_send),
        ("capacity", &mut queue.capacity),
    ] {
        let Some(field) = fields.take(name) else { continue };
        *value = field.count().map_or(*value, |count| usize::try_from(count).unwrap_or(usize::MAX));
        if *value == 0 {
            field.mistake(format!("remote write queue {name} must be positive"));
        }
    }
    for (name, value) in [
        ("batch_send_deadline", &mut queue.batch_send_deadline),
        ("min_backoff", &mut queue.min_backoff),
        ("max_backoff", &mut queue.max_backoff),
        ("sample_age_limit", &mut queue.sample_age_limit),
    ] {
        *value = fields.take(name).and_then(|field| field.duration()).unwrap_or(*value);
    }
    queue.retry_on_http_429 = fields.bool("retry_on_http_429");
    if queue.min_shards > queue.max_shards && queue.max_shards > 0 {
        field.mistake("remote write queue min_shards must not be greater than max_shards");
    }
    if queue.max_backoff < queue.min_backoff {
        field.mistake("remote write queue max_backoff must not be less than min_backoff");
    }
    queue.in_order = fields.bool("in_order").unwrap_or(true);
    if let Some(field) = fields.take("backlog_share") {
        queue.backlog_share = read_backlog_share(&field, queue.in_order);
    }
    fields.finish(|_| false);
    queue
}

fn read_backlog_share(field: &Field<'_>, in_order: bool) -> f64 {
    let Some(share) = field.float() else { return DEFAULT_BACKLOG_SHARE };
    if !(0.0..=1.0).contains(&share) {
        field.mistake(format!("backlog_share must be between 0 and 1 (backlog_share: {share})"));
    } else if in_order {
        field.mistake("backlog_share means something only with in_order: false");
    }
    share
}

fn read_metadata(field: &Field<'_>) -> MetadataConfig {
    let mut metadata = MetadataConfig::default();
    if field.is_null() {
        // A section of nothing is none of the defaults, as in Prometheus.
        return MetadataConfig { send: false, ..metadata };
    }
    let Some(mut fields) = field.fields() else { return metadata };
    metadata.send = fields.bool("send").unwrap_or(metadata.send);
    if let Some(field) = fields.take("send_interval") {
        metadata.send_interval = field.duration().unwrap_or(metadata.send_interval);
        if metadata.send_interval.is_zero() {
            field.mistake("metadata_config send_interval must be positive");
        }
    }
    if let Some(field) = fields.take("max_samples_per_send") {
        let count = field.count().map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        metadata.max_samples_per_send = count.unwrap_or(metadata.max_samples_per_send);
        if metadata.max_samples_per_send == 0 {
            field.mistake("metadata_config max_samples_per_send must be positive");
        }
    }
    fields.finish(|_| false);
    metadata
}

#[cfg(test)]
mod tests {
    use super::{read, without_userinfo};
    use crate::config::text::document::Document;
    use crate::config::text::fields::Field;
    use crate::config::text::yaml::parse;
    use scraped_engine::labels::relabel::NameScheme;
    use std::path::Path;

    /// The identities that these entries get, with what `#` is put before as one of `hashes`.
    fn check_identities(text: &str, want: &[&str]) -> Vec<String> {
        let node = parse(text).unwrap();
        let document = Document::new(Path::new("f"));
        let configs = read(&Field::root(&node, &document), NameScheme::Utf8);
        let (mistakes, _) = document.into_parts();
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let kept: Vec<&str> =
            configs.iter().map(|config| config.identity().split('#').next().unwrap_or_default()).collect();
        assert_eq!(kept, want, "{text}");
        configs.iter().map(|config| config.identity().to_owned()).collect()
    }

    #[test]
    fn each_tenant_of_a_url_has_an_identity_of_its_own() {
        let all_differ = |identities: &[String]| {
            identities.iter().enumerate().all(|(idx, it)| !identities[..idx].contains(it))
        };
        assert_eq!(check_identities("[{url: 'http://a/w'}]", &["http://a/w"]), ["http://a/w"]);
        let two = |a: &str, b: &str| {
            check_identities(
                &format!("[{{url: 'http://a/w'{a}}}, {{url: 'http://a/w'{b}}}]"),
                &["http://a/w"; 2],
            )
        };
        let (one, other) = (", headers: {T: one}", ", headers: {T: two}");
        let both = two(one, other);
        assert!(all_differ(&both) && both[0].contains('#'), "{both:?}");
        // The order does not matter, nor do settings that say nothing of who it is.
        let swapped = two(other, one);
        assert_eq!([&swapped[1], &swapped[0]], [&both[0], &both[1]]);
        assert_eq!(two(", queue_config: {capacity: 7}, headers: {T: one}", other), both);
        for (a, b) in [
            ("", ", headers: {T: one}"),
            (", basic_auth: {username: a}", ", basic_auth: {username: b}"),
            (", bearer_token_file: a", ", bearer_token_file: b"),
            (", write_relabel_configs: [{action: drop, source_labels: [a]}]", ""),
            (", queue_config: {capacity: 7}", ""),
            (", queue_config: {capacity: 7}", ", remote_timeout: 1s"),
        ] {
            let identities = two(a, b);
            assert!(all_differ(&identities), "{identities:?}");
        }
        let named = "[{url: 'http://a/w', name: n}, {url: 'http://a/w'}, {url: 'http://b/w'}]";
        assert_eq!(check_identities(named, &["n", "http://a/w", "http://b/w"])[1], "http://a/w");
    }

    #[test]
    fn user_and_password_are_kept_apart_from_the_url() {
        let check = |typed: &str, url: &str, userinfo: Option<&str>| {
            let (got, secret) = without_userinfo(typed.to_owned());
            assert_eq!((got.as_str(), secret.as_ref().map(|secret| secret.expose())), (url, userinfo));
        };
        check("https://a:p@ss@box:1/w?x=@", "https://box:1/w?x=@", Some("a:p@ss"));
        check("https://a@box", "https://box", Some("a"));
        check("https://box/@w", "https://box/@w", None);
        check("nothing", "nothing", None);
    }
}
