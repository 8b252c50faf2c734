//! `scraped man`: the page of the manual, in roff.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::commands::about::help;
use crate::flags::{Arguments, Done, FLAGS, Outcome, Subcommand};
use crate::terminal::Terminal;

const OPENING: &str = ".ad l\n.SH NAME\nscraped \\- scrapes Prometheus targets on edge hosts and loses nothing\n.SH SYNOPSIS\n.B scraped\n\
[run] [flags]\n.br\n.B scraped\nCOMMAND [flags] [arguments]\n.SH DESCRIPTION\nReads an ordinary prometheus.yml, discovers targets, \
scrapes them on time, keeps their samples in a write\\-ahead log in Prometheus\\(cq own format, and forwards them by remote \
write. Without a command it is the daemon.\n";

const SIGNALS: &str = ".SH SIGNALS\n.TP\nSIGHUP\nload the configuration again; one with a mistake is refused, and the old one \
goes on\n.TP\nSIGTERM, SIGINT\nstop; what is not sent within \\-\\-storage.remote.flush\\-deadline stays in the log\n\
.SH ENVIRONMENT\n.TP\nNO_COLOR\nno colours, even on a terminal\n.TP\nCOLUMNS\nhow wide the terminal is\n";

/// `scraped man`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    terminal.write_all(page(arguments.table()).as_bytes())?;
    Ok(Outcome::Good)
}

fn page(table: &[Subcommand]) -> String {
    let mut text =
        format!(".TH SCRAPED 1 \"\" \"scraped {}\" \"User Commands\"\n", env!("CARGO_PKG_VERSION"));
    text.push_str(OPENING);
    text.push_str(".SH COMMANDS\n");
    for row in table {
        let _ = writeln!(text, ".SS \"{}\"", escaped(&row.usage()));
        let _ = writeln!(text, "{}", escaped(&row.sentences()));
        for flag in row.flags {
            let (form, doc) = help::form_and_doc(flag);
            push_entry(&mut text, &form, &doc);
        }
        text.push_str(".PP\nExample:\n.PP\n.nf\n");
        for line in row.example.lines() {
            let _ = writeln!(text, ".RS\n{}\n.RE", escaped(line));
        }
        text.push_str(".fi\n");
        for (status, meaning) in row.exits {
            let _ = writeln!(text, ".PP\nExit status {status}: {}.", escaped(meaning));
        }
    }
    text.push_str(".SH FLAGS OF THE DAEMON\n");
    for flag in FLAGS {
        let form = match flag.value {
            "" => format!("--[no-]{}", flag.name),
            value => format!("--{}={value}", flag.name),
        };
        let default = if flag.default.is_empty() { "none" } else { flag.default };
        let doc = flag.doc.split_whitespace().collect::<Vec<&str>>().join(" ");
        push_entry(&mut text, &form, &format!("{doc} (default {default})"));
    }
    push_entry(&mut text, "@FILE", "Arguments from a file, one a line.");
    text.push_str(".SH EXIT STATUS\n");
    for (status, meaning) in help::EXITS {
        push_entry(&mut text, &status.to_string(), meaning);
    }
    text.push_str(SIGNALS);
    text
}

fn push_entry(text: &mut String, name: &str, doc: &str) {
    let _ = writeln!(text, ".TP\n.B {}\n{}", escaped(name), escaped(doc));
}

/// As plain text to roff, also where a line begins.
fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('…', "...")
        .replace('"', "\\(dq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;

    #[test]
    fn the_page_has_every_row() {
        let text = page(COMMANDS);
        for row in COMMANDS {
            assert!(text.contains(&escaped(&row.usage())), "{}", row.name);
            assert!(row.flags.iter().all(|flag| text.contains(&escaped(flag.doc))), "{}", row.name);
        }
        for flag in FLAGS {
            assert!(text.contains(&escaped(flag.name)), "{}", flag.name);
        }
    }
}
