//! `--help`, `help [COMMAND]` and `version`.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::flags::{Arguments, CommandFlag, Done, FLAGS, FOREIGN, Outcome, Subcommand, Verdict};
use crate::flags::{parse, version};
use crate::terminal::Terminal;

/// Width of a page of help.
const COLUMNS: usize = 100;
/// Longer lists of words stand below their flag.
const MANY_WORDS_BYTES: usize = 40;
/// Exit statuses of the daemon.
pub(in crate::commands::about) const EXITS: &[(u8, &str)] = &[
    (0, "stopped by a signal, or by /-/quit"),
    (1, "it could not start, a flag is wrong, or a command found something wrong"),
    (2, "a thread died: a bug; a service manager should start it again"),
    (3, "flags of a Prometheus server were given"),
];

/// `scraped help [COMMAND]`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let words = arguments.words();
    if words.is_empty() {
        terminal.write_all(of_program(arguments.table()).as_bytes())?;
        return Ok(Outcome::Good);
    }
    let line = words.iter().map(String::as_str).chain(["--help"]).map(Into::into);
    match parse(line, arguments.table())? {
        crate::flags::Command::Help(Some(row)) => terminal.write_all(of_command(row).as_bytes())?,
        _ => terminal.write_all(of_program(arguments.table()).as_bytes())?,
    }
    Ok(Outcome::Good)
}

/// `scraped version`.
pub(in crate::commands) fn print_version(_: &Arguments, terminal: &mut Terminal) -> Done {
    terminal.write_all(version().as_bytes())?;
    Ok(Outcome::Good)
}

/// The text of `scraped --help`.
pub fn of_program(table: &[Subcommand]) -> String {
    let mut text = String::from(
        "usage: scraped [run] [flags]    run the daemon\n       scraped COMMAND …        do one of these\n\n\
         Scrapes Prometheus targets into a write-ahead log in Prometheus' own format.\n\ncommands:\n",
    );
    let names: Vec<String> = table.iter().map(|row| format!("{} {}", row.name, row.arguments)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for (row, name) in table.iter().zip(&names) {
        let _ = writeln!(text, "  {name:width$}  {}", row.about);
    }
    text.push_str(
        "\n`scraped COMMAND --help` says more of each, with an example.\n\nexample:\n  \
         $ scraped --config.file=/etc/scraped/prometheus.yml --storage.agent.path=/var/lib/scraped\n\nexit status:\n",
    );
    push_exits(&mut text, EXITS);
    text.push_str("\nflags:\n");
    for flag in FLAGS {
        let form = match flag.value {
            "" => format!("--[no-]{}", flag.name),
            value => format!("--{}={value}", flag.name),
        };
        let default = if flag.default.is_empty() { "none" } else { flag.default };
        let _ = writeln!(text, "  {form}\n        {} (default {default})", flag.doc);
    }
    let names = |wanted: fn(Verdict) -> bool| {
        let found = FOREIGN.iter().filter(|flag| wanted(flag.verdict)).map(|flag| format!("--{}", flag.name));
        found.collect::<Vec<String>>().join("\n        ")
    };
    let _ = writeln!(
        text,
        "  @FILE\n        Arguments from a file, one a line.\n\nflags of Prometheus that are taken and have no effect:\n        \
         {}\nflags of Prometheus that are refused, since they must not be ignored:\n        {}\n\nother flags:",
        names(|verdict| matches!(verdict, Verdict::NoEffect(_))),
        names(|verdict| matches!(verdict, Verdict::Refused(_)))
    );
    text.push_str("  --version\n        Print the version.\n  --help, -h\n        Print this.\n");
    text
}

/// The text of `scraped COMMAND --help`.
pub fn of_command(row: &Subcommand) -> String {
    let mut text = format!("usage: {}\n\n", row.usage());
    push_wrapped(&mut text, "", &row.sentences());
    text.push_str("\nflags:\n");
    for flag in row.flags {
        let (form, doc) = form_and_doc(flag);
        let _ = writeln!(text, "  {form}");
        push_wrapped(&mut text, "        ", &doc);
    }
    text.push_str("  --help, -h\n        Print this.\n\nexample:\n");
    for line in row.example.lines() {
        let _ = writeln!(text, "  $ {line}");
    }
    text.push_str("\nexit status:\n");
    push_exits(&mut text, &[(0, "all is well")]);
    push_exits(&mut text, row.exits);
    text
}

/// A flag as it is typed, with `=FILE`, or `[=WORD]` where the value may be left out; and what it does, with the words that
/// it may be where they are many.
pub(in crate::commands::about) fn form_and_doc(flag: &CommandFlag) -> (String, String) {
    let words = flag.value.trim_matches(['[', ']']);
    let has_many = words.len() > MANY_WORDS_BYTES;
    let value = if has_many { "WORD" } else { words };
    let form = match (flag.value, flag.value.starts_with('[')) {
        ("", _) => format!("--{}", flag.name),
        (_, true) => format!("--{}[={value}]", flag.name),
        (_, false) => format!("--{}={value}", flag.name),
    };
    let doc = match has_many {
        true => format!("{} WORD is one of: {}.", flag.doc, words.replace('|', ", ")),
        false => flag.doc.to_owned(),
    };
    (form, doc)
}

fn push_exits(text: &mut String, exits: &[(u8, &str)]) {
    for (status, meaning) in exits {
        let _ = writeln!(text, "  {status}  {meaning}");
    }
}

/// In lines of [`COLUMNS`], each behind `indent`.
fn push_wrapped(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > COLUMNS {
            text.push('\n');
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + width;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;

    #[test]
    fn help_names_every_flag_and_every_command() {
        let text = of_program(COMMANDS);
        for flag in FLAGS {
            assert!(text.contains(flag.name), "{}", flag.name);
        }
        for row in COMMANDS {
            assert!(text.contains(&format!("  {} {}", row.name, row.arguments)), "{}", row.name);
            let own = of_command(row);
            assert!(
                own.contains(&format!("$ scraped {}", row.name))
                    || own.contains(&format!("| scraped {}", row.name)),
                "{own}"
            );
            for flag in row.flags {
                assert!(own.contains(&format!("  --{}", flag.name)), "{own}");
            }
            assert!(own.lines().all(|line| line.chars().count() <= COLUMNS + 20), "{own}");
        }
    }
}
