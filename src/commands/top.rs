//! `scraped top`: how the daemon is doing now, again and again on a terminal, and once elsewhere.

use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::service::figures::{Figures, bytes};
use crate::commands::service::{Service, ServiceError};
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::{Colour, Terminal};

/// Between two looks, by default.
const EVERY: Duration = Duration::from_secs(2);
/// Lines of targets where nothing says how many there may be.
const MAX_LINES: usize = 1000;
/// Lines above the targets.
const HEAD_LINES: usize = 6;
/// Home, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What is known at one moment.
struct Look {
    figures: Figures,
    targets: Vec<Row>,
}

/// A target.
struct Row {
    job: String,
    url: String,
    health: String,
    /// Where its last scrape failed.
    failed_in: String,
    error: String,
    took_ms: f64,
    n_samples: u64,
    body_bytes: u64,
}

/// `scraped top`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let mut service = Service::find(arguments)?;
    let every = arguments.flag_duration("every").filter(|every| !every.is_zero()).unwrap_or(EVERY);
    let mut before = None;
    loop {
        let look = Look::take(&mut service)?;
        if arguments.is_json() {
            writeln!(terminal, "{}", look.json())?;
            return Ok(Outcome::Good);
        }
        let screen = look.screen(terminal, &service.url, before.as_ref().map(|before| (before, every)));
        if !terminal.is_terminal() {
            terminal.write_all(screen.as_bytes())?;
            return Ok(Outcome::Good);
        }
        terminal.write_all(format!("{CLEAR}{screen}").as_bytes())?;
        terminal.flush()?;
        before = Some(look.figures);
        thread::sleep(every);
    }
}

impl Look {
    fn take(service: &mut Service) -> Result<Self, ServiceError> {
        let figures = Figures(service.text("/metrics")?);
        let active = service.data("/api/v1/targets?state=active")?;
        let attempts = service.data("/api/v1/targets/attempts")?;
        let attempts = attempts["targets"].as_array().cloned().unwrap_or_default();
        // Both lists are in the same order, but for what came or went between.
        let mut at = 0;
        let mut targets = Vec::new();
        for target in active["activeTargets"].as_array().into_iter().flatten() {
            let is_same = |it: &Value| {
                it["scrapeUrl"] == target["scrapeUrl"] && it["scrapePool"] == target["scrapePool"]
            };
            let found = attempts.iter().enumerate().skip(at).find(|(_, it)| is_same(it));
            let attempts = found.map(|(idx, it)| {
                at = idx + 1;
                it
            });
            targets.push(Row::of(target, attempts.unwrap_or(&Value::Null)));
        }
        // Those that are down first, then those that take longest.
        scraped_engine::sorting::sort_by(&mut targets, |left, right| {
            let is_up = |row: &Row| row.health == "up";
            is_up(left).cmp(&is_up(right)).then(right.took_ms.total_cmp(&left.took_ms))
        });
        Ok(Self { figures, targets })
    }

    fn json(&self) -> Value {
        let targets = self.targets.iter().map(|row| {
            json!({
                "job": row.job, "url": row.url, "health": row.health, "failedIn": row.failed_in, "error": row.error,
                "seconds": row.took_ms / 1e3, "samples": row.n_samples, "bodyBytes": row.body_bytes
            })
        });
        json!({
            "targets": targets.collect::<Vec<Value>>(),
            "endpoints": self.figures.lags(),
            "series": self.figures.sum("prometheus_agent_active_series"),
            "logBytes": self.figures.sum("prometheus_tsdb_wal_storage_size_bytes"),
            "residentBytes": self.figures.sum("process_resident_memory_bytes"),
        })
    }

    fn screen(&self, terminal: &Terminal, url: &str, before: Option<(&Figures, Duration)>) -> String {
        let figures = &self.figures;
        let rate = |name: &str| {
            let (before, over) = before?;
            Some((figures.sum(name) - before.sum(name)).max(0.0) / over.as_secs_f64())
        };
        let bytes_a_s = |name: &str| rate(name).map_or(String::new(), |n| format!(", {}/s", bytes(n)));
        let n_down = self.targets.iter().filter(|row| row.health != "up").count();
        let down = match n_down {
            0 => terminal.coloured(Colour::Green, "all up"),
            n => terminal.coloured(Colour::Red, &format!("{n} not up")),
        };
        let mut lines = vec![format!("scraped at {url}: {} targets, {down}", self.targets.len())];
        lines.push(format!(
            "log       {} of {}{}; {} series",
            bytes(figures.sum("prometheus_tsdb_wal_storage_size_bytes")),
            bytes(figures.sum("scraped_wal_limit_bytes")),
            bytes_a_s("prometheus_tsdb_wal_record_parts_bytes_written_total"),
            figures.sum("prometheus_agent_active_series")
        ));
        let cpu = rate("process_cpu_seconds_total")
            .map_or(String::new(), |n| format!(", {:.1} % of a core", n * 100.0));
        lines.push(format!(
            "process   {} of memory{cpu}",
            bytes(figures.sum("process_resident_memory_bytes"))
        ));
        let lags: Vec<String> = figures.lags().iter().map(ToString::to_string).collect();
        let sent = bytes_a_s("prometheus_remote_storage_bytes_total");
        let lags = if lags.is_empty() { "nothing: no remote_write".to_owned() } else { lags.join("; ") };
        lines.push(format!("sending   {lags}{sent}"));
        lines.push(String::new());
        lines.push(format!(
            "{:7} {:16} {:>9} {:>8} {:>9}  {}",
            "STATE", "JOB", "TOOK", "SAMPLES", "PAGE", "TARGET"
        ));
        let n_rows = terminal.rows().map_or(MAX_LINES, |rows| rows.saturating_sub(HEAD_LINES + 2));
        for row in self.targets.iter().take(n_rows) {
            lines.push(row.line(terminal));
        }
        if self.targets.len() > n_rows {
            lines.push(format!("and {} more", self.targets.len() - n_rows));
        }
        lines.join("\n") + "\n"
    }
}

impl Row {
    fn of(target: &Value, attempts: &Value) -> Self {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let last = attempts["attempts"].as_array().and_then(|attempts| attempts.last());
        Self {
            job: word(&target["scrapePool"]),
            url: word(&target["scrapeUrl"]),
            health: word(&target["health"]),
            failed_in: last.map(|last| word(&last["failedIn"])).unwrap_or_default(),
            error: word(&target["lastError"]),
            took_ms: target["lastScrapeDuration"].as_f64().unwrap_or_default() * 1e3,
            n_samples: attempts["samplesKept"].as_u64().unwrap_or_default(),
            body_bytes: attempts["bodyBytes"].as_u64().unwrap_or_default(),
        }
    }

    fn line(&self, terminal: &Terminal) -> String {
        let health = format!("{:7}", self.health);
        let colour = match self.health.as_str() {
            "up" => Colour::Green,
            "down" => Colour::Red,
            _ => Colour::Yellow,
        };
        let page = bytes(self.body_bytes as f64);
        let rest =
            format!("{:16} {:>6.1} ms {:>8} {page:>9}  {}", self.job, self.took_ms, self.n_samples, self.url);
        let failed = if self.failed_in.is_empty() {
            String::new()
        } else {
            format!("  {}: {}", self.failed_in, self.error)
        };
        let rest = format!("{rest}{failed}");
        let room = terminal.columns().map_or(usize::MAX, |columns| columns.saturating_sub(8));
        let rest: String = rest.chars().take(room).collect();
        format!("{} {rest}", terminal.coloured(colour, &health))
    }
}
