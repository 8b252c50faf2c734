//! `scraped explain TARGET|SERIES`: why a target is scraped as it is: where it came from, what each rule made of it, how it
//! fared, its limits, and what it costs. Asks the daemon that runs.

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::commands::service::figures::{Figures, Lag, bytes};
use crate::commands::service::{Service, ServiceError};
use crate::duration::parse_duration;
use crate::flags::{Arguments, Done, Outcome};
use crate::http::address::escape::escape_query;
use crate::terminal::{Colour, Terminal};

/// Targets that are explained at once.
const MAX_TARGETS: usize = 5;
const DAY_S: f64 = 86_400.0;

/// Keys of a job's configuration that are shown.
const LIMITS: [&str; 9] = [
    "body_size_limit",
    "sample_limit",
    "series_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "target_limit",
    "native_histogram_bucket_limit",
    "keep_dropped_targets",
];

/// `scraped explain`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let mut service = Service::find(arguments)?;
    let what = arguments.word(0);
    let mut targets = service.data("/api/v1/targets?state=any")?;
    let (mut active, mut dropped) =
        (list(&mut targets["activeTargets"]), list(&mut targets["droppedTargets"]));
    active.retain(|target| is_meant(target, &what));
    dropped.retain(|target| is_meant(target, &what));
    if active.is_empty() && dropped.is_empty() {
        active = of_series(&mut service, &what)?;
    }
    if active.is_empty() && dropped.is_empty() {
        return Err(format!(
            "neither a target nor a series of {} is {what:?}; name a URL, an address, an instance or a selector",
            service.url
        )
        .into());
    }
    let n_found = active.len() + dropped.len();
    let figures = Figures(service.text("/metrics")?);
    let mut explained = Vec::new();
    for target in active.into_iter().chain(dropped).take(MAX_TARGETS) {
        explained.push(Explained::of(target, &mut service, &figures)?);
    }
    if arguments.is_json() {
        let all: Vec<Value> = explained.iter().map(Explained::json).collect();
        writeln!(terminal, "{}", Value::Array(all))?;
        return Ok(Outcome::Good);
    }
    for target in &explained {
        let text = target.text(terminal);
        terminal.write_all(text.as_bytes())?;
    }
    if n_found > MAX_TARGETS {
        writeln!(terminal, "and {} more; name one of them more closely", n_found - MAX_TARGETS)?;
    }
    Ok(Outcome::Good)
}

fn list(value: &mut Value) -> Vec<Value> {
    match value.take() {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

/// By its URL, its address, its instance or its job.
fn is_meant(target: &Value, what: &str) -> bool {
    let discovered = &target["discoveredLabels"];
    let names = [
        &target["scrapeUrl"],
        &discovered["__address__"],
        &target["labels"]["instance"],
        &target["scrapePool"],
    ];
    let without_scheme = |url: &str| url.split_once("://").map(|(_, rest)| rest.to_owned());
    names.iter().filter_map(|name| name.as_str()).any(|name| {
        name == what
            || without_scheme(name).is_some_and(|rest| rest == what || rest.split('/').next() == Some(what))
    })
}

/// The targets that write the series of a selector, by their job and instance.
fn of_series(service: &mut Service, selector: &str) -> Result<Vec<Value>, ServiceError> {
    let mut path = String::from("/api/v1/series?limit=100&match[]=");
    escape_query(&mut path, selector);
    let mut series = match service.data(&path) {
        Ok(series) => series,
        // It is no selector.
        Err(ServiceError::Refused { status: 400 | 422, .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut targets = service.data("/api/v1/targets?state=active")?;
    let series = list(&mut series);
    let mut active = list(&mut targets["activeTargets"]);
    active.retain(|target| {
        let has = |label: &str, series: &Value| series[label] == target["labels"][label];
        series.iter().any(|series| has("job", series) && has("instance", series))
    });
    Ok(active)
}

/// Everything that is known of a target.
struct Explained {
    /// As the API has it.
    target: Value,
    /// Of a target that is scraped.
    attempts: Value,
    steps: Vec<Value>,
    limits: Map<String, Value>,
    bytes_a_day_on_disk: Option<f64>,
    bytes_a_day_on_wire: Option<f64>,
    /// Of one of its series.
    bytes_a_day_of_a_series: Option<f64>,
    /// Its turn with the scheduler; of a target that is scraped.
    queue: Value,
    /// Threads that scrape, by what they do.
    workers: String,
    lags: Vec<Lag>,
}

impl Explained {
    fn of(target: Value, service: &mut Service, figures: &Figures) -> Result<Self, ServiceError> {
        let pool = escaped(target["scrapePool"].as_str().unwrap_or_default());
        let labels = escaped(&target["discoveredLabels"].to_string());
        let mut steps =
            service.data(&format!("/api/v1/targets/relabel_steps?scrapePool={pool}&labels={labels}"))?;
        let config = service.data(&format!("/api/v1/scrape_pools/config?scrapePool={pool}"))?;
        let attempts = service.data(&format!("/api/v1/targets/attempts?scrapePool={pool}"))?;
        let of_target =
            |it: &&Value| it["scrapeUrl"] == target["scrapeUrl"] && target["scrapeUrl"].is_string();
        let attempts = attempts["targets"].as_array().and_then(|all| all.iter().find(of_target)).cloned();
        let attempts = attempts.unwrap_or_default();
        let queue = match target["scrapeUrl"].as_str() {
            Some(url) => {
                let path = format!("/api/v1/targets/queue?scrapePool={pool}&scrapeUrl={}", escaped(url));
                // It is gone by now, or scraping has not begun.
                service.data(&path).or_else(|error| error.is_refusal().then_some(Value::Null).ok_or(error))?
            }
            None => Value::Null,
        };
        let interval_s = target["scrapeInterval"].as_str().and_then(|text| parse_duration(text).ok());
        let scrapes_a_day =
            interval_s.filter(|interval| !interval.is_zero()).map(|interval| DAY_S / interval.as_secs_f64());
        let samples_a_day =
            scrapes_a_day.zip(attempts["samplesKept"].as_f64()).map(|(a_day, n_samples)| n_samples * a_day);
        let workers = figures.each("scraped_scrape_workers");
        let workers = workers.map(|(labels, n)| format!("{n} {}", Figures::label(labels, "state")));
        let day = |price: Option<f64>| samples_a_day.zip(price).map(|(n, price)| n * price);
        Ok(Self {
            attempts,
            steps: list(&mut steps["steps"]),
            limits: limits_of(&config),
            bytes_a_day_on_disk: day(figures.disk_price()),
            bytes_a_day_on_wire: day(figures.wire_price()),
            bytes_a_day_of_a_series: scrapes_a_day.zip(figures.disk_price()).map(|(n, price)| n * price),
            queue,
            workers: workers.collect::<Vec<String>>().join(", "),
            lags: figures.lags(),
            target,
        })
    }

    fn json(&self) -> Value {
        json!({
            "target": self.target, "attempts": self.attempts, "relabelSteps": self.steps, "limits": self.limits,
            "queue": self.queue, "bytesADayOnDisk": self.bytes_a_day_on_disk, "bytesADayOnWire": self.bytes_a_day_on_wire,
            "endpoints": self.lags,
        })
    }

    fn text(&self, terminal: &Terminal) -> String {
        let target = &self.target;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is_dropped = target["scrapeUrl"].is_null();
        let health = if is_dropped { "dropped".to_owned() } else { word(&target["health"]) };
        let colour = if health == "up" { Colour::Green } else { Colour::Red };
        let name = if is_dropped { &target["discoveredLabels"]["__address__"] } else { &target["scrapeUrl"] };
        let mut out = format!(
            "{} of job {}: {}\n",
            word(name),
            target["scrapePool"],
            terminal.coloured(colour, &health)
        );
        let mut line = |what: &str, said: &str| {
            let _ = writeln!(out, "  {what:<14} {said}");
        };
        let discovered = &target["discoveredLabels"];
        line("found by", &found_by(discovered, &word(&self.attempts["source"])));
        line("labels", &labels_of(discovered));
        let mut before = discovered.clone();
        for (idx, step) in self.steps.iter().enumerate() {
            let effect = effect_of(&before, step);
            line(&format!("rule {}", idx + 1), &format!("{}: {effect}", rule_of(&step["rule"])));
            before = step["output"].clone();
            if step["keep"] == false {
                break;
            }
        }
        if is_dropped {
            return out;
        }
        line("becomes", &labels_of(&target["labels"]));
        line(
            "scraped",
            &format!(
                "every {}, for at most {}",
                word(&target["scrapeInterval"]),
                word(&target["scrapeTimeout"])
            ),
        );
        let attempts = self.attempts["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(last) = attempts.last() {
            let took_ms = last["seconds"].as_f64().unwrap_or_default() * 1e3;
            line("last", &format!("{}, took {took_ms:.1} ms", word(&last["time"])));
            line("attempts", &strip(attempts));
            let (n, n_failed) = (&self.attempts["attemptsTotal"], &self.attempts["failedTotal"]);
            line("", &format!("{n_failed} of {n} failed; {health} since {}", word(&self.attempts["since"])));
        }
        let error = word(&target["lastError"]);
        if !error.is_empty() {
            line("error", &error);
        }
        let is_suspect =
            attempts.last().is_none_or(|last| last["failedIn"] != "") && error.contains("deadline");
        let lane = match is_suspect || attempts.is_empty() {
            true => "with those that have not answered yet: they never take the last quarter of the workers",
            false => "with those that answer",
        };
        line("queue", &format!("{}{lane}; workers: {}", turn_of(&self.queue), self.workers));
        let limits: Vec<String> =
            self.limits.iter().map(|(name, limit)| format!("{name} {}", word(limit))).collect();
        let series = match (&target["seriesLimit"], &target["seriesCurrent"]) {
            (Value::Null, _) => String::new(),
            (limit, current) => format!("; {current} of {limit} series in use"),
        };
        line(
            "limits",
            &format!("{}{series}", if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }),
        );
        let (n_kept, n_scraped) = (&self.attempts["samplesKept"], &self.attempts["samplesScraped"]);
        let page = bytes(self.attempts["bodyBytes"].as_f64().unwrap_or_default());
        line("samples", &format!("{n_kept} of {n_scraped} kept, a page of {page}"));
        let day = |n: Option<f64>| n.map_or("not known yet".to_owned(), bytes);
        let (disk, wire) = (day(self.bytes_a_day_on_disk), day(self.bytes_a_day_on_wire));
        line(
            "a day",
            &format!(
                "on disk {disk}, on the wire {wire}; a series of it {} on disk",
                day(self.bytes_a_day_of_a_series)
            ),
        );
        for lag in &self.lags {
            line("sent", &lag.to_string());
        }
        out
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape_query(&mut out, text);
    out
}

/// Limits of a job that are set, as its configuration prints them.
fn limits_of(config: &Value) -> Map<String, Value> {
    let yaml = config["yaml"].as_str().or(config.as_str()).unwrap_or_default();
    let lines = yaml.lines().filter_map(|line| line.split_once(": "));
    let set = lines.filter(|(name, value)| LIMITS.contains(name) && !matches!(*value, "0" | "0B"));
    set.map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn found_by(discovered: &Value, source: &str) -> String {
    let has = |start: &str| {
        discovered.as_object().is_some_and(|labels| labels.keys().any(|it| it.starts_with(start)))
    };
    let kinds = [
        ("__meta_kubernetes_", "kubernetes_sd_configs"),
        ("__meta_docker_", "docker_sd_configs"),
        ("__meta_consul_", "consul_sd_configs"),
        ("__meta_mdns_", "mdns_sd_configs"),
        ("__meta_dns_", "dns_sd_configs"),
        ("__meta_filepath", "file_sd_configs"),
        ("__meta_url", "http_sd_configs"),
    ];
    let kind = kinds
        .iter()
        .find(|(start, _)| has(start))
        .map_or("static_configs or exec_sd_configs", |(_, kind)| kind);
    if source.is_empty() { kind.to_owned() } else { format!("{kind}, group {source}") }
}

fn labels_of(labels: &Value) -> String {
    let shown = |(name, value): (&String, &Value)| format!("{name}={value}");
    let labels: Vec<String> = labels.as_object().into_iter().flatten().map(shown).collect();
    format!("{{{}}}", labels.join(", "))
}

/// When it is scraped, and after how many others.
fn turn_of(queue: &Value) -> String {
    let seconds = |name: &str| queue[name].as_f64().unwrap_or_default();
    let before = &queue["before"];
    match queue["state"].as_str() {
        Some("scheduled") => format!(
            "due in {:.1} s, {before} of {} scheduled loops are due before it; ",
            seconds("dueInSeconds"),
            queue["scheduled"]
        ),
        Some("due") => {
            format!("due for {:.1} s, {before} others get a worker before it; ", seconds("seconds"))
        }
        Some("waiting") => format!("waits for a worker, {before} others wait longer; "),
        Some("running") => format!("being scraped for {:.1} s; ", seconds("seconds")),
        _ => String::new(),
    }
}

/// A rule in one line, without what is the default.
fn rule_of(rule: &Value) -> String {
    let mut text = rule["action"].as_str().unwrap_or_default().to_owned();
    for (name, value) in rule.as_object().into_iter().flatten() {
        let is_default = matches!(
            (name.as_str(), value.as_str()),
            ("action", _) | ("separator", Some(";")) | ("regex", Some("(.*)")) | ("replacement", Some("$1"))
        );
        if !is_default {
            let _ = write!(text, " {name}={value}");
        }
    }
    text
}

fn effect_of(before: &Value, step: &Value) -> String {
    if step["keep"] == false {
        return "dropped".to_owned();
    }
    let (empty, after) = (Map::new(), &step["output"]);
    let pairs = |value: &Value| value.as_object().unwrap_or(&empty).clone();
    let (before, after) = (pairs(before), pairs(after));
    let gone = before.iter().filter(|(name, value)| after.get(*name) != Some(*value));
    let new = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    let gone = gone.map(|(name, value)| format!("-{name}={value}"));
    let all: Vec<String> = gone.chain(new.map(|(name, value)| format!("+{name}={value}"))).collect();
    if all.is_empty() { "no change".to_owned() } else { all.join(" ") }
}

/// The last attempts, oldest first: `.` for a good one, or where it failed.
fn strip(attempts: &[Value]) -> String {
    let shown = attempts.iter().map(|attempt| match attempt["failedIn"].as_str() {
        None | Some("") => ".".to_owned(),
        Some(stage) => format!(" {stage} "),
    });
    shown.collect::<String>().trim().replace("  ", " ")
}
