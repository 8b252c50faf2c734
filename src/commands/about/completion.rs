//! `scraped completion bash|zsh|fish`: scripts that complete command lines, made of the tables.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::flags::{Arguments, CommandFlag, Done, FLAGS, Outcome, Subcommand};
use crate::terminal::Terminal;

/// `scraped completion`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let table = arguments.table();
    let script = match arguments.word(0).as_str() {
        "bash" => bash(table),
        "zsh" => zsh(table),
        "fish" => fish(table),
        other => {
            return Err(format!("no completion for {other:?}; there is one for bash, zsh and fish").into());
        }
    };
    terminal.write_all(script.as_bytes())?;
    Ok(Outcome::Good)
}

/// First words, each once, in the table's order.
fn first_words(table: &[Subcommand]) -> Vec<&'static str> {
    let mut words: Vec<&str> =
        table.iter().map(|row| row.name.split(' ').next().unwrap_or_default()).collect();
    words.dedup();
    words
}

/// Second words of those that have one.
fn second_words(table: &[Subcommand], first: &str) -> Vec<&'static str> {
    let rows = table.iter().filter_map(|row| row.name.split_once(' '));
    rows.filter(|(group, _)| *group == first).map(|(_, second)| second).collect()
}

/// What a first word does; of one with second words, which those are.
fn about(table: &[Subcommand], first: &str) -> String {
    match table.iter().find(|row| row.name == first) {
        Some(row) => row.about.to_owned(),
        None => second_words(table, first).join(", "),
    }
}

/// Words that a value must be one of.
fn choices(value: &str) -> Option<String> {
    let value = value.trim_matches(['[', ']']);
    value.starts_with(|c: char| c.is_ascii_lowercase()).then(|| value.replace('|', " "))
}

fn daemon_flags() -> String {
    FLAGS.iter().map(|flag| format!("--{}", flag.name)).collect::<Vec<String>>().join(" ")
}

fn flags_of(row: &Subcommand) -> String {
    let flags = row.flags.iter().map(|flag| format!("--{}", flag.name)).chain(["--help".to_owned()]);
    flags.collect::<Vec<String>>().join(" ")
}

fn bash(table: &[Subcommand]) -> String {
    let mut text = String::from(
        "# Completes command lines of scraped in bash.\n_scraped() {\n  local cur prev words flags\n  \
         cur=${COMP_WORDS[COMP_CWORD]}\n  prev=${COMP_WORDS[COMP_CWORD - 1]}\n  [[ $cur == = ]] && cur=\n  \
         [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}\n  words='' flags=''\n  case ${COMP_WORDS[1]} in\n",
    );
    for first in first_words(table) {
        let seconds = second_words(table, first);
        if seconds.is_empty() {
            for row in table.iter().filter(|row| row.name == first) {
                let words = choices(row.arguments).unwrap_or_default();
                let _ = writeln!(text, "    {first}) flags='{}' words='{words}' ;;", flags_of(row));
            }
            continue;
        }
        let _ = writeln!(text, "    {first})\n      case ${{COMP_WORDS[2]}} in");
        for row in
            table.iter().filter(|row| row.name.split_once(' ').is_some_and(|(group, _)| group == first))
        {
            let second = row.name.split_once(' ').map_or("", |(_, second)| second);
            let _ = writeln!(text, "        {second}) flags='{}' ;;", flags_of(row));
        }
        let _ = writeln!(
            text,
            "      esac\n      [[ $COMP_CWORD == 2 ]] && flags='' words='{}'\n      ;;",
            seconds.join(" ")
        );
    }
    let _ = writeln!(text, "    *) flags='{} --help --version' ;;\n  esac", daemon_flags());
    let _ = writeln!(
        text,
        "  [[ $COMP_CWORD == 1 ]] && words='{}'\n  case $prev in",
        first_words(table).join(" ")
    );
    let mut seen: Vec<&str> = Vec::new();
    for flag in table.iter().flat_map(|row| row.flags) {
        if let Some(words) = choices(flag.value).filter(|_| !seen.contains(&flag.name)) {
            seen.push(flag.name);
            let _ = writeln!(text, "    --{}) flags='' words='{words}' cur=${{cur#=}} ;;", flag.name);
        }
    }
    text.push_str(
        "  esac\n  if [[ $cur == -* ]]; then\n    mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\")\n  \
         elif [[ -n $words ]]; then\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n  else\n    \
         mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n  fi\n}\ncomplete -o filenames -F _scraped scraped\n",
    );
    text
}

fn zsh(table: &[Subcommand]) -> String {
    let mut text = String::from(
        "#compdef scraped\n# Completes command lines of scraped in zsh.\n_scraped() {\n  local -a commands\n  if (( CURRENT == 2 )) && \
         [[ $PREFIX != -* ]]; then\n    commands=(\n",
    );
    for first in first_words(table) {
        let _ = writeln!(text, "      '{first}:{}'", quoted(&about(table, first)));
    }
    text.push_str("    )\n    _describe command commands\n    return\n  fi\n  case $words[2] in\n");
    for first in first_words(table) {
        let seconds = second_words(table, first);
        if seconds.is_empty() {
            for row in table.iter().filter(|row| row.name == first) {
                let _ = writeln!(text, "    {first}) _arguments {} ;;", zsh_arguments(row));
            }
            continue;
        }
        let _ = writeln!(
            text,
            "    {first})\n      if (( CURRENT == 3 )); then\n        compadd {}\n        return\n      fi\n      \
             case $words[3] in",
            seconds.join(" ")
        );
        for row in
            table.iter().filter(|row| row.name.split_once(' ').is_some_and(|(group, _)| group == first))
        {
            let second = row.name.split_once(' ').map_or("", |(_, second)| second);
            let _ = writeln!(text, "        {second}) _arguments {} ;;", zsh_arguments(row));
        }
        text.push_str("      esac\n      ;;\n");
    }
    text.push_str("    *) _arguments");
    for flag in FLAGS {
        let value = if flag.value.is_empty() { "" } else { "=:value:_files" };
        let _ = write!(text, " '--{}{value}'", flag.name);
    }
    // A file of `fpath` is the function itself when it is called for the first time.
    text.push_str(
        " ;;\n  esac\n}\nif [[ ${funcstack[1]} == _scraped ]]; then\n  _scraped \"$@\"\nelse\n  compdef _scraped scraped\nfi\n",
    );
    text
}

fn zsh_arguments(row: &Subcommand) -> String {
    let flag = |flag: &CommandFlag| {
        let value = match (choices(flag.value), flag.value) {
            (Some(words), _) => format!("=:value:({words})"),
            (None, "") => String::new(),
            (None, _) => "=:value:_files".to_owned(),
        };
        format!("'--{}{value}'", flag.name)
    };
    let rest =
        choices(row.arguments).map_or("'*:file:_files'".to_owned(), |words| format!("'*:word:({words})'"));
    row.flags.iter().map(flag).chain(["'--help'".to_owned(), rest]).collect::<Vec<String>>().join(" ")
}

fn fish(table: &[Subcommand]) -> String {
    let mut text = String::from("# Completes command lines of scraped in fish.\n");
    let firsts = first_words(table);
    for first in &firsts {
        let about = table.iter().find(|row| row.name == *first).map_or("", |row| row.about);
        let _ =
            writeln!(text, "complete -c scraped -n __fish_use_subcommand -a {first} -d '{}'", quoted(about));
    }
    for row in table {
        let condition = match row.name.split_once(' ') {
            None => format!("__fish_seen_subcommand_from {}", row.name),
            Some((first, second)) => {
                let others = second_words(table, first).join(" ");
                let group = format!("__fish_seen_subcommand_from {first}");
                let _ = writeln!(
                    text,
                    "complete -c scraped -n '{group}; and not __fish_seen_subcommand_from {others}' -a {second} -d '{}'",
                    quoted(row.about)
                );
                format!("{group}; and __fish_seen_subcommand_from {second}")
            }
        };
        for flag in row.flags {
            let value = match (choices(flag.value), flag.value) {
                (Some(words), _) => format!(" -x -a '{words}'"),
                (None, "") => String::new(),
                (None, _) => " -r".to_owned(),
            };
            let doc = quoted(flag.doc);
            let _ = writeln!(text, "complete -c scraped -n '{condition}' -l {}{value} -d '{doc}'", flag.name);
        }
        if let Some(words) = choices(row.arguments) {
            let _ = writeln!(text, "complete -c scraped -n '{condition}' -f -a '{words}'");
        }
    }
    for flag in FLAGS {
        let value = if flag.value.is_empty() { "" } else { " -r" };
        let _ = writeln!(text, "complete -c scraped -n __fish_use_subcommand -l {}{value}", flag.name);
    }
    text
}

/// For between single quotes, in one line.
fn quoted(text: &str) -> String {
    text.replace('\'', "’").replace(':', " -").split_whitespace().collect::<Vec<&str>>().join(" ")
}
