//! What is made of another tool's files: sections of a `prometheus.yml`, and remarks on what has no counterpart.

use std::collections::BTreeSet;

use crate::commands::migrate::tree::{
    get, into_items, items, list, map, plain, put, remove, take, text, text_at,
};
use crate::config::text::node::{Node, Value};
use crate::config::{mistakes_of, printed};

/// What is taken out may show that more has to go.
const MAX_ROUNDS: usize = 20;

/// A configuration in the making.
#[derive(Debug)]
pub(in crate::commands::migrate) struct Draft {
    /// `global`.
    pub(in crate::commands::migrate) global: Node,
    jobs: Vec<Node>,
    endpoints: Vec<Node>,
    more: Vec<(String, Node)>,
    remarks: Vec<String>,
}

impl Draft {
    /// Of nothing.
    pub(in crate::commands::migrate) fn new() -> Self {
        Self {
            global: map([]),
            jobs: Vec::new(),
            endpoints: Vec::new(),
            more: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Something without a counterpart, and what to do about it.
    pub(in crate::commands::migrate) fn remark(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into().replace('\n', " ");
        if !self.remarks.contains(&sentence) {
            self.remarks.push(sentence);
        }
    }

    /// A job; its name gets a number if there is one of that name. Other tools look at all nodes of a cluster.
    pub(in crate::commands::migrate) fn add_job(&mut self, mut job: Node) {
        if let Some(sources) = take(&mut job, "kubernetes_sd_configs") {
            let sources = into_items(sources).into_iter().map(of_all_nodes);
            put(&mut job, "kubernetes_sd_configs", list(sources));
        }
        let name = text_at(&job, "job_name").unwrap_or("default").to_owned();
        let is_taken = |name: &str| self.jobs.iter().any(|job| text_at(job, "job_name") == Some(name));
        let mut free = name.clone();
        let mut number = 1;
        while is_taken(&free) {
            number += 1;
            free = format!("{name}-{number}");
        }
        if free != name {
            self.remark(format!("job_name {name}: there are several; this one is called {free}"));
        }
        let mut named = map([("job_name", text(free))]);
        if let Value::Map(entries) = &mut job.value {
            entries.retain(|entry| entry.key != "job_name");
            entries.drain(..).for_each(|entry| put(&mut named, &entry.key, entry.node));
        }
        self.jobs.push(named);
    }

    /// An entry of `remote_write`, once.
    pub(in crate::commands::migrate) fn add_endpoint(&mut self, endpoint: Node) {
        if !self.endpoints.contains(&endpoint) {
            self.endpoints.push(endpoint);
        }
    }

    /// Another section.
    pub(in crate::commands::migrate) fn add_section(&mut self, name: &str, section: Node) {
        self.more.push((name.to_owned(), section));
    }

    /// How many jobs there are.
    pub(in crate::commands::migrate) fn n_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// The text, with the remarks as comments at its top. What this program would refuse is taken out, with its sentence.
    ///
    /// # Errors
    /// A sentence: what is left would be refused as a whole.
    pub(in crate::commands::migrate) fn into_text(mut self, title: &str) -> Result<String, String> {
        let mut root = map([]);
        if !matches!(&self.global.value, Value::Map(entries) if entries.is_empty()) {
            put(&mut root, "global", std::mem::replace(&mut self.global, map([])));
        }
        for (name, section) in std::mem::take(&mut self.more) {
            put(&mut root, &name, section);
        }
        put(&mut root, "scrape_configs", list(std::mem::take(&mut self.jobs)));
        if !self.endpoints.is_empty() {
            put(&mut root, "remote_write", list(std::mem::take(&mut self.endpoints)));
        }
        self.prune(&mut root)?;
        let mut out =
            format!("# Migrated from {title}. Look it over; scraped check config says whether it is good.\n");
        if !self.remarks.is_empty() {
            out.push_str("#\n# Without a counterpart, or to be looked at:\n");
            self.remarks.iter().for_each(|remark| out.push_str(&format!("# - {remark}\n")));
        }
        out.push_str(&printed(&root));
        Ok(out)
    }

    fn prune(&mut self, root: &mut Node) -> Result<(), String> {
        for _ in 0..MAX_ROUNDS {
            let mistakes = mistakes_of(&printed(root));
            if mistakes.is_empty() {
                return Ok(());
            }
            let mut gone: BTreeSet<String> = BTreeSet::new();
            let mut remarks = Vec::new();
            // From the end on: what is before keeps its place.
            for mistake in mistakes.iter().rev() {
                let path = whole_rule(&mistake.key);
                if gone.iter().any(|gone| path.starts_with(gone.as_str())) {
                    continue;
                }
                let sentence = match mistake.sentence.as_str() {
                    "unknown field" => "there is no such key here",
                    sentence => sentence,
                };
                remarks.push(format!("{}{}: {sentence}", mistake.key, name_of(root, path)));
                gone.insert(remove(root, path).ok_or_else(|| mistake.sentence.clone())?);
            }
            remarks.into_iter().rev().for_each(|remark| self.remark(remark));
        }
        Err("more is wrong than can be taken out".to_owned())
    }
}

/// Says that all nodes are meant, where a selector does not name one.
fn of_all_nodes(mut source: Node) -> Node {
    let role = text_at(&source, "role").unwrap_or_default();
    let names_a_node = |field: &str| field.contains("spec.nodeName=") || field.contains("metadata.name=");
    let selectors = get(&source, "selectors").map(items).unwrap_or_default();
    let is_limited = selectors.iter().any(|selector| text_at(selector, "field").is_some_and(names_a_node));
    if !is_limited
        && ["node", "pod", "endpoints", "endpointslice"].contains(&role)
        && get(&source, "own_node").is_none()
    {
        put(&mut source, "own_node", plain("false"));
    }
    source
}

/// A rule without one of its parts would be another rule.
fn whole_rule(path: &str) -> &str {
    let Some(start) = path.find("relabel_configs[") else { return path };
    path[start..].find(']').map_or(path, |end| &path[..=start + end])
}

/// For jobs: a number says little.
fn name_of(root: &Node, path: &str) -> String {
    let idx =
        path.strip_prefix("scrape_configs[").and_then(|rest| rest.split_once(']')?.0.parse::<usize>().ok());
    let jobs = get(root, "scrape_configs").map(items);
    let job = idx.zip(jobs).and_then(|(idx, jobs)| text_at(jobs.get(idx)?, "job_name"));
    job.map_or(String::new(), |name| format!(" (job {name})"))
}
