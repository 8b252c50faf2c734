//! Alloy: what `prometheus.scrape` scrapes, from `discovery.*` and by the rules of `discovery.relabel` and
//! `prometheus.relabel`, and where `prometheus.remote_write` sends it.

use std::collections::BTreeSet;

use crate::commands::migrate::draft::Draft;
use crate::commands::migrate::river::{Block, Expression, parse};
use crate::commands::migrate::tree::{list, map, plain, push, put, put_at, text};
use crate::commands::migrate::{MigrateError, Source};
use crate::config::text::node::Node;

/// References that lead to each other.
const MAX_HOPS: usize = 20;

/// Blocks that are lists of Prometheus' under another name.
const LISTS: [(&str, &str); 3] =
    [("write_relabel_config", "write_relabel_configs"), ("selectors", "selectors"), ("filter", "filters")];

/// Secrets that may stand in a file instead.
const SECRETS: [&str; 5] = ["password", "credentials", "client_secret", "bearer_token", "username"];

/// Adds one file.
pub(in crate::commands::migrate) fn add(source: &Source<'_>, draft: &mut Draft) -> Result<(), MigrateError> {
    let root = parse(&source.text).map_err(|cause| source.not_theirs(cause))?;
    if root.blocks.is_empty() {
        return Err(source.not_theirs("no block stands there"));
    }
    let mut graph = Graph { root: &root, draft };
    for block in &root.blocks {
        match block.name.as_str() {
            "prometheus.scrape" => graph.add_scrape(block),
            "prometheus.remote_write" => graph.add_remote_write(block),
            "prometheus.relabel" | "local.file" | "discovery.relabel" => {}
            name if name.starts_with("discovery.") || name.starts_with("prometheus.exporter.") => {}
            "logging" => graph.draft.remark("logging: use --log.level and --log.format"),
            name => graph.draft.remark(format!("{name}: {}", instead_of(name))),
        }
    }
    Ok(())
}

fn instead_of(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or_default() {
        "loki" => "logs are not collected here; keep an agent for them",
        "otelcol" | "tracing" | "beyla" => "only Prometheus' pages are scraped; keep an agent for it",
        "prometheus" => "there is no such source here; write jobs for its targets",
        "declare" | "import" | "argument" | "export" => "modules are not followed; migrate what they hold",
        _ => "there is no such component here",
    }
}

/// Where targets come from, and the rules that they go through.
#[derive(Clone, Debug)]
struct Found {
    /// `static_configs` or a provider's key.
    key: String,
    item: Node,
    rules: Vec<Node>,
}

struct Graph<'a> {
    root: &'a Block,
    draft: &'a mut Draft,
}

impl Graph<'_> {
    /// The block that `discovery.file.a.targets` is of.
    fn find(&self, reference: &str) -> Option<Block> {
        let is_it = |block: &&Block| {
            let own = format!("{}.{}.", block.name, block.label);
            reference.strip_prefix(&own).is_some_and(|rest| !rest.contains('.'))
        };
        self.root.blocks.iter().find(is_it).cloned()
    }

    fn add_scrape(&mut self, block: &Block) {
        let mut job = map([("job_name", text(block.text("job_name").unwrap_or(&block.label)))]);
        self.settings(block, &mut job, &["job_name", "targets", "forward_to", "clustering"]);
        let mut metric_rules = Vec::new();
        self.follow(block, &mut metric_rules, 0);
        let mut found = Vec::new();
        if let Some(targets) = block.attribute("targets") {
            self.resolve(targets, &mut found, 0);
        }
        // One job for each list of rules.
        let mut jobs: Vec<(Vec<Node>, Node)> = Vec::new();
        for Found { key, item, rules } in found {
            let idx = jobs.iter().position(|(known, _)| *known == rules).unwrap_or_else(|| {
                jobs.push((rules, job.clone()));
                jobs.len() - 1
            });
            push(&mut jobs[idx].1, &key, item);
        }
        for (rules, mut job) in jobs {
            if !rules.is_empty() {
                put(&mut job, "relabel_configs", list(rules));
            }
            if !metric_rules.is_empty() {
                put(&mut job, "metric_relabel_configs", list(metric_rules.clone()));
            }
            self.draft.add_job(job);
        }
        if block.blocks.iter().any(|inner| inner.name == "clustering") {
            self.draft.remark(format!(
                "prometheus.scrape.{}: clustering: share targets by a hashmod rule in relabel_configs",
                block.label
            ));
        }
    }

    /// Where the samples go: rules on the way, and endpoints, which get everything here.
    fn follow(&mut self, block: &Block, rules: &mut Vec<Node>, n_hops: usize) {
        let Some(Expression::List(receivers)) = block.attribute("forward_to") else { return };
        for receiver in receivers {
            let Expression::Reference(reference) = receiver else { continue };
            match self.find(reference) {
                Some(next) if next.name == "prometheus.relabel" && n_hops < MAX_HOPS => {
                    let own = self.rules(&next);
                    rules.extend(own);
                    self.follow(&next, rules, n_hops + 1);
                }
                Some(next) if next.name == "prometheus.remote_write" => {}
                _ => self.draft.remark(format!("forward_to {reference}: samples go by remote write alone")),
            }
        }
    }

    fn resolve(&mut self, targets: &Expression, found: &mut Vec<Found>, n_hops: usize) {
        match targets {
            Expression::List(all) => all.iter().for_each(|one| self.resolve(one, found, n_hops)),
            Expression::Call(name, all) if name == "concat" || name == "array.concat" => {
                all.iter().for_each(|one| self.resolve(one, found, n_hops));
            }
            Expression::Object(labels) => {
                let mut item = map([("targets", list([]))]);
                for (name, value) in labels {
                    let value = self.node(value, name);
                    match name.as_str() {
                        "__address__" => put(&mut item, "targets", list(value)),
                        name => {
                            if let Some(value) = value {
                                put_at(&mut item, &["labels", name], value);
                            }
                        }
                    }
                }
                found.push(Found { key: "static_configs".to_owned(), item, rules: Vec::new() });
            }
            Expression::Reference(reference) if n_hops < MAX_HOPS => {
                self.resolve_reference(reference, found, n_hops)
            }
            other => self.draft.remark(format!("targets = {}: write a job for them", shown(other))),
        }
    }

    fn resolve_reference(&mut self, reference: &str, found: &mut Vec<Found>, n_hops: usize) {
        let Some(block) = self.find(reference) else {
            self.draft.remark(format!("targets = {reference}: there is no such block; write a job for them"));
            return;
        };
        if block.name == "discovery.relabel" {
            let mut inner = Vec::new();
            if let Some(targets) = block.attribute("targets") {
                self.resolve(targets, &mut inner, n_hops + 1);
            }
            let rules = self.rules(&block);
            for one in &mut inner {
                one.rules.extend(rules.iter().cloned());
            }
            found.extend(inner);
        } else if let Some(kind) = block.name.strip_prefix("discovery.") {
            let mut item = map([]);
            self.settings(&block, &mut item, &[]);
            if kind == "kubernetes" && block.blocks.iter().any(computes_own_node) {
                put(&mut item, "own_node", plain("true"));
            }
            found.push(Found { key: format!("{kind}_sd_configs"), item, rules: Vec::new() });
        } else if let Some(kind) = block.name.strip_prefix("prometheus.exporter.") {
            let mut remark =
                format!("{}: no exporter is built in; run its exporter and scrape it", block.name);
            if kind == "unix" {
                remark =
                    format!("{}: no exporter is built in; run node_exporter on 127.0.0.1:9100", block.name);
                let item = map([("targets", list([text("127.0.0.1:9100")]))]);
                found.push(Found { key: "static_configs".to_owned(), item, rules: Vec::new() });
            }
            self.draft.remark(remark);
        } else {
            self.draft.remark(format!("targets = {reference}: {}", instead_of(&block.name)));
        }
    }

    fn rules(&mut self, block: &Block) -> Vec<Node> {
        let mut rules = Vec::new();
        for rule in block.blocks.iter().filter(|inner| inner.name == "rule") {
            let mut node = map([]);
            self.settings(rule, &mut node, &[]);
            rules.push(node);
        }
        rules
    }

    fn add_remote_write(&mut self, block: &Block) {
        if let Some(Expression::Object(labels)) = block.attribute("external_labels") {
            for (name, value) in labels {
                // These are filled in from the environment here, too.
                let value = match variable_of(value) {
                    Some(variable) => Some(text(format!("${{{variable}}}"))),
                    None => self.node(value, name),
                };
                if let Some(value) = value {
                    put_at(&mut self.draft.global, &["external_labels", name], value);
                }
            }
        }
        for endpoint in block.blocks.iter().filter(|inner| inner.name == "endpoint") {
            let mut node = map([]);
            self.settings(endpoint, &mut node, &[]);
            self.draft.add_endpoint(node);
        }
    }

    /// Attributes and inner blocks, which have Prometheus' names.
    fn settings(&mut self, block: &Block, node: &mut Node, but: &[&str]) {
        for (name, value) in block.attributes.iter().filter(|(name, _)| !but.contains(&name.as_str())) {
            if let Some(file) = self.file_of(name, value) {
                put(node, &format!("{name}_file"), text(file));
            } else if let Some(value) = self.node(value, name) {
                put(node, name, value);
            }
        }
        let mut seen = BTreeSet::new();
        for inner in block.blocks.iter().filter(|inner| !but.contains(&inner.name.as_str())) {
            let mut own = map([]);
            self.settings(inner, &mut own, &[]);
            match LISTS.iter().find(|(name, _)| *name == inner.name) {
                Some((_, name)) => push(node, name, own),
                None if seen.insert(&inner.name) => put(node, &inner.name, own),
                None => self
                    .draft
                    .remark(format!("{}.{}: only the first {} counts", block.name, block.label, inner.name)),
            }
        }
    }

    /// The file that a secret is the content of.
    fn file_of(&self, name: &str, value: &Expression) -> Option<String> {
        let Expression::Reference(reference) = value else { return None };
        let block = self.find(reference).filter(|block| block.name == "local.file")?;
        SECRETS.contains(&name).then(|| block.text("filename").map(str::to_owned)).flatten()
    }

    fn node(&mut self, value: &Expression, name: &str) -> Option<Node> {
        if let Some(variable) = variable_of(value) {
            self.draft
                .remark(format!("{name} = {variable}: write its value there, or name a file that has it"));
            return Some(text(variable));
        }
        Some(match value {
            Expression::Text(value) => text(value),
            Expression::Plain(value) => plain(value),
            Expression::List(all) => {
                list(all.iter().filter_map(|one| self.node(one, name)).collect::<Vec<_>>())
            }
            Expression::Object(fields) => {
                let mut node = map([]);
                for (key, value) in fields {
                    if let Some(value) = self.node(value, key) {
                        put(&mut node, key, value);
                    }
                }
                node
            }
            Expression::Call(function, arguments)
                if function == "nonsensitive" || function == "convert.nonsensitive" =>
            {
                return arguments.first().and_then(|inner| self.node(inner, name));
            }
            other => {
                self.draft.remark(format!("{name} = {}: write what it comes to", shown(other)));
                return None;
            }
        })
    }
}

/// What is taken from the environment.
fn variable_of(value: &Expression) -> Option<&str> {
    match value {
        Expression::Reference(name) if name == "constants.hostname" => Some("HOSTNAME"),
        Expression::Call(function, arguments) if function == "env" || function == "sys.env" => {
            match arguments.first() {
                Some(Expression::Text(variable)) => Some(variable),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A selector of the node that this runs on; `own_node` finds its name.
fn computes_own_node(selector: &Block) -> bool {
    matches!(selector.attribute("field"), Some(Expression::Other(text)) if text.contains("spec.nodeName="))
}

fn shown(expression: &Expression) -> String {
    match expression {
        Expression::Text(text)
        | Expression::Plain(text)
        | Expression::Reference(text)
        | Expression::Other(text) => text.clone(),
        Expression::Call(name, _) => format!("{name}(…)"),
        Expression::List(_) => "[…]".to_owned(),
        Expression::Object(_) => "{…}".to_owned(),
    }
}
