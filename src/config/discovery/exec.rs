//! `exec_sd_configs`, ours: a command that prints target groups as `http_sd` has them.

use std::time::Duration;

use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, texts};
use crate::config::text::fields::Field;

const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

const TIMEOUT: Duration = Duration::from_secs(10);

/// One entry of `exec_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecSdConfig {
    /// Program and arguments; no shell. A program with a slash is taken from the directory of the configuration file.
    pub command: Vec<String>,
    /// Default 1m.
    pub refresh_interval: Duration,
    /// Default 10s; the command is killed then.
    pub timeout: Duration,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<ExecSdConfig> {
    let mut fields = item.fields()?;
    let mut command = fields.take("command").map(|field| field.texts()).unwrap_or_default();
    if command.first().is_none_or(String::is_empty) {
        item.mistake_below(
            "command",
            "command must have a program, and may have arguments, as in [/usr/bin/find-targets, --all]",
        );
    }
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = item.beside(program).to_string_lossy().into_owned();
    }
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    let mut timeout = TIMEOUT;
    if let Some(field) = fields.take("timeout")
        && let Some(given) = field.duration()
    {
        if given.is_zero() {
            field.mistake("timeout must be longer than 0");
        }
        timeout = given;
    }
    fields.finish(|_| false);
    Some(ExecSdConfig { command, refresh_interval: refresh_interval?, timeout })
}

impl ExecSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("command", texts(&self.command));
        entries.add("refresh_interval", duration(self.refresh_interval));
        entries.add("timeout", duration(self.timeout));
        entries.into_map()
    }
}
