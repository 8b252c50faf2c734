//! The rule that drops all series with a label, as text for a configuration.

use scraped_engine::labels::{METRIC_NAME, is_legacy_label_name};
use scraped_engine::store::report::is_report_name;

/// For `metric_relabel_configs`; `None` for what no such rule sees: what a scrape writes about itself.
pub(super) fn drop_rule(name: &str, value: &str) -> Option<String> {
    if name == METRIC_NAME && is_report_name(value) {
        return None;
    }
    let name = if is_legacy_label_name(name) { name.to_owned() } else { quoted(name) };
    let regex = quoted(&escaped(value));
    Some(format!("metric_relabel_configs:\n- {{source_labels: [{name}], regex: {regex}, action: drop}}\n"))
}

/// A regular expression that matches this text alone.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A scalar of YAML: in single quotes, or in double ones if a character has to be written as its number.
fn quoted(text: &str) -> String {
    // Among them what YAML takes for the end of a line.
    let is_special = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if !text.contains(is_special) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_special(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use scraped_engine::labels::builder::LabelsBuilder;
    use scraped_engine::labels::relabel::{Verdict, relabel};

    #[test]
    fn a_rule_drops_what_it_is_made_for_and_nothing_else() {
        let pairs = [
            ("__name__", "http_requests_total"),
            ("__name__", "with.dot"),
            ("le", "+Inf"),
            ("path", "/a(b)|c'd\"e\\f"),
            ("text", "two\nlines\u{7f}\u{85}\t\\\"'"),
            ("not.legacy", "é: {} # $1 %"),
            ("x", " blanks "),
        ];
        for (name, value) in pairs {
            let rule = drop_rule(name, value).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("scraped.yml");
            let rule_of_job: String = rule.lines().map(|line| format!("  {line}\n")).collect();
            let text = format!("scrape_configs:\n- job_name: a\n{rule_of_job}");
            std::fs::write(&path, &text).unwrap();
            let config = config::load(&path).unwrap_or_else(|errors| panic!("{text}{errors}"));
            let rules = &config.scrape_configs[0].metric_relabel_configs;
            let verdict = |value: &str| {
                let mut labels = LabelsBuilder::new();
                labels.set(name, value);
                relabel(&mut labels, rules)
            };
            assert_ne!(verdict(value), Verdict::Keep, "{text}");
            for other in ["a", "", &format!("{value}x"), &value.replace('.', "x").replace(['+', '('], "y")] {
                assert!(other == value || verdict(other) == Verdict::Keep, "{text}: {other}");
            }
        }
        assert_eq!(drop_rule("__name__", "up"), None);
        assert_eq!(
            drop_rule("le", "+Inf").unwrap(),
            "metric_relabel_configs:\n- {source_labels: [le], regex: '\\+Inf', action: drop}\n"
        );
    }
}
