//! `relabel_configs` and `metric_relabel_configs`: typed rules → [`RelabelRule`].
//!
//! The rules themselves are checked where they are executed, in `labels`; here stands what only the typed form knows,
//! such as whether a default was spelled out.

use crate::config::text::fields::Field;
use scraped_engine::labels::relabel::{Action, NameScheme, RelabelConfig, RelabelRule};

/// How a rule's error begins if it is about the pattern; as Go's `regexp` has it.
const REGEX_ERROR: &str = "error parsing regexp";

/// Rules of `field` over such names; `what` is Prometheus' name for the list (`target relabeling rule in scrape
/// config`).
pub(in crate::config) fn read_rules(field: &Field<'_>, what: &str, names: NameScheme) -> Vec<RelabelRule> {
    let mut rules = Vec::new();
    for item in field.items() {
        if item.is_null() {
            item.mistake(format!("empty or null {what}"));
        } else {
            rules.extend(read_rule(&item, names));
        }
    }
    rules
}

fn read_rule(item: &Field<'_>, names: NameScheme) -> Option<RelabelRule> {
    let mut fields = item.fields()?;
    let source_labels = fields.take("source_labels");
    let separator = fields.take("separator");
    let regex = fields.take("regex");
    let modulus = fields.take("modulus");
    let target_label = fields.text("target_label").unwrap_or_default();
    let replacement = fields.take("replacement");
    let action = fields.take("action");
    fields.finish(|_| false);

    let action = match &action {
        None => Action::Replace,
        Some(field) => read_action(field)?,
    };
    let rejects_others = match action {
        Action::KeepEqual | Action::DropEqual => regex.is_some(),
        Action::LabelDrop | Action::LabelKeep => source_labels.as_ref().is_some_and(|field| !field.is_null()),
        _ => false,
    };
    let config = RelabelConfig {
        source_labels: source_labels.as_ref().map(read_label_names).unwrap_or_default(),
        separator: or_default(separator, ";")?,
        regex: or_default(regex.clone(), "(.*)")?,
        modulus: modulus.map_or(Some(0), |field| field.count())?,
        target_label,
        replacement: or_default(replacement, "$1")?,
        action,
    };
    if rejects_others {
        let name = action.to_string();
        item.mistake(match action {
            Action::LabelDrop | Action::LabelKeep => {
                format!("{name} action requires only 'regex', and no other fields")
            }
            _ => {
                format!("{name} action requires only 'source_labels' and `target_label`, and no other fields")
            }
        });
        return None;
    }
    let pattern = item.pattern(&config.regex).map_err(|error| error.to_string());
    pattern
        .and_then(|pattern| RelabelRule::with_pattern(config, names, pattern))
        .map_err(|sentence| match &regex {
            Some(regex) if sentence.starts_with(REGEX_ERROR) => regex.mistake(sentence),
            _ => item.mistake(sentence),
        })
        .ok()
}

/// The typed text, which may be empty, or the default where there is none.
fn or_default(field: Option<Field<'_>>, default: &str) -> Option<String> {
    field.map_or_else(|| Some(default.to_owned()), |field| field.text())
}

fn read_label_names(field: &Field<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for item in field.items() {
        let Some(name) = item.text() else { continue };
        if name.is_empty() && !item.is_null() {
            item.mistake(format!("{name:?} is not a valid label name"));
        }
        names.push(name);
    }
    names
}

fn read_action(field: &Field<'_>) -> Option<Action> {
    let text = field.text()?;
    if field.is_null() {
        field.mistake("relabel action cannot be empty");
        return None;
    }
    text.parse().map_err(|why: String| field.mistake(why)).ok()
}

#[cfg(test)]
mod tests {
    use super::read_rules;
    use crate::config::text::document::Document;
    use crate::config::text::fields::Field;
    use crate::config::text::yaml::parse;
    use scraped_engine::labels::relabel::NameScheme;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn a_pattern_of_many_rules_is_compiled_once() {
        let node = parse(
            "- &rule {action: keep, source_labels: [a], regex: 'a.+b'}\n- *rule\n\
             - {action: drop, source_labels: [b], regex: a.+b}\n- {action: keep, source_labels: [a], regex: 'a.+c'}\n",
        )
        .unwrap();
        let document = Document::new(Path::new("f"));
        let root = Field::root(&node, &document);
        let mut rules = read_rules(&root, "rule", NameScheme::Utf8);
        // Another job.
        rules.extend(read_rules(&root, "rule", NameScheme::Legacy));
        assert!(document.into_parts().0.is_empty());
        let same: Vec<bool> =
            rules.iter().map(|rule| Arc::ptr_eq(rule.pattern(), rules[0].pattern())).collect();
        assert_eq!(same, [true, true, true, false, true, true, true, false]);
        // Not kept for longer than the file is read.
        assert_eq!(Arc::strong_count(rules[0].pattern()), 6);
    }
}
