//! `scraped relabel test LABELS…`: what each rule makes of a set of labels.

use std::fmt::{self, Write as _};
use std::io::Write;

use serde_json::{Value, json};

use crate::commands::service;
use crate::config::error::ConfigErrors;
use crate::config::{load, load_rules};
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::{Colour, Terminal};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::{RelabelConfig, RelabelRule, Verdict, relabel};
use scraped_engine::labels::selector::parser::parse_selector;

/// Why there is nothing to test.
#[derive(Debug)]
enum RelabelTestError {
    /// The configuration, or the file of rules.
    Config(ConfigErrors),
    /// `--job`.
    UnknownJob { job: String },
    /// Neither `--rules` nor `--job`.
    NoRules,
    /// An argument is no label.
    NoLabel { given: String },
}

impl fmt::Display for RelabelTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::UnknownJob { job } => write!(f, "no job is called {job:?}"),
            Self::NoRules => f.write_str("which rules? --rules=FILE, or --job=JOB with --config.file=FILE"),
            Self::NoLabel { given } => write!(
                f,
                "{given:?} is no label; write name=\"value\", a set as {{a=\"b\"}}, or JSON as {{\"a\": \"b\"}}"
            ),
        }
    }
}

impl std::error::Error for RelabelTestError {}

/// `scraped relabel test`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let rules = rules(arguments)?;
    let mut labels = LabelsBuilder::new();
    for word in arguments.words() {
        read_labels(&word, &mut labels)?;
    }
    let mut steps = Vec::new();
    let mut shown = pairs_of(&labels);
    if !arguments.is_json() {
        writeln!(terminal, "{}", text_of(&shown))?;
    }
    let mut keep = true;
    for (idx, rule) in rules.iter().enumerate() {
        keep = relabel(&mut labels, std::slice::from_ref(rule)) == Verdict::Keep;
        let now = pairs_of(&labels);
        if arguments.is_json() {
            steps.push(
                json!({"rule": words_of(rule.config()), "keep": keep, "labels": object_of(&labels, keep)}),
            );
        } else {
            let effect = match (keep, now == shown) {
                (false, _) => terminal.coloured(Colour::Red, "dropped"),
                (true, true) => terminal.coloured(Colour::Grey, "no change"),
                (true, false) => terminal.coloured(Colour::Green, &difference(&shown, &now)),
            };
            writeln!(terminal, "{}. {}\n   {effect}", idx + 1, words_of(rule.config()))?;
        }
        shown = now;
        if !keep {
            break;
        }
    }
    if arguments.is_json() {
        writeln!(terminal, "{}", json!({"keep": keep, "labels": object_of(&labels, keep), "steps": steps}))?;
    } else {
        writeln!(terminal, "{}", if keep { text_of(&shown) } else { "dropped".to_owned() })?;
    }
    Ok(Outcome::Good)
}

fn rules(arguments: &Arguments) -> Result<Vec<RelabelRule>, RelabelTestError> {
    if let Some(file) = arguments.flag_file("rules") {
        return load_rules(&file).map_err(RelabelTestError::Config);
    }
    let job = arguments.flag("job").ok_or(RelabelTestError::NoRules)?;
    let config = load(&service::config_file(arguments.flag_file("config.file").as_deref()))
        .map_err(RelabelTestError::Config)?;
    let found = config.scrape_configs.iter().find(|it| it.job_name == job);
    let found = found.ok_or(RelabelTestError::UnknownJob { job })?;
    Ok(match arguments.is_on("metrics") {
        true => found.metric_relabel_configs.clone(),
        false => found.relabel_configs.clone(),
    })
}

/// JSON, a set in braces with or without a metric's name in front, or one label.
fn read_labels(word: &str, labels: &mut LabelsBuilder) -> Result<(), RelabelTestError> {
    let wrong = || RelabelTestError::NoLabel { given: word.to_owned() };
    if let Ok(Value::Object(object)) = serde_json::from_str(word) {
        for (name, value) in object {
            labels.set(&name, value.as_str().ok_or_else(wrong)?);
        }
        return Ok(());
    }
    // Selectors do not know names like `a.b` without quotes, which shells take away; values as well.
    if !word.contains('{')
        && let Some((name, value)) = word.split_once('=')
    {
        labels.set(name, value.trim_matches('"'));
        return Ok(());
    }
    let selector = parse_selector(word).map_err(|_| wrong())?;
    for matcher in selector.matchers() {
        let is_label = !matcher.has_pattern() && matcher.passes(matcher.value());
        labels.set(matcher.name(), if is_label { matcher.value() } else { return Err(wrong()) });
    }
    Ok(())
}

fn pairs_of(labels: &LabelsBuilder) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn text_of(labels: &[(String, String)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", labels.join(", "))
}

fn object_of(labels: &LabelsBuilder, keep: bool) -> Value {
    let kept = labels.iter().filter(|_| keep);
    Value::Object(kept.map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

/// Labels that came, went or changed: `-a="b" +a="c"`.
fn difference(before: &[(String, String)], after: &[(String, String)]) -> String {
    let shown = |sign: char, (name, value): &(String, String)| format!("{sign}{name}={value:?}");
    let gone = before.iter().filter(|label| !after.contains(label)).map(|label| shown('-', label));
    let new = after.iter().filter(|label| !before.contains(label)).map(|label| shown('+', label));
    gone.chain(new).collect::<Vec<String>>().join(" ")
}

/// A rule in one line, without what is the default.
pub(in crate::commands) fn words_of(rule: &RelabelConfig) -> String {
    let mut text = rule.action.to_string();
    if !rule.source_labels.is_empty() {
        let _ = write!(text, " source_labels=[{}]", rule.source_labels.join(", "));
    }
    if rule.separator != ";" {
        let _ = write!(text, " separator={:?}", rule.separator);
    }
    if rule.regex != "(.*)" {
        let _ = write!(text, " regex={:?}", rule.regex);
    }
    if rule.modulus != 0 {
        let _ = write!(text, " modulus={}", rule.modulus);
    }
    if !rule.target_label.is_empty() {
        let _ = write!(text, " target_label={}", rule.target_label);
    }
    if rule.replacement != "$1" {
        let _ = write!(text, " replacement={:?}", rule.replacement);
    }
    text
}
