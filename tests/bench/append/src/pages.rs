//! One page in every format.

use scraped_engine::exposition::content_type::Format;
use std::collections::BTreeMap;

/// A page and what its target says it is.
pub struct Exposed {
    pub page: Vec<u8>,
    pub format: Format,
    pub content_type: &'static str,
}

/// The samples of the page with `copy="N"` as first label.
pub fn copies(page: &str, n_copies: usize) -> String {
    let mut copies = page.to_owned();
    for copy in 1..n_copies {
        for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a sample"));
            match rest.strip_prefix('{') {
                Some(labels) => copies.push_str(&format!("{name}{{copy=\"{copy}\",{labels}\n")),
                None => copies.push_str(&format!("{name}{{copy=\"{copy}\"}}{rest}\n")),
            }
        }
    }
    copies
}

/// The page as it is.
pub fn as_text(page: &str) -> Exposed {
    let content_type = "text/plain; version=0.0.4";
    Exposed { page: page.as_bytes().to_vec(), format: Format::Text, content_type }
}

/// The same page as a library would write it in OpenMetrics, but for the names of counters.
pub fn as_openmetrics(page: &str) -> Exposed {
    let is_metadata = |line: &str| line.starts_with("# HELP ") || line.starts_with("# TYPE ");
    let mut text = String::with_capacity(page.len());
    for line in page.lines().filter(|line| !line.is_empty() && (!line.starts_with('#') || is_metadata(line)))
    {
        match line.strip_suffix(" untyped") {
            Some(start) if line.starts_with("# TYPE ") => text.push_str(&format!("{start} unknown")),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
    let content_type = "application/openmetrics-text; version=1.0.0";
    Exposed { page: text.into_bytes(), format: Format::OpenMetrics, content_type }
}

/// A family while it is put together.
#[derive(Default)]
struct Family<'a> {
    help: &'a str,
    kind: &'a str,
    metrics: Vec<u8>,
    /// Of a summary.
    summary: Vec<u8>,
}

/// The same page as delimited protobuf; summaries have no labels but the quantile.
pub fn as_protobuf(page: &str) -> Exposed {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            families.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            families.entry(name).or_default().kind = kind;
        } else if !line.starts_with('#') {
            add_sample(&mut families, line);
        }
    }
    let mut page = Vec::new();
    for (name, family) in families {
        let kind = ["counter", "gauge", "summary"].iter().position(|it| *it == family.kind).unwrap_or(3);
        let mut message = Vec::new();
        push(&mut message, 1, name.as_bytes());
        push(&mut message, 2, family.help.as_bytes());
        message.extend([3 << 3, kind as u8]);
        message.extend(family.metrics);
        if !family.summary.is_empty() {
            let mut metric = Vec::new();
            push(&mut metric, 4, &family.summary);
            push(&mut message, 4, &metric);
        }
        push_varint(&mut page, message.len());
        page.extend(message);
    }
    let content_type =
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    Exposed { page, format: Format::Protobuf, content_type }
}

fn add_sample<'a>(families: &mut BTreeMap<&'a str, Family<'a>>, line: &'a str) {
    let (series, value) = line.rsplit_once(' ').expect("a sample");
    let value: f64 = value.parse().expect("a number");
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}');
    let base = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
    if let Some(family) = base.and_then(|it| families.get_mut(it)).filter(|it| it.kind == "summary") {
        if name.ends_with("_sum") {
            push_double(&mut family.summary, 2, value);
        } else {
            family.summary.push(1 << 3);
            push_varint(&mut family.summary, value as usize);
        }
        return;
    }
    let family = families.entry(name).or_default();
    if family.kind == "summary" {
        let quantile = labels.trim_start_matches("quantile=").trim_matches('"').parse().expect("a number");
        let mut message = Vec::new();
        push_double(&mut message, 1, quantile);
        push_double(&mut message, 2, value);
        push(&mut family.summary, 3, &message);
        return;
    }
    let mut metric = Vec::new();
    for pair in labels.split("\",").filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once("=\"").expect("a label");
        let mut message = Vec::new();
        push(&mut message, 1, name.as_bytes());
        push(&mut message, 2, value.trim_end_matches('"').as_bytes());
        push(&mut metric, 1, &message);
    }
    let mut message = Vec::new();
    push_double(&mut message, 1, value);
    let field = match family.kind {
        "counter" => 3,
        "gauge" => 2,
        _ => 5,
    };
    push(&mut metric, field, &message);
    push(&mut family.metrics, 4, &metric);
}

fn push(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    push_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
