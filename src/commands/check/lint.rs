//! `scraped check config --lint`: what is allowed and seldom meant.
//!
//! `too-long-scrape-interval` is promtool's. Its other lint is about rules, which an agent has none of.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::Config;
use crate::config::ScrapeConfig;
use crate::config::client::http_client::HttpClientConfig;
use crate::config::discovery::DiscoveryConfig;
use crate::duration::format_duration;

/// How far back Prometheus looks for the newest sample of a series.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);
/// More often than this costs flash and power for nothing that anyone sees.
const SHORT_INTERVAL: Duration = Duration::from_secs(1);

/// Words for `--lint=`, in promtool's manner; `duplicate-rules` finds nothing here.
pub(in crate::commands) const CHOICES: &str = "[all|none|too-long-scrape-interval|duplicate-rules|too-short-scrape-interval|no-targets|\
                                               duplicate-targets|no-external-labels|plain-text-secret|no-verification]";

/// What was found: the lint's name and a sentence.
pub(in crate::commands::check) type Finding = (&'static str, String);

/// Everything that `wanted` looks for; empty or `all` is everything.
pub(in crate::commands::check) fn look(config: &Config, wanted: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for job in &config.scrape_configs {
        look_at_job(job, &mut found);
    }
    look_for_duplicates(config, &mut found);
    for section in &config.remote_write {
        let owner = format!("remote_write {}", section.shown_url());
        look_at_client(&section.http_client, &owner, section.shown_url().starts_with("http://"), &mut found);
    }
    if !config.remote_write.is_empty() && config.global.external_labels.iter().next().is_none() {
        let sentence =
            "remote_write without global.external_labels: samples of two boxes cannot be told apart";
        found.push(("no-external-labels", sentence.to_owned()));
    }
    found.retain(|(name, _)| matches!(wanted, "" | "all") || wanted == *name);
    found
}

fn look_at_job(job: &ScrapeConfig, found: &mut Vec<Finding>) {
    let owner = format!("job {:?}", job.job_name);
    let interval = job.scrape_interval;
    if interval >= LOOKBACK {
        found.push((
            "too-long-scrape-interval",
            format!(
                "{owner}: scrape_interval {} is 5m or more: queries see gaps between its samples",
                format_duration(interval)
            ),
        ));
    }
    if interval < SHORT_INTERVAL {
        let interval = format_duration(interval);
        let sentence =
            format!("{owner}: scrape_interval {interval} is less than 1s: costs power, disk and bytes");
        found.push(("too-short-scrape-interval", sentence));
    }
    if job.discovery.is_empty() {
        found.push(("no-targets", format!("{owner}: it names no targets and no source of them")));
    }
    look_at_client(&job.http_client, &owner, matches!(job.scheme, crate::config::Scheme::Http), found);
}

fn look_at_client(client: &HttpClientConfig, owner: &str, is_plain: bool, found: &mut Vec<Finding>) {
    if is_plain && client.auth.is_some() {
        let sentence = format!("{owner}: its secret goes over plain HTTP, for everyone on the way to read");
        found.push(("plain-text-secret", sentence));
    }
    if client.tls.insecure_skip_verify {
        let sentence =
            format!("{owner}: insecure_skip_verify: anyone on the way can take the server's place");
        found.push(("no-verification", sentence));
    }
}

/// Static targets that are scraped twice and write the same series.
fn look_for_duplicates(config: &Config, found: &mut Vec<Finding>) {
    let mut first: HashMap<String, String> = HashMap::new();
    for job in &config.scrape_configs {
        let statics = job.discovery.iter().filter_map(|provider| match provider {
            DiscoveryConfig::Static(groups) => Some(groups),
            _ => None,
        });
        // With rules a second mention is often meant.
        for target in statics.flatten().filter(|_| job.relabel_configs.is_empty()).flat_map(|it| &it.targets)
        {
            let place = format!("{target}{}{:?}", job.metrics_path, job.params);
            match first.get(&place) {
                None => drop(first.insert(place, job.job_name.clone())),
                Some(other) => found.push((
                    "duplicate-targets",
                    format!("job {:?}: {target} is a target of job {other:?} already", job.job_name),
                )),
            }
        }
    }
}
