//! `scraped check …`: whether something would do, before it is used.

pub(in crate::commands) mod config;
mod files;
pub(in crate::commands) mod health;
pub(in crate::commands) mod lint;
pub(in crate::commands) mod metrics;
pub(in crate::commands) mod service_discovery;
pub(in crate::commands) mod web_config;

use std::io::{self, Write};

use crate::config::Config;
use crate::config::discovery::DiscoveryConfig;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;

/// `3 jobs, 12 static targets, 1 target file pattern`.
pub fn summary(config: &Config) -> String {
    let (mut n_targets, mut n_patterns, mut n_others) = (0, 0, 0);
    for provider in config.scrape_configs.iter().flat_map(|job| &job.discovery) {
        match provider {
            DiscoveryConfig::Static(groups) => {
                n_targets += groups.iter().map(|group| group.targets.len()).sum::<usize>()
            }
            DiscoveryConfig::File(file) => n_patterns += file.files.len(),
            _ => n_others += 1,
        }
    }
    let mut parts = vec![counted(config.scrape_configs.len(), "job"), counted(n_targets, "static target")];
    if n_patterns > 0 {
        parts.push(counted(n_patterns, "target file pattern"));
    }
    if n_others > 0 {
        parts.push(counted(n_others, "other provider"));
    }
    parts.join(", ")
}

/// `1 job`, `2 jobs`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Prints what `check` says, for people or as JSON: whether it is good, and the lines.
fn print(
    arguments: &Arguments,
    terminal: &mut Terminal,
    check: impl FnOnce(&mut dyn Write) -> io::Result<Outcome>,
) -> Done {
    if !arguments.is_json() {
        return Ok(check(terminal)?);
    }
    let mut said = Vec::new();
    let outcome = check(&mut said)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    writeln!(terminal, "{}", serde_json::json!({"good": outcome == Outcome::Good, "said": lines}))?;
    Ok(outcome)
}
