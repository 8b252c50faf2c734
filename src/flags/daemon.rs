//! The command line of the daemon, with Prometheus' flag names.

use crate::clock::keeper::Waiting;
use crate::flags::error::FlagError;
use crate::flags::features::Features;
use crate::flags::foreign;
use crate::flags::foreign::{FOREIGN, Foreign, Verdict};
use crate::flags::nearest::nearest;
use crate::flags::neighbours;
use crate::flags::table::{FLAGS, Flag};
use crate::flags::word::{Word, Words};
use crate::log::{LogFormat, LogOutput};
use crate::web::site::{Cors, ExternalUrl};
use log::LevelFilter;
use scraped_engine::wal::options::WalOptions;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags that may be given more than once: their values are one list.
const LISTS: [&str; 3] = ["enable-feature", "local-targets.dir", "web.listen-address"];
/// Files of arguments within each other: more is a file that names itself.
const MAX_ARGUMENT_FILES: usize = 100;

/// `--storage.agent.memory-first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFirst {
    /// Each scrape is written at once.
    Off,
    /// From the memory that there may be.
    Auto,
    /// This many bytes.
    Bytes(u64),
}

/// Everything that the command line says.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are the flags of the table below, where each has its sentence")]
pub struct Flags {
    pub config_file: PathBuf,
    /// Whether the line names it.
    pub is_config_file_given: bool,
    pub auto_reload: bool,
    pub auto_reload_interval: Duration,
    pub wal: WalOptions,
    pub memory_first: MemoryFirst,
    pub clock: Waiting,
    /// `None`: from the memory that there may be; 0: no bound.
    pub max_series: Option<u64>,
    pub flush_deadline: Duration,
    pub discovery_reload_interval: Duration,
    pub scrape_on_start: bool,
    pub adjust_timestamps: bool,
    pub timestamp_tolerance: Duration,
    pub max_workers: usize,
    pub body_budget_bytes: u64,
    pub max_body_bytes: u64,
    pub listen_addresses: Vec<String>,
    pub systemd_socket: bool,
    pub web_config_file: Option<PathBuf>,
    pub max_connections: usize,
    pub read_timeout: Duration,
    /// `--web.max-notifications-subscribers`.
    pub max_subscribers: usize,
    pub external_url: Option<ExternalUrl>,
    pub route_prefix: Option<String>,
    pub cors: Option<Cors>,
    pub enable_lifecycle: bool,
    pub features: Features,
    pub local_target_dirs: Vec<PathBuf>,
    pub log_level: LevelFilter,
    pub log_format: LogFormat,
    pub log_syslog: bool,
    pub log_file: Option<PathBuf>,
    pub log_file_max_bytes: u64,
    /// Sentences about flags that were given and change nothing.
    pub notes: Vec<String>,
    /// Flag name → text as given or by default, for the API.
    pub texts: Vec<(&'static str, String)>,
}

impl Default for Flags {
    /// The table's defaults.
    fn default() -> Self {
        let mut flags = Flags {
            config_file: PathBuf::new(),
            is_config_file_given: false,
            auto_reload: false,
            auto_reload_interval: Duration::ZERO,
            wal: WalOptions::at(""),
            memory_first: MemoryFirst::Off,
            clock: Waiting { max: Duration::ZERO, asks_servers: false },
            max_series: None,
            flush_deadline: Duration::ZERO,
            discovery_reload_interval: Duration::ZERO,
            scrape_on_start: true,
            adjust_timestamps: true,
            timestamp_tolerance: Duration::ZERO,
            max_workers: 0,
            body_budget_bytes: 0,
            max_body_bytes: 0,
            listen_addresses: Vec::new(),
            systemd_socket: false,
            web_config_file: None,
            max_connections: 0,
            read_timeout: Duration::ZERO,
            max_subscribers: 0,
            external_url: None,
            route_prefix: None,
            cors: None,
            enable_lifecycle: false,
            features: Features::default(),
            local_target_dirs: Vec::new(),
            log_level: LevelFilter::Info,
            log_format: LogFormat::Logfmt,
            log_syslog: false,
            log_file: None,
            log_file_max_bytes: 0,
            notes: Vec::new(),
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

impl Flags {
    /// Where the log goes: a file before the system's log daemon before the standard error output.
    pub fn log_output(&self) -> LogOutput {
        match &self.log_file {
            Some(path) => LogOutput::File { path: path.clone(), max_bytes: self.log_file_max_bytes },
            None if self.log_syslog => LogOutput::Syslog,
            None => LogOutput::Stderr,
        }
    }
}

/// What a line without a sub-command asks for.
pub(in crate::flags) enum Read {
    /// To run the daemon.
    Run(Box<Flags>),
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// Reads a line without a sub-command, which may stand in the wrong place; all mistakes at once.
pub(in crate::flags) fn read(
    args: Vec<OsString>,
    is_command: &dyn Fn(&str) -> bool,
) -> Result<Read, FlagError> {
    let mut line = Line::default();
    let mut words = Words::new(expanded(args)?);
    while let Some(word) = words.next() {
        match word {
            Word::Flag { name, .. } if matches!(name.as_str(), "help" | "help-long" | "help-man") => {
                return Ok(Read::Help);
            }
            Word::Flag { name, n_dashes: 1, .. } if name == "h" => return Ok(Read::Help),
            Word::Flag { name, .. } if name == "version" => return Ok(Read::Version),
            Word::Flag { name, n_dashes: 2, value } if is_known(&name) => line.flag(&name, value, &mut words),
            Word::Flag { name, n_dashes, value } => {
                if value.is_none() && !is_switch(&name) {
                    words.skip_value();
                }
                line.mistakes.push(unknown(&name, n_dashes));
            }
            Word::Value(value) => {
                let value = value.to_string_lossy();
                let is_command = is_command(&value);
                line.mistakes.push(match is_command {
                    true => format!("{value} is a command: it stands first, as in 'scraped {value}'"),
                    false => format!("unexpected {value}, try --help"),
                });
                // What stands behind it may be its own.
                if is_command {
                    break;
                }
            }
        }
    }
    line.finish().map(|flags| Read::Run(Box::new(flags)))
}

/// What has been read of a line.
#[derive(Default)]
struct Line {
    flags: Flags,
    given: Vec<&'static str>,
    server_only: Vec<String>,
    mistakes: Vec<String>,
}

impl Line {
    fn flag(&mut self, name: &str, value: Option<OsString>, words: &mut Words) {
        let needs_value = !is_switch(name);
        let value = match value {
            None if needs_value => words.value(),
            value => value,
        };
        if needs_value && value.is_none() {
            self.mistakes.push(format!("--{name} needs a value, as in --help"));
            return;
        }
        let text = value.map(|value| value.to_string_lossy().into_owned());
        match find_foreign(name) {
            Some((foreign, is_off)) => self.foreign(name, foreign, is_off, &text.unwrap_or_default()),
            None => self.own(name, text),
        }
    }

    fn foreign(&mut self, name: &str, foreign: &Foreign, is_off: bool, text: &str) {
        match foreign.verdict {
            Verdict::ServerOnly(instead) => {
                self.server_only.push(format!("--{name}"));
                if !instead.is_empty() {
                    self.mistakes.push(format!("--{name}: {instead}"));
                }
            }
            Verdict::NoEffect(why) => self.flags.notes.push(format!("--{name} has no effect: {why}")),
            Verdict::Refused(_) if is_off || text == "false" || (text.is_empty() && !foreign.is_switch) => {}
            Verdict::Refused(why) => self.mistakes.push(format!("--{name}: {why}")),
        }
    }

    fn own(&mut self, name: &str, text: Option<String>) {
        let (idx, text) = match find(name) {
            Some((idx, _)) => (idx, text.unwrap_or_else(|| "true".to_owned())),
            None => match name.strip_prefix("no-").and_then(find) {
                Some((idx, _)) => (idx, "false".to_owned()),
                None => panic!("BUG: --{name} is not known"),
            },
        };
        let own = FLAGS[idx].name;
        let shown = &mut self.flags.texts[idx].1;
        let is_repeated = self.given.contains(&own);
        self.given.push(own);
        *shown = match is_repeated {
            true if LISTS.contains(&own) => format!("{shown},{text}"),
            // A second value would replace the first in silence.
            true => return self.mistakes.push(format!("flag '{own}' cannot be repeated")),
            false => text,
        };
    }

    fn finish(mut self) -> Result<Flags, FlagError> {
        self.flags.is_config_file_given = self.given.contains(&"config.file");
        // Applied in the table's order, whatever order they came in.
        for (flag, (name, text)) in FLAGS.iter().zip(self.flags.texts.clone()) {
            if let Err(why) = (flag.apply)(&mut self.flags, &text) {
                self.mistakes.push(format!("--{name}={text}: {why}"));
            }
        }
        if !self.server_only.is_empty() {
            return Err(FlagError::ServerOnly { flags: self.server_only, sentences: self.mistakes });
        }
        if self.mistakes.is_empty() { Ok(self.flags) } else { Err(FlagError::Mistakes(self.mistakes)) }
    }
}

fn is_known(name: &str) -> bool {
    let is_negated_switch = |name: &str| find(name).is_some_and(|(_, flag)| flag.value.is_empty());
    find_foreign(name).is_some()
        || find(name).is_some()
        || name.strip_prefix("no-").is_some_and(is_negated_switch)
}

/// Whether this flag takes no value; one that is not known may take one.
fn is_switch(name: &str) -> bool {
    match (find_foreign(name), find(name)) {
        (Some((foreign, _)), _) => foreign.is_switch,
        (None, Some((_, flag))) => flag.value.is_empty(),
        (None, None) => name.starts_with("no-"),
    }
}

/// What is wrong with a flag that is not taken.
fn unknown(name: &str, n_dashes: usize) -> String {
    let given = format!("{}{name}", "-".repeat(n_dashes));
    if is_known(name) {
        return format!("'{given}' needs two dashes: --{name}");
    }
    if let Some(instead) = neighbours::find(name) {
        return format!("'{given}' is {instead}");
    }
    let length = if name.chars().count() == 1 { "short" } else { "long" };
    let own = FLAGS.iter().map(|flag| flag.name).chain(["help", "version"]);
    let foreign = FOREIGN.iter().map(|flag| flag.name);
    let near = match name.strip_prefix("no-") {
        Some(name) => {
            let switches = FLAGS.iter().filter(|flag| flag.value.is_empty()).map(|flag| flag.name);
            nearest(name, switches).map(|near| format!("no-{near}"))
        }
        None => nearest(name, own).or_else(|| nearest(name, foreign)).map(str::to_owned),
    };
    match near {
        Some(near) => format!("unknown {length} flag '{given}', did you mean --{near}?"),
        None => format!("unknown {length} flag '{given}', try --help"),
    }
}

/// A flag without effect here, and whether it is in its `--no-…` form.
fn find_foreign(name: &str) -> Option<(&'static Foreign, bool)> {
    match (foreign::find(name), name.strip_prefix("no-").and_then(foreign::find)) {
        (Some(flag), _) => Some((flag, false)),
        (None, Some(flag)) if flag.is_switch => Some((flag, true)),
        _ => None,
    }
}

fn find(name: &str) -> Option<(usize, &'static Flag)> {
    FLAGS.iter().enumerate().find(|(_, flag)| flag.name == name)
}

/// `@FILE` stands for the arguments in it, one a line; lines that start with `#` are none (kingpin's
/// `ExpandArgsFromFile`).
fn expanded(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut n_files = 0;
    let mut left: Vec<OsString> = args.into_iter().rev().collect();
    let mut expanded = Vec::new();
    while let Some(arg) = left.pop() {
        let Some(file) = arg.to_str().and_then(|arg| arg.strip_prefix('@')) else {
            expanded.push(arg);
            continue;
        };
        n_files += 1;
        if n_files > MAX_ARGUMENT_FILES {
            return Err(format!(
                "@{file}: more than {MAX_ARGUMENT_FILES} files of arguments; does one name itself?"
            ));
        }
        let text = std::fs::read_to_string(Path::new(file))
            .map_err(|err| format!("failed to open arguments file {file:?}: {err}"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        left.extend(lines.rev().map(OsString::from));
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::wal::options::Compression;

    fn flags(args: &[&str]) -> Result<Flags, String> {
        match read(args.iter().map(OsString::from).collect(), &|_| false).map_err(|err| err.to_string())? {
            Read::Run(flags) => Ok(*flags),
            Read::Help | Read::Version => panic!("not a run"),
        }
    }

    #[test]
    fn flags_of_prometheus_without_effect_are_said() {
        let flags = flags(&[
            "--web.console.templates=/etc/prometheus/consoles",
            "--web.console.libraries",
            "/etc/prometheus/console_libraries",
            "--no-auto-gomemlimit",
            "--no-web.enable-remote-write-receiver",
        ]);
        let notes = flags.unwrap().notes;
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert_eq!(
            notes[0],
            "--web.console.templates has no effect: pages here are fixed and have no assets"
        );
        assert_eq!(notes[2], "--no-auto-gomemlimit has no effect: there is no Go runtime here");
    }

    #[test]
    fn what_must_not_be_ignored_is_refused() {
        let mistake = |args: &[&str]| flags(args).unwrap_err();
        assert!(mistake(&["--web.enable-remote-write-receiver"]).contains("would be lost"));
        assert_eq!(
            mistake(&["--query.timeout=1m", "--storage.tsdb.path", "x", "--no-storage.tsdb.no-lockfile"]),
            "The following flag(s) can not be used in agent mode: [\"--query.timeout\" \"--storage.tsdb.path\" \
             \"--no-storage.tsdb.no-lockfile\"]\n\
             --query.timeout: bounds of queries are fixed: 30s and 1000000 samples; leave it out\n\
             --storage.tsdb.path: use --storage.agent.path\n\
             --no-storage.tsdb.no-lockfile: use --storage.agent.no-lockfile"
        );
        assert_eq!(mistake(&["--log.level=info", "--log.level=warn"]), "flag 'log.level' cannot be repeated");
    }

    #[test]
    fn arguments_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("inner"));
        std::fs::write(&inner, "\u{feff}# a comment\n--log.level=ERROR\n--config.file\na b.yml\n").unwrap();
        std::fs::write(&outer, format!("--agent\n@{}\n", inner.display())).unwrap();
        let flags = flags(&[&format!("@{}", outer.display()), "--log.format=json"]).unwrap();
        assert_eq!(flags.config_file, PathBuf::from("a b.yml"));
        assert_eq!((flags.log_level, flags.log_format), (LevelFilter::Error, LogFormat::Json));
        std::fs::write(&inner, format!("@{}\n", inner.display())).unwrap();
        assert!(super::expanded(vec![format!("@{}", inner.display()).into()]).is_err());
        assert!(super::expanded(vec!["@/no/such/file".into()]).unwrap_err().contains("/no/such/file"));
    }

    #[test]
    fn several_addresses() {
        let given = flags(&["--web.listen-address=:1", "--web.listen-address", "[::1]:2"]).unwrap();
        assert_eq!(given.listen_addresses, [":1", "[::1]:2"]);
        assert!(given.texts.contains(&("web.listen-address", ":1,[::1]:2".to_owned())));
        assert_eq!(flags(&[]).unwrap().listen_addresses, ["127.0.0.1:9090"]);
        assert!(flags(&["--web.listen-address=a:70000"]).is_err());
        assert!(flags(&["--web.listen-address=unix:/run/scraped.sock"]).is_ok());
        assert!(flags(&["--web.listen-address=unix:scraped.sock"]).is_err());
        assert_eq!(flags(&["--web.config.file="]).unwrap().web_config_file, None);
        let file = flags(&["--web.config.file=web.yml"]).unwrap().web_config_file;
        assert_eq!(file, Some(PathBuf::from("web.yml")));
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
        assert_eq!(flags.listen_addresses, [":1234"]);
        assert!(!flags.scrape_on_start);
        assert_eq!(flags.wal.compression, Compression::Zstd);
        assert!(flags.texts.contains(&("scrape.on-start", "false".to_owned())));
    }

    #[test]
    fn features_may_be_given_one_by_one() {
        let flags = flags(&[
            "--enable-feature=extra-scrape-metrics",
            "--enable-feature",
            "metadata-wal-records,old-ui",
        ]);
        let flags = flags.unwrap();
        assert!(flags.features.extra_scrape_metrics && flags.features.metadata_wal_records);
        assert_eq!(flags.features.notes.len(), 1);
        let text = "extra-scrape-metrics,metadata-wal-records,old-ui".to_owned();
        assert!(flags.texts.contains(&("enable-feature", text)));
    }

    #[test]
    fn directories_of_local_targets_are_absolute() {
        let dirs = |args: &[&str]| flags(args).map(|flags| flags.local_target_dirs);
        assert_eq!(dirs(&[]), Ok(Vec::new()));
        let two = ["--local-targets.dir=/run/a", "--local-targets.dir", "/srv"];
        assert_eq!(dirs(&two), Ok(vec![PathBuf::from("/run/a"), PathBuf::from("/srv")]));
        let mistake = dirs(&["--local-targets.dir=run"]).unwrap_err();
        assert_eq!(mistake, "--local-targets.dir=run: \"run\" is not an absolute path of a directory");
    }

    #[test]
    fn defaults_of_the_log_are_the_engines() {
        let wal = flags(&[]).unwrap().wal;
        assert_eq!(format!("{wal:?}"), format!("{:?}", WalOptions::at(&wal.path)));
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
}
