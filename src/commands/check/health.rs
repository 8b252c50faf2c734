//! `scraped check healthy` and `scraped check ready`: what a running daemon says of itself.

use std::io::Write;

use crate::commands::service::Service;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::{Colour, Terminal};

pub(in crate::commands) fn run_healthy(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    ask("healthy", arguments, terminal)
}

pub(in crate::commands) fn run_ready(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    ask("ready", arguments, terminal)
}

fn ask(what: &str, arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let mut service = Service::find(arguments)?;
    let answer = service.get(&format!("/-/{what}"))?;
    let said = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
    let is_good = answer.status() == 200;
    if arguments.is_json() {
        let line =
            serde_json::json!({what: is_good, "status": answer.status(), "said": said, "url": service.url});
        writeln!(terminal, "{line}")?;
    } else {
        let colour = if is_good { Colour::Green } else { Colour::Red };
        let verdict = if is_good { what.to_owned() } else { format!("not {what}") };
        let verdict = terminal.coloured(colour, &verdict);
        writeln!(terminal, "{}: {verdict}: {said}", service.url)?;
    }
    Ok(if is_good { Outcome::Good } else { Outcome::Bad })
}
