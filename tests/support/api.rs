//! What a running daemon says of itself by HTTP, taken apart.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scraped::Scraped;

/// A target of `/api/v1/targets`, with the fields that tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Where it is scraped.
    pub scrape_url: String,
    /// Empty while all is well.
    pub last_error: String,
    /// Labels after relabelling.
    pub labels: BTreeMap<String, String>,
}

/// The active targets of a job.
pub fn active(scraped: &Scraped, job: &str) -> Vec<Active> {
    let answer = scraped.get(&format!("/api/v1/targets?state=active&scrapePool={job}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let targets = answer["data"]["activeTargets"].as_array().expect("an array").iter();
    let active = targets.map(|target| Active {
        health: text(&target["health"]),
        scrape_url: text(&target["scrapeUrl"]),
        last_error: text(&target["lastError"]),
        labels: target["labels"]
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    });
    active.collect()
}

/// The value of a series on `/metrics`, named as it stands there; `None` if it is not there.
pub fn metric(scraped: &Scraped, series: &str) -> Option<f64> {
    let page = scraped.get("/metrics").body;
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    lines.find(|(name, _)| *name == series).map(|(_, value)| value.parse().expect("a number"))
}

/// The sum of a family on `/metrics`; 0 if nothing of it is there.
pub fn metric_sum(scraped: &Scraped, family: &str) -> f64 {
    let page = scraped.get("/metrics").body;
    let lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let of_family = lines.filter(|(name, _)| name.split('{').next() == Some(family));
    of_family.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
}
