//! Sub-commands: what a row of their table says, and how a command line is read by it.

use crate::duration;
use crate::flags::error::FlagError;
use crate::flags::nearest::nearest;
use crate::flags::table::FLAGS;
use crate::flags::word::{Word, Words};
use crate::terminal::Terminal;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A row of the table: everything that is printed of a sub-command, and what runs it.
pub struct Subcommand {
    /// One word or two: `query`, `check config`.
    pub name: &'static str,
    /// What stands behind it: `FILE`, `[JOB]` if it may be left out, `FILE...` if there may be more.
    pub arguments: &'static str,
    /// What it does, in one line that begins with a verb.
    pub about: &'static str,
    /// More, in whole sentences; may be empty.
    pub details: &'static str,
    /// Beside `--help`.
    pub flags: &'static [CommandFlag],
    /// Command lines, one a line, without the program's prompt.
    pub example: &'static str,
    /// Exit statuses and what each means, beside [`Outcome::Good`] if that is plain.
    pub exits: &'static [(u8, &'static str)],
    /// Runs it.
    pub run: fn(&Arguments, &mut Terminal) -> Done,
}

/// A flag of a sub-command.
pub struct CommandFlag {
    /// Without dashes.
    pub name: &'static str,
    /// Empty for a switch. `DURATION` and `N` are checked; words in small letters with `|` between are all that it may
    /// be; in brackets, it may be left out.
    pub value: &'static str,
    /// A sentence, with the default.
    pub doc: &'static str,
}

/// How a sub-command ended; its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0.
    Good,
    /// 1: it found something wrong.
    Bad,
    /// 3: nothing is wrong, but not all is well (`check config --lint-fatal`, as promtool).
    Dubious,
}

/// An error is exit status 1 and a sentence on the error output.
pub type Done = Result<Outcome, Box<dyn Error>>;

/// What stood behind the name of a sub-command.
pub struct Arguments {
    table: &'static [Subcommand],
    words: Vec<OsString>,
    flags: Vec<(&'static str, OsString)>,
}

impl Arguments {
    /// The table that it was read by.
    pub fn table(&self) -> &'static [Subcommand] {
        self.table
    }

    /// All that is no flag.
    pub fn words(&self) -> Vec<String> {
        self.words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// The same, as files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.words.iter().map(PathBuf::from).collect()
    }

    /// The word at this place; empty if it was left out.
    pub fn word(&self, idx: usize) -> String {
        self.words.get(idx).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The same, as a file.
    pub fn file(&self, idx: usize) -> &Path {
        Path::new(self.words.get(idx).map_or(OsStr::new(""), OsString::as_os_str))
    }

    /// The last value of a flag.
    pub fn flag(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// The same, as a file.
    pub fn flag_file(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// All values of a flag.
    pub fn flag_list(&self, name: &str) -> Vec<String> {
        let values = self.flags.iter().filter(|(given, _)| *given == name);
        values.map(|(_, value)| value.to_string_lossy().into_owned()).collect()
    }

    /// The value of a flag with a `DURATION`.
    pub fn flag_duration(&self, name: &str) -> Option<Duration> {
        self.flag(name).and_then(|text| duration::parse_duration(&text).ok())
    }

    /// The value of a flag with an `N`.
    pub fn flag_number(&self, name: &str) -> Option<u64> {
        self.flag(name).and_then(|text| text.parse().ok())
    }

    /// Whether a switch was given.
    pub fn is_on(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| value != "false")
    }

    /// `--format=json`.
    pub fn is_json(&self) -> bool {
        self.raw("format").is_some_and(|value| value == "json")
    }

    fn raw(&self, name: &str) -> Option<&OsStr> {
        let given = self.flags.iter().rev().find(|(given, _)| *given == name);
        given.map(|(_, value)| value.as_os_str())
    }
}

impl Subcommand {
    /// `scraped check config [flags] FILE`.
    pub fn usage(&self) -> String {
        let flags = if self.flags.is_empty() { "" } else { " [flags]" };
        let arguments = if self.arguments.is_empty() { "" } else { " " };
        format!("scraped {}{flags}{arguments}{}", self.name, self.arguments)
    }

    /// [`Subcommand::about`] and [`Subcommand::details`] as sentences.
    pub fn sentences(&self) -> String {
        let mut about = self.about.to_owned();
        about[..1].make_ascii_uppercase();
        format!("{about}. {}", self.details).trim_end().to_owned()
    }

    /// Least and most words behind it.
    fn n_words(&self) -> (usize, usize) {
        let arguments = self.arguments.split_whitespace();
        arguments.fold((0, 0), |(least, most), argument| {
            let least = if argument.starts_with('[') { least } else { least + 1 };
            let is_list = argument.trim_end_matches(']').ends_with("...");
            (least, if is_list { usize::MAX } else { most + usize::from(most < usize::MAX) })
        })
    }
}

/// What a line with a sub-command asks for.
pub(in crate::flags) enum Read {
    /// To run it.
    Run(Arguments),
    /// `--help`.
    Help,
}

/// The row that a line begins with, and how many words it has; a sentence if there is none.
pub(in crate::flags) fn find(
    table: &'static [Subcommand],
    args: &[OsString],
) -> Result<(&'static Subcommand, usize), FlagError> {
    let word = |idx: usize| args.get(idx).and_then(|arg| arg.to_str()).unwrap_or_default();
    let (first, second) = (word(0), word(1));
    let both = format!("{first} {second}");
    let row = |name: &str| table.iter().find(|row| row.name == name);
    match (row(&both), row(first)) {
        (Some(row), _) => return Ok((row, 2)),
        (None, Some(row)) => return Ok((row, 1)),
        (None, None) => {}
    }
    let seconds: Vec<&str> = table
        .iter()
        .filter_map(|row| row.name.split_once(' '))
        .filter(|(group, _)| *group == first)
        .map(|(_, name)| name)
        .collect();
    let sentence = if !seconds.is_empty() {
        let all = seconds.join(", ");
        match nearest(second, seconds.into_iter()) {
            _ if second.is_empty() => format!("scraped {first} what? One of: {all}"),
            Some(near) => format!("unknown command '{both}', did you mean 'scraped {first} {near}'?"),
            None => format!("unknown command '{both}'; scraped {first} has: {all}"),
        }
    } else {
        // `relabel-test` as well as `relabel tst`.
        let near = nearest(&both, table.iter().map(|row| row.name));
        let near = near.or_else(|| nearest(first, table.iter().map(|row| row.name)));
        let firsts = table.iter().filter_map(|row| row.name.split(' ').next());
        match near.or_else(|| nearest(first, firsts)) {
            Some(near) => format!("unknown command '{first}', did you mean 'scraped {near}'?"),
            None => format!("unexpected {first}, try --help"),
        }
    };
    Err(FlagError::from(sentence))
}

/// Reads what stands behind the name of a sub-command; all mistakes at once.
pub(in crate::flags) fn read(
    table: &'static [Subcommand],
    row: &'static Subcommand,
    args: Vec<OsString>,
) -> Result<Read, FlagError> {
    let mut arguments = Arguments { table, words: Vec::new(), flags: Vec::new() };
    let mut mistakes = Vec::new();
    let mut words = Words::new(args);
    while let Some(word) = words.next() {
        let (name, n_dashes, value) = match word {
            Word::Value(word) => {
                arguments.words.push(word);
                continue;
            }
            Word::Flag { name, n_dashes, value } => (name, n_dashes, value),
        };
        if (n_dashes, name.as_str()) == (1, "h") || name == "help" {
            return Ok(Read::Help);
        }
        let Some(flag) = row.flags.iter().find(|flag| flag.name == name && n_dashes == 2) else {
            if value.is_none() && FLAGS.iter().all(|flag| flag.name != name || !flag.value.is_empty()) {
                words.skip_value();
            }
            mistakes.push(unknown(row, &name, n_dashes));
            continue;
        };
        let value = match (value, flag.value) {
            (Some(value), _) => value,
            (None, "") => OsString::from("true"),
            (None, kind) if kind.starts_with('[') => OsString::new(),
            (None, _) => match words.value() {
                Some(value) => value,
                None => {
                    mistakes.push(format!("--{name} needs a value, as in --{name}={}", flag.value));
                    continue;
                }
            },
        };
        if let Err(why) = check(flag.value, &value.to_string_lossy()) {
            mistakes.push(format!("--{name}={}: {why}", value.to_string_lossy()));
        }
        arguments.flags.push((flag.name, value));
    }
    let (least, most) = row.n_words();
    match arguments.words.len() {
        n if n < least => mistakes.push(format!("something is missing; usage: {}", row.usage())),
        n if n > most => {
            let extra = arguments.words[most].to_string_lossy().into_owned();
            mistakes.push(format!("unexpected {extra}; usage: {}", row.usage()));
        }
        _ => {}
    }
    if mistakes.is_empty() { Ok(Read::Run(arguments)) } else { Err(FlagError::Mistakes(mistakes)) }
}

fn check(kind: &str, text: &str) -> Result<(), String> {
    let kind = match kind.strip_prefix('[') {
        Some(_) if text.is_empty() => return Ok(()),
        Some(optional) => optional.trim_end_matches(']'),
        None => kind,
    };
    match kind {
        "" if !matches!(text, "true" | "false") => Err("must be true or false".to_owned()),
        "DURATION" => duration::parse_duration(text).map(|_| ()).map_err(|err| err.to_string()),
        "N" if text.parse::<u64>().is_err() => Err("must be a number".to_owned()),
        words if words.starts_with(|c: char| c.is_ascii_lowercase()) => {
            match words.split('|').any(|word| word == text) {
                true => Ok(()),
                false => Err(format!("must be {}", words.replace('|', " or "))),
            }
        }
        _ => Ok(()),
    }
}

fn unknown(row: &Subcommand, name: &str, n_dashes: usize) -> String {
    let given = format!("{}{name}", "-".repeat(n_dashes));
    let own = || row.flags.iter().map(|flag| flag.name);
    if n_dashes == 1 && own().any(|flag| flag == name) {
        return format!("'{given}' needs two dashes: --{name}");
    }
    if let Some(near) = nearest(name, own().chain(["help"])) {
        return format!("unknown flag '{given}', did you mean --{near}?");
    }
    match FLAGS.iter().any(|flag| flag.name == name) {
        true => format!("'{given}' is a flag of the daemon, not of 'scraped {}'", row.name),
        false => format!("unknown flag '{given}', try scraped {} --help", row.name),
    }
}
