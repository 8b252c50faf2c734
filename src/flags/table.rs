//! The table of flags: name, value, default, sentence, and what the value means. Everything that prints flags prints
//! this table.

use crate::duration;
use crate::flags::daemon::{Flags, MemoryFirst};
use crate::flags::features::Features;
use crate::log::LogFormat;
use crate::web::site::{Cors, ExternalUrl};
use log::LevelFilter;
use scraped_engine::wal::options::Compression;
use std::path::PathBuf;
use std::time::Duration;

/// The seed's `DiscoveryReloadInterval` and its least value (Prometheus `scrape/manager.go: reloader`).
const MIN_DISCOVERY_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// As there (`cmd/prometheus/main.go`).
const MIN_AUTO_RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than any box runs.
const NO_READ_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Less memory for the newest part of the log holds too little for a slow endpoint.
const MIN_MEMORY_BYTES: u64 = 256 << 10;
/// Smaller segments cost more headers and checkpoints than they free.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;
/// A few lines at least.
const MIN_LOG_FILE_BYTES: u64 = 16 << 10;
/// Prometheus' upper limit of a segment.
const MAX_SEGMENT_BYTES: u64 = 256 << 20;

/// A flag: `value` is empty for switches, which also have a `--no-…` form.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
    pub(in crate::flags) apply: fn(&mut Flags, &str) -> Result<(), String>,
}

pub(crate) const FLAGS: &[Flag] = &[
    Flag {
        name: "config.file",
        value: "FILE",
        default: "prometheus.yml",
        doc: "Configuration file, an ordinary prometheus.yml.",
        apply: |flags, text| {
            flags.config_file = PathBuf::from(text);
            Ok(())
        },
    },
    Flag {
        name: "config.auto-reload",
        value: "",
        default: "false",
        doc: "Load the configuration again when its files have changed.",
        apply: |flags, text| {
            flags.auto_reload = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "config.auto-reload-interval",
        value: "DURATION",
        default: "30s",
        doc: "How often --config.auto-reload looks at the files; at least 1s.",
        apply: |flags, text| {
            flags.auto_reload_interval = parse_duration(text)?.max(MIN_AUTO_RELOAD_INTERVAL);
            Ok(())
        },
    },
    Flag {
        name: "agent",
        value: "",
        default: "true",
        doc: "Accepted for Prometheus' sake: agent mode is the only one.",
        apply: |_, text| match switch(text)? {
            true => Ok(()),
            false => Err("there is no server mode; leave the flag out".to_owned()),
        },
    },
    Flag {
        name: "storage.agent.path",
        value: "DIR",
        default: "data-agent/",
        doc: "Data directory; the log is in wal/ under it, in Prometheus' own format.",
        apply: |flags, text| {
            flags.wal.path = PathBuf::from(text);
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.retention.min-time",
        value: "DURATION",
        default: "1h",
        doc: "Keep samples at least this long, room permitting.",
        apply: |flags, text| {
            flags.wal.retention_min_time = parse_duration(text)?;
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.retention.max-time",
        value: "DURATION",
        default: "0s",
        doc: "Drop samples older than this even if no endpoint has them; 0s: no such limit.",
        apply: |flags, text| {
            flags.wal.retention_max_time = parse_duration(text)?;
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.retention.max-bytes",
        value: "SIZE",
        default: "auto",
        doc: "Most bytes under the data directory, oldest go first; auto: 1GB or a tenth of the file system, \
              whichever is less,\n        and up to half of a small one where so many series need it.",
        apply: |flags, text| {
            flags.wal.retention_max_bytes = match text {
                "auto" => None,
                size => Some(parse_size(size)?),
            };
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.wal-segment-size",
        value: "SIZE",
        default: "auto",
        doc: "Size of a segment of the log, from 1MB to 256MB; auto: 8MB or a sixtieth of the file system, whichever \
              is less.",
        apply: |flags, text| {
            if text == "auto" {
                flags.wal.segment_size_bytes = None;
                return Ok(());
            }
            let bytes = parse_size(text)?;
            if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&bytes) {
                return Err("must be auto, or between 1MB and 256MB".to_owned());
            }
            flags.wal.segment_size_bytes = Some(bytes);
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.wal-compression",
        value: "",
        default: "true",
        doc: "Compress the log.",
        apply: |flags, text| {
            if !switch(text)? {
                flags.wal.compression = Compression::None;
            }
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.wal-compression-type",
        value: "TYPE",
        default: "snappy",
        doc: "snappy or zstd (smaller, a little slower).",
        apply: |flags, text| {
            let compression = match text {
                "snappy" => Compression::Snappy,
                "zstd" => Compression::Zstd,
                _ => return Err("must be snappy or zstd".to_owned()),
            };
            if flags.wal.compression != Compression::None {
                flags.wal.compression = compression;
            }
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.memory-first",
        value: "SIZE",
        default: "auto",
        doc: "Keep the newest part of the log in memory, and write only what no endpoint has taken by the time of \
              flush-after,\n        or what has no room there; auto: a sixteenth of the memory limit, at most 32MB; off: \
              write each scrape at once.",
        apply: |flags, text| {
            flags.memory_first = match text {
                "off" => MemoryFirst::Off,
                "auto" => MemoryFirst::Auto,
                size => match parse_size(size)? {
                    bytes if bytes < MIN_MEMORY_BYTES => {
                        return Err("must be off, auto, or at least 256KB".to_owned());
                    }
                    bytes => MemoryFirst::Bytes(bytes),
                },
            };
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.flush-after",
        value: "DURATION",
        default: "5m",
        doc: "With memory-first, write to the disk what is as old and not acknowledged by all endpoints: what a power \
              cut\n        may take while an endpoint is away.",
        apply: |flags, text| {
            flags.wal.flush_after = match parse_duration(text)? {
                Duration::ZERO => return Err("must be more than 0s".to_owned()),
                age => age,
            };
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.max-series",
        value: "N",
        default: "auto",
        doc: "Most series in memory; new ones beyond are left out and counted by job, known ones go on.\n        0: no bound; \
              auto: one for each 256 bytes of the control group's memory limit, or of the machine's memory; fewer if\n        \
              their labels would take more than a third of it.",
        apply: |flags, text| {
            flags.max_series = match text {
                "auto" => None,
                number => Some(number.parse().map_err(|_| "must be a number or auto".to_owned())?),
            };
            Ok(())
        },
    },
    Flag {
        name: "storage.agent.no-lockfile",
        value: "",
        default: "false",
        doc: "Do not lock the data directory against a second process.",
        apply: |flags, text| {
            flags.wal.lock_file = !switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "wal.fsync-interval",
        value: "DURATION",
        default: "15s",
        doc: "How much a power cut may take, at most.",
        apply: |flags, text| {
            flags.wal.fsync_interval = match parse_duration(text)? {
                Duration::ZERO => return Err("must be more than 0s".to_owned()),
                interval => interval,
            };
            Ok(())
        },
    },
    Flag {
        name: "clock.wait",
        value: "DURATION",
        default: "10m",
        doc: "Where the clock is behind the program, the log or the data directory, hold samples until it is right, and then \
              give\n        them their time; after as long take the clock as it is. 0: at once.",
        apply: |flags, text| {
            flags.clock.max = parse_duration(text)?;
            Ok(())
        },
    },
    Flag {
        name: "clock.from",
        value: "SOURCE",
        default: "system",
        doc: "Whose clock ends that: system, or endpoint (also the Date in an answer of an endpoint or a target).",
        apply: |flags, text| {
            flags.clock.asks_servers = match text {
                "system" => false,
                "endpoint" => true,
                _ => return Err("must be system or endpoint".to_owned()),
            };
            Ok(())
        },
    },
    Flag {
        name: "storage.remote.flush-deadline",
        value: "DURATION",
        default: "1m",
        doc: "How long a stop may wait for remote endpoints; what is not sent by then stays in the log.",
        apply: |flags, text| {
            flags.flush_deadline = parse_duration(text)?;
            Ok(())
        },
    },
    Flag {
        name: "scrape.discovery-reload-interval",
        value: "DURATION",
        default: "5s",
        doc: "Changed target sets are taken over at most this often; at least 5s.",
        apply: |flags, text| {
            let interval = parse_duration(text)?;
            if interval < MIN_DISCOVERY_RELOAD_INTERVAL {
                return Err("must be at least 5s".to_owned());
            }
            flags.discovery_reload_interval = interval;
            Ok(())
        },
    },
    Flag {
        name: "scrape.on-start",
        value: "",
        default: "true",
        doc: "Scrape a new target at once, then on its grid; without it the first scrape waits for the grid, as in \
              Prometheus.",
        apply: |flags, text| {
            flags.scrape_on_start = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "scrape.adjust-timestamps",
        value: "",
        default: "true",
        doc: "Set timestamps on the grid when the scrape started close to it.",
        apply: |flags, text| {
            flags.adjust_timestamps = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "scrape.timestamp-tolerance",
        value: "DURATION",
        default: "2ms",
        doc: "How close; at most 1 % of the interval.",
        apply: |flags, text| {
            flags.timestamp_tolerance = parse_duration(text)?;
            Ok(())
        },
    },
    Flag {
        name: "scrape.max-workers",
        value: "N",
        default: "1024",
        doc: "Most threads that wait for targets at one time; they start on demand and end when idle.",
        apply: |flags, text| {
            flags.max_workers = match text.parse() {
                Ok(n) if (4..=65_536).contains(&n) => n,
                _ => return Err("must be a number from 4 to 65536".to_owned()),
            };
            Ok(())
        },
    },
    Flag {
        name: "scrape.body-budget",
        value: "SIZE",
        default: "64MB",
        doc: "Most memory for the pages in flight, all targets together; one page may use all of it.",
        apply: |flags, text| {
            flags.body_budget_bytes = match parse_size(text)? {
                bytes if bytes < MIN_SEGMENT_BYTES => return Err("must be at least 1MB".to_owned()),
                bytes => bytes,
            };
            Ok(())
        },
    },
    Flag {
        name: "scrape.max-body-bytes",
        value: "SIZE",
        default: "256MB",
        doc: "Largest page of a job without a body_size_limit.",
        apply: |flags, text| {
            flags.max_body_bytes = match parse_size(text)? {
                0 => return Err("must be more than 0".to_owned()),
                bytes => bytes,
            };
            Ok(())
        },
    },
    Flag {
        name: "local-targets.dir",
        value: "DIR",
        default: "",
        doc: "Targets file:, exec: and unix sockets must be in this directory, links followed; may be given more than \
              once.\n        Without it they are what the configuration and its files name. Sources on the network \
              never name one,\n        only a relabel rule can.",
        apply: |flags, text| {
            flags.local_target_dirs =
                text.split(',').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
            match flags.local_target_dirs.iter().find(|dir| !dir.is_absolute()) {
                Some(dir) => Err(format!("{dir:?} is not an absolute path of a directory")),
                None => Ok(()),
            }
        },
    },
    Flag {
        name: "web.listen-address",
        value: "HOST:PORT|unix:PATH",
        default: "127.0.0.1:9090",
        doc: "Address of the pages, the API and /metrics; may be repeated. \":9090\" is every interface,\n        \
              \"0.0.0.0:9090\" every one of IPv4 alone, \"unix:/run/scraped.sock\" a socket for this user and group.",
        apply: |flags, text| {
            flags.listen_addresses = text.split(',').map(str::to_owned).collect();
            let is_address = |address: &String| match address.strip_prefix("unix:") {
                Some(path) => path.starts_with('/'),
                None => address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
            };
            match flags.listen_addresses.iter().all(is_address) {
                true => Ok(()),
                false => Err("must be HOST:PORT, or unix: and an absolute path".to_owned()),
            }
        },
    },
    Flag {
        name: "web.systemd-socket",
        value: "",
        default: "false",
        doc: "Listen on the sockets that a .socket unit of systemd has opened, and on no --web.listen-address.",
        apply: |flags, text| {
            flags.systemd_socket = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "web.config.file",
        value: "FILE",
        default: "",
        doc: "TLS, client certificates, users and headers of the web server, in exporter-toolkit's format; read again when it\n        \
              or a file that it names has changed.",
        apply: |flags, text| {
            flags.web_config_file = (!text.is_empty()).then(|| PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        name: "web.max-connections",
        value: "N",
        default: "512",
        doc: "Most clients at one time; one more takes the place of the one that is idle for longest.",
        apply: |flags, text| {
            flags.max_connections = match text.parse() {
                Ok(n) if n > 0 => n,
                _ => return Err("must be a number above 0".to_owned()),
            };
            Ok(())
        },
    },
    Flag {
        name: "web.read-timeout",
        value: "DURATION",
        default: "5m",
        doc: "How long a client may be idle between two requests; 0s: for ever. A request must come within 5s.",
        apply: |flags, text| {
            flags.read_timeout = match parse_duration(text)? {
                Duration::ZERO => NO_READ_TIMEOUT,
                timeout => timeout.min(NO_READ_TIMEOUT),
            };
            Ok(())
        },
    },
    Flag {
        name: "web.max-notifications-subscribers",
        value: "N",
        default: "16",
        doc: "Most clients that listen to /api/v1/notifications/live; one more gets 204.",
        apply: |flags, text| {
            flags.max_subscribers = text.parse().map_err(|_| "must be a number".to_owned())?;
            Ok(())
        },
    },
    Flag {
        name: "web.external-url",
        value: "URL",
        default: "",
        doc: "Where others reach this server, for links and behind a proxy; its path stands before every route, and a\n        \
              loopback address answers to its host.",
        apply: |flags, text| {
            flags.external_url = (!text.is_empty()).then(|| ExternalUrl::parse(text)).transpose()?;
            Ok(())
        },
    },
    Flag {
        name: "web.route-prefix",
        value: "PATH",
        default: "",
        doc: "What stands before every route, if not the path of --web.external-url.",
        apply: |flags, text| {
            flags.route_prefix = (!text.is_empty()).then(|| text.to_owned());
            Ok(())
        },
    },
    Flag {
        name: "web.cors.origin",
        value: "PATTERN",
        default: "",
        doc: "Other sites whose pages may read the API, an anchored regular expression: https?://(a|b)\\.example.",
        apply: |flags, text| {
            flags.cors = (!text.is_empty()).then(|| Cors::parse(text)).transpose()?;
            Ok(())
        },
    },
    Flag {
        name: "web.enable-lifecycle",
        value: "",
        default: "false",
        doc: "Allow reload, quit, and writing what is in memory by POST to /-/reload, /-/quit and /-/flush.",
        apply: |flags, text| {
            flags.enable_lifecycle = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "enable-feature",
        value: "NAMES",
        default: "",
        doc: "Prometheus' features, with commas between: extra-scrape-metrics, auto-reload-config,\n        metadata-wal-records (no \
              agent opens such a log).",
        apply: |flags, text| {
            flags.features = Features::read(text);
            Ok(())
        },
    },
    Flag {
        name: "log.level",
        value: "LEVEL",
        default: "info",
        doc: "debug, info, warn or error, in any case.",
        apply: |flags, text| {
            flags.log_level = match text.to_ascii_lowercase().as_str() {
                "debug" => LevelFilter::Debug,
                "info" => LevelFilter::Info,
                "warn" => LevelFilter::Warn,
                "error" => LevelFilter::Error,
                _ => return Err("must be debug, info, warn or error".to_owned()),
            };
            Ok(())
        },
    },
    Flag {
        name: "log.format",
        value: "FORMAT",
        default: "logfmt",
        doc: "logfmt or json.",
        apply: |flags, text| {
            flags.log_format = match text {
                "logfmt" => LogFormat::Logfmt,
                "json" => LogFormat::Json,
                _ => return Err("must be logfmt or json".to_owned()),
            };
            Ok(())
        },
    },
    Flag {
        name: "log.syslog",
        value: "",
        default: "false",
        doc: "Log by the system's log daemon (/dev/log), not on the error output. systemd's journal needs no flag.",
        apply: |flags, text| {
            flags.log_syslog = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "log.file",
        value: "FILE",
        default: "",
        doc: "Log into this file, for boxes without a log daemon; what was there before it stands beside it as FILE.1.",
        apply: |flags, text| {
            flags.log_file = (!text.is_empty()).then(|| PathBuf::from(text));
            Ok(())
        },
    },
    Flag {
        name: "log.file-max-bytes",
        value: "SIZE",
        default: "1MB",
        doc: "Most bytes of both files together.",
        apply: |flags, text| {
            flags.log_file_max_bytes = match parse_size(text)? {
                bytes if bytes < MIN_LOG_FILE_BYTES => return Err("must be at least 16KB".to_owned()),
                bytes => bytes,
            };
            Ok(())
        },
    },
];

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse_duration(text).map_err(|err| err.to_string())
}

fn parse_size(text: &str) -> Result<u64, String> {
    duration::parse_size(text).map_err(|err| err.to_string())
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}
