//! Whose words a label's value is made of: those that stand in a rule, and those that the rule copied from elsewhere.
//!
//! Runs the rules once more, one by one, so it is for the few label sets about which somebody has to ask.

use crate::labels::builder::LabelsBuilder;
use crate::labels::relabel::{Action, RelabelRule, Scratch};
pub use crate::labels::template::Piece;

/// What the rule that wrote a label last has put there, piece by piece.
pub type Written = Vec<Piece<String>>;

/// How the value of `name` came to be when `rules` are applied to `labels`.
///
/// `None`: its text is not a rule's. It was there before, or the last rule that changed it is not a `replace` whose
/// `target_label` is literally `name`: other actions only move text about that came from elsewhere.
pub fn written_by_rule(labels: &mut LabelsBuilder, rules: &[RelabelRule], name: &str) -> Option<Written> {
    let mut scratch = Scratch::default();
    let mut written = None;
    for rule in rules {
        let writes = rule.pieces_of(labels, &mut scratch, name);
        let before = labels.get(name).to_owned();
        if !rule.apply(labels, &mut scratch) {
            return None;
        }
        match writes {
            Some(pieces) => written = Some(pieces),
            None if labels.get(name) != before => written = None,
            // The same text as before has the same origin.
            None => {}
        }
    }
    written
}

impl RelabelRule {
    /// What this rule writes into `name`, if it does and says so itself.
    fn pieces_of(&self, labels: &LabelsBuilder, scratch: &mut Scratch, name: &str) -> Option<Written> {
        if self.config.action != Action::Replace || self.config.target_label != name {
            return None;
        }
        let values: Vec<&str> = self.config.source_labels.iter().map(|source| labels.get(source)).collect();
        let value = values.join(&self.config.separator);
        let slots = &mut scratch.slots;
        if !self.pattern.find(&value, slots) {
            return None;
        }
        let mut pieces = Written::new();
        self.replacement.visit(&value, slots, |piece| {
            pieces.push(match piece {
                Piece::Literal(text) => Piece::Literal(text.to_owned()),
                Piece::Captured(text) => Piece::Captured(text.to_owned()),
            });
        });
        Some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::relabel::RelabelConfig;

    fn rule(action: Action, source: &str, regex: &str, target: &str, replacement: &str) -> RelabelRule {
        RelabelRule::new(RelabelConfig {
            source_labels: source.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
            separator: ";".to_owned(),
            regex: regex.to_owned(),
            modulus: if action == Action::HashMod { 8 } else { 0 },
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
        })
        .expect("a good rule")
    }

    fn check(rules: &[RelabelRule], want: Option<&str>) {
        let mut labels = LabelsBuilder::new();
        for (name, value) in [("a", "file:/etc/shadow"), ("m", "X"), ("t", "a"), ("map_a", "file:/m")] {
            labels.set(name, value);
        }
        let written = written_by_rule(&mut labels, rules, "a").map(|pieces| {
            let shown = pieces.iter().map(|piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Captured(text) => format!("<{text}>"),
            });
            shown.collect::<String>()
        });
        assert_eq!(written.as_deref(), want, "{rules:?}");
    }

    #[test]
    fn only_a_rule_that_names_the_label_has_written_it() {
        let replace = |source, replacement| rule(Action::Replace, source, "(.*)", "a", replacement);
        check(&[], None);
        check(&[replace("m", "file:/x/$1.prom")], Some("file:/x/<X>.prom"));
        check(&[replace("m", "$1")], Some("<X>"));
        check(&[replace("", "file:/x")], Some("file:/x"));
        // It does not match, and leaves what was there.
        check(&[rule(Action::Replace, "m", "Y", "a", "file:/x")], None);
        // Somebody else says which label is written.
        check(&[rule(Action::Replace, "t", "(.*)", "$1", "file:/x")], None);
        let literal = replace("", "file:/X");
        for launders in [
            rule(Action::LabelMap, "", "map_(.*)", "", "$1"),
            rule(Action::Lowercase, "a", "(.*)", "a", "$1"),
            rule(Action::Uppercase, "a", "(.*)", "a", "$1"),
            rule(Action::HashMod, "a", "(.*)", "a", "$1"),
            rule(Action::Replace, "t", "(.*)", "$1", "y"),
            rule(Action::LabelDrop, "", "a", "", "$1"),
        ] {
            check(std::slice::from_ref(&launders), None);
            check(&[literal.clone(), launders.clone()], None);
            check(&[launders, literal.clone()], Some("file:/X"));
        }
        check(&[literal, rule(Action::Replace, "a", "(.*)", "a", "$1")], Some("<file:/X>"));
    }
}
