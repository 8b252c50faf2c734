//! The command line: one table of flags with Prometheus' names; `--help` and `/api/v1/status/flags` print it.
//!
//! Read once in `main`; what a flag says goes to its module as a typed value and nothing reads a flag after that.

use crate::config::duration;
use crate::log::LogFormat;
use crate::wal::head::{Compression, WalOptions};
use lexopt::{Arg, Parser};
use log::LevelFilter;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// The seed's `DiscoveryReloadInterval` and its least value (Prometheus `scrape/manager.go: reloader`).
const MIN_DISCOVERY_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Smaller segments cost more headers and checkpoints than they free.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;
/// Prometheus' upper limit of a segment.
const MAX_SEGMENT_BYTES: u64 = 256 << 20;

/// Everything the daemon is told on the command line.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are the flags of the table below, where each has its sentence")]
pub struct Flags {
    pub config_file: PathBuf,
    pub wal: WalOptions,
    pub discovery_reload_interval: Duration,
    pub scrape_on_start: bool,
    pub adjust_timestamps: bool,
    pub timestamp_tolerance: Duration,
    pub max_workers: usize,
    pub body_budget_bytes: u64,
    pub max_body_bytes: u64,
    pub listen_address: String,
    pub enable_lifecycle: bool,
    pub log_level: LevelFilter,
    pub log_format: LogFormat,
    /// Flag name → text as given or by default, for the API.
    pub texts: Vec<(&'static str, String)>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Run the daemon.
    Run(Box<Flags>),
    /// `check config FILE`.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// `query SELECTOR`.
    Query(QueryArgs),
    /// `--help`: the text to print.
    Help(String),
    /// `--version`: the text to print.
    Version(String),
}

/// Arguments of `query`.
#[derive(Debug)]
pub struct QueryArgs {
    /// A series selector.
    pub selector: String,
    /// How far back; `None` is everything.
    pub since: Option<Duration>,
    /// The data directory.
    pub path: PathBuf,
    /// JSON instead of a table.
    pub json: bool,
}

/// A flag: `value` is empty for switches, which also have a `--no-…` form.
struct Flag {
    name: &'static str,
    value: &'static str,
    default: &'static str,
    doc: &'static str,
    apply: fn(&mut Flags, &str) -> Result<(), String>,
}

const FLAGS: &[Flag] = &[
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
        doc: "Drop samples older than this even if nobody has them; 0s: no such limit.",
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
              whichever is less.",
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
        default: "8MB",
        doc: "Size of a segment of the log, from 1MB to 256MB; the log is truncated by segments.",
        apply: |flags, text| {
            let bytes = parse_size(text)?;
            if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&bytes) {
                return Err("must be between 1MB and 256MB".to_owned());
            }
            flags.wal.segment_size_bytes = bytes;
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
        name: "web.listen-address",
        value: "HOST:PORT",
        default: "127.0.0.1:9090",
        doc: "Address of the pages, the API and /metrics; \":9090\" is every interface.",
        apply: |flags, text| {
            flags.listen_address = match text.strip_prefix(':') {
                Some(port) => format!("0.0.0.0:{port}"),
                None => text.to_owned(),
            };
            match flags.listen_address.rsplit_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => Ok(()),
                _ => Err("must be HOST:PORT".to_owned()),
            }
        },
    },
    Flag {
        name: "web.enable-lifecycle",
        value: "",
        default: "false",
        doc: "Allow reload and quit by POST to /-/reload and /-/quit.",
        apply: |flags, text| {
            flags.enable_lifecycle = switch(text)?;
            Ok(())
        },
    },
    Flag {
        name: "log.level",
        value: "LEVEL",
        default: "info",
        doc: "debug, info, warn or error.",
        apply: |flags, text| {
            flags.log_level = match text {
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

impl Default for Flags {
    /// The table's defaults.
    fn default() -> Self {
        let mut flags = Flags {
            config_file: PathBuf::new(),
            wal: WalOptions {
                path: PathBuf::new(),
                segment_size_bytes: 0,
                compression: Compression::Snappy,
                retention_min_time: Duration::ZERO,
                retention_max_time: Duration::ZERO,
                retention_max_bytes: None,
                fsync_interval: Duration::ZERO,
                lock_file: true,
            },
            discovery_reload_interval: Duration::ZERO,
            scrape_on_start: true,
            adjust_timestamps: true,
            timestamp_tolerance: Duration::ZERO,
            max_workers: 0,
            body_budget_bytes: 0,
            max_body_bytes: 0,
            listen_address: String::new(),
            enable_lifecycle: false,
            log_level: LevelFilter::Info,
            log_format: LogFormat::Logfmt,
            texts: Vec::with_capacity(FLAGS.len()),
        };
        for flag in FLAGS {
            if let Err(why) = (flag.apply)(&mut flags, flag.default) {
                panic!("BUG: default of --{}: {why}", flag.name);
            }
            flags.texts.push((flag.name, flag.default.to_owned()));
        }
        flags
    }
}

/// Reads a command line, the program's name left out.
///
/// # Errors
/// A sentence that names the flag and the way out.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.first().and_then(|arg| arg.to_str()) {
        Some("check") => parse_check(&args[1..]),
        Some("query") => parse_query(args[1..].to_vec()),
        _ => parse_run(args),
    }
}

fn parse_run(args: Vec<OsString>) -> Result<Command, String> {
    let mut flags = Flags::default();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        let name = match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help(help())),
            Arg::Long("version") => return Ok(Command::Version(version())),
            Arg::Long(name) => name.to_owned(),
            Arg::Short(short) => return Err(format!("unknown short flag '-{short}', try --help")),
            Arg::Value(value) => {
                let value = value.to_string_lossy();
                return Err(format!("unexpected {value}, try --help"));
            }
        };
        let (idx, text) = match find(&name) {
            Some((idx, flag)) if flag.value.is_empty() => {
                let text = parser.optional_value().map(|value| value.to_string_lossy().into_owned());
                (idx, text.unwrap_or_else(|| "true".to_owned()))
            }
            Some((idx, _)) => {
                let value = parser.value().map_err(|_| format!("--{name} needs a value, as in --help"))?;
                (idx, value.to_string_lossy().into_owned())
            }
            None => match name.strip_prefix("no-").and_then(find) {
                Some((idx, flag)) if flag.value.is_empty() => (idx, "false".to_owned()),
                _ => return Err(format!("unknown long flag '--{name}', try --help")),
            },
        };
        flags.texts[idx].1 = text;
    }
    // Applied in the table's order, whatever order they came in.
    for (flag, (name, text)) in FLAGS.iter().zip(flags.texts.clone()) {
        (flag.apply)(&mut flags, &text).map_err(|why| format!("--{name}={text}: {why}"))?;
    }
    Ok(Command::Run(Box::new(flags)))
}

fn find(name: &str) -> Option<(usize, &'static Flag)> {
    FLAGS.iter().enumerate().find(|(_, flag)| flag.name == name)
}

fn parse_check(args: &[OsString]) -> Result<Command, String> {
    match args {
        [what, file] if what == "config" => Ok(Command::CheckConfig { file: PathBuf::from(file) }),
        _ => Err("usage: scraped check config FILE".to_owned()),
    }
}

fn parse_query(args: Vec<OsString>) -> Result<Command, String> {
    const USAGE: &str =
        "usage: scraped query SELECTOR [--since 1h] [--storage.agent.path DIR] [--format table|json]";
    let mut query =
        QueryArgs { selector: String::new(), since: None, path: Flags::default().wal.path, json: false };
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        match arg {
            Arg::Value(selector) if query.selector.is_empty() => {
                query.selector = selector.to_string_lossy().into_owned();
            }
            Arg::Long(name @ ("since" | "storage.agent.path" | "format")) => {
                let name = name.to_owned();
                let value = parser.value().map_err(|_| format!("--{name} needs a value; {USAGE}"))?;
                let text = value.to_string_lossy();
                match name.as_str() {
                    "since" => {
                        let since = parse_duration(&text).map_err(|why| format!("--since={text}: {why}"))?;
                        query.since = Some(since);
                    }
                    "format" if text == "json" => query.json = true,
                    "format" if text == "table" => query.json = false,
                    "format" => return Err("--format must be table or json".to_owned()),
                    _ => query.path = PathBuf::from(value),
                }
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if query.selector.is_empty() {
        return Err(USAGE.to_owned());
    }
    Ok(Command::Query(query))
}

/// The text of `--version`.
pub fn version() -> String {
    format!("scraped, version {} ({})\n", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)
}

fn help() -> String {
    let mut text = String::from(
        "usage: scraped [flags]                  run the daemon\n       \
         scraped check config FILE        print every mistake of a configuration; exit 0 or 1\n       \
         scraped query SELECTOR [--since 1h] [--storage.agent.path DIR] [--format table|json]\n\
         \x20                                       print what was collected, also while the daemon runs\n\n\
         Scrapes Prometheus targets into a write-ahead log in Prometheus' own format.\n\nflags:\n",
    );
    for flag in FLAGS {
        let form = match flag.value {
            "" => format!("--[no-]{}", flag.name),
            value => format!("--{}={value}", flag.name),
        };
        let _ = writeln!(text, "  {form}\n        {} (default {})", flag.doc, flag.default);
    }
    text.push_str("  --version\n        Print the version.\n  --help, -h\n        Print this.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Flags, String> {
        match parse(args.iter().map(OsString::from))? {
            Command::Run(flags) => Ok(*flags),
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn prometheus_spellings() {
        let flags = flags(&[
            "--agent",
            "--config.file=a.yml",
            "--web.listen-address",
            ":1234",
            "--no-scrape.on-start",
            "--storage.agent.wal-compression-type=zstd",
        ])
        .unwrap();
        assert_eq!(flags.config_file, PathBuf::from("a.yml"));
        assert_eq!(flags.listen_address, "0.0.0.0:1234");
        assert!(!flags.scrape_on_start);
        assert_eq!(flags.wal.compression, Compression::Zstd);
        assert!(flags.texts.contains(&("scrape.on-start", "false".to_owned())));
    }

    #[test]
    fn compression_off_wins() {
        let flags =
            flags(&["--storage.agent.wal-compression-type=zstd", "--no-storage.agent.wal-compression"]);
        assert_eq!(flags.unwrap().wal.compression, Compression::None);
    }

    #[test]
    fn mistakes_name_the_flag() {
        let mistake = |arg| flags(&[arg]).unwrap_err();
        assert_eq!(
            mistake("--scrape.discovery-reload-interval=1s"),
            "--scrape.discovery-reload-interval=1s: must be at least 5s"
        );
        assert_eq!(mistake("--nonsense"), "unknown long flag '--nonsense', try --help");
        assert_eq!(mistake("--log.level"), "--log.level needs a value, as in --help");
        assert!(mistake("--no-agent").contains("there is no server mode"));
    }

    #[test]
    fn help_names_every_flag() {
        let text = help();
        for flag in FLAGS {
            assert!(text.contains(flag.name), "{}", flag.name);
        }
    }
}
