//! `scraped check web-config FILE...`: every mistake of files for `--web.config.file`, or a short summary of each.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::commands::check::{counted, print};
use crate::config::web::WebConfig;
use crate::config::web::server_tls::ClientAuth;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;
use crate::web::door::terms::Terms;

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    print(arguments, terminal, |out| check_web_config(&arguments.files(), out))
}

/// Checks each of `files`, with the certificates and keys that it names, and writes what it found.
///
/// # Errors
///
/// Those of `out`.
fn check_web_config(files: &[PathBuf], out: &mut dyn Write) -> io::Result<Outcome> {
    let mut outcome = Outcome::Good;
    for file in files {
        match Terms::of_file(file) {
            Ok(terms) => {
                writeln!(out, "{}: good: {}", file.display(), summary(terms.config()))?;
                for note in &terms.config().notes {
                    writeln!(out, "{}: note: {note}", file.display())?;
                }
            }
            Err(mistakes) => {
                writeln!(out, "{mistakes}")?;
                outcome = Outcome::Bad;
            }
        }
    }
    Ok(outcome)
}

/// `TLS with client certificates, 2 users, 1 header`.
fn summary(config: &WebConfig) -> String {
    let tls = match &config.tls {
        None => "no TLS",
        Some(tls) if tls.client_auth == ClientAuth::NoClientCert => "TLS",
        Some(_) => "TLS with client certificates",
    };
    format!("{tls}, {}, {}", counted(config.users.len(), "user"), counted(config.headers.len(), "header"))
}
