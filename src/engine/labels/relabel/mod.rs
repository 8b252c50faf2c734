//! Relabelling: rules over a [`LabelsBuilder`], as Prometheus' `model/relabel/relabel.go` does them.
//!
//! Rules are checked and compiled with the configuration and run on whatever thread has the labels: the workers for
//! samples, rayon's for targets. Warm, they allocate nothing. Knows no targets and no configuration file.

pub mod origin;

use crate::labels::builder::{LabelsBuilder, TEXT_KEPT_BYTES, Winner};
use crate::labels::is_legacy_label_name;
use crate::labels::pattern::{Pattern, Slots};
use crate::labels::quote::{Quoted, push_lowercase, push_uppercase};
use crate::labels::template::Template;
use md5::{Digest, Md5};
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Prometheus' action names")]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    const ALL: [Action; 11] = [
        Action::Replace,
        Action::Keep,
        Action::Drop,
        Action::KeepEqual,
        Action::DropEqual,
        Action::HashMod,
        Action::LabelMap,
        Action::LabelDrop,
        Action::LabelKeep,
        Action::Lowercase,
        Action::Uppercase,
    ];
}

/// As the configuration writes it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Replace => "replace",
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::KeepEqual => "keepequal",
            Action::DropEqual => "dropequal",
            Action::HashMod => "hashmod",
            Action::LabelMap => "labelmap",
            Action::LabelDrop => "labeldrop",
            Action::LabelKeep => "labelkeep",
            Action::Lowercase => "lowercase",
            Action::Uppercase => "uppercase",
        })
    }
}

impl FromStr for Action {
    type Err = String;

    /// Reads an action in any case; the error is Prometheus' sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        let lowercase = text.to_ascii_lowercase();
        Action::ALL
            .into_iter()
            .find(|action| action.to_string() == lowercase)
            .ok_or_else(|| format!("unknown relabel action {}", Quoted(text)))
    }
}

/// Which names labels may have (`metric_name_validation_scheme`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameScheme {
    /// Any text that is not empty; Prometheus 3's default.
    #[default]
    Utf8,
    /// `[a-zA-Z_][a-zA-Z0-9_]*`.
    Legacy,
}

impl NameScheme {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            NameScheme::Utf8 => "utf8",
            NameScheme::Legacy => "legacy",
        }
    }

    /// True if a label may have this name.
    pub fn allows(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy_label_name(name),
        }
    }

    /// True if a metric may have this name: in the legacy scheme also with colons.
    pub fn allows_metric(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => {
                let is_first = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':');
                name.bytes().next().is_some_and(is_first)
                    && name.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
            }
        }
    }
}

/// A rule as written, with Prometheus' defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// Between the joined values; default `;`.
    pub separator: String,
    /// Unanchored text of the pattern; default `(.*)`.
    pub regex: String,
    /// For `hashmod`; 0 when not given.
    pub modulus: u64,
    /// Label to write.
    pub target_label: String,
    /// Template with `$1`, `${name}`; default `$1`.
    pub replacement: String,
    /// Default `replace`.
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.to_owned(),
            regex: DEFAULT_REGEX.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: Action::Replace,
        }
    }
}

/// A checked rule with its compiled pattern.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    config: RelabelConfig,
    names: NameScheme,
    pattern: Arc<Pattern>,
    target_label: Template,
    replacement: Template,
}

impl RelabelRule {
    /// Checks and compiles with names in UTF-8; the error is Prometheus' sentence (`Config.Validate`).
    pub fn new(config: RelabelConfig) -> Result<Self, String> {
        Self::with_names(config, NameScheme::Utf8)
    }

    /// Checks and compiles; the error is Prometheus' sentence (`Config.Validate`).
    pub fn with_names(config: RelabelConfig, names: NameScheme) -> Result<Self, String> {
        let pattern = Pattern::new(&config.regex).map_err(|error| error.to_string())?;
        Self::with_pattern(config, names, Arc::new(pattern))
    }

    /// Checks; `pattern` is that of `config.regex`, which other rules may have too. The error is Prometheus' sentence
    /// (`Config.Validate`).
    pub fn with_pattern(
        config: RelabelConfig,
        names: NameScheme,
        pattern: Arc<Pattern>,
    ) -> Result<Self, String> {
        validate(&config, names)?;
        let target_label = Template::new(&config.target_label, pattern.group_names());
        let replacement = Template::new(&config.replacement, pattern.group_names());
        Ok(Self { config, names, pattern, target_label, replacement })
    }

    /// The rule as written.
    pub fn config(&self) -> &RelabelConfig {
        &self.config
    }

    /// What it compiled to.
    pub fn pattern(&self) -> &Arc<Pattern> {
        &self.pattern
    }
}

impl PartialEq for RelabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.names == other.names
    }
}

fn validate(config: &RelabelConfig, names: NameScheme) -> Result<(), String> {
    let action = config.action;
    let invalid =
        |text: &str, field: &str| Err(format!("{} is invalid '{field}' for {action} action", Quoted(text)));
    let has_default_fields = config.modulus == 0
        && config.separator == DEFAULT_SEPARATOR
        && config.replacement == DEFAULT_REPLACEMENT;

    if action == Action::HashMod && config.modulus == 0 {
        return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
    }
    match action {
        Action::Replace
        | Action::HashMod
        | Action::Lowercase
        | Action::Uppercase
        | Action::KeepEqual
        | Action::DropEqual => {
            let target_label = config.target_label.as_str();
            if target_label.is_empty() {
                return Err(format!(
                    "relabel configuration for {action} action requires 'target_label' value"
                ));
            }
            let is_valid = match action {
                Action::Replace => allows_template(names, target_label),
                _ => names.allows(target_label),
            };
            if !is_valid {
                return invalid(target_label, "target_label");
            }
        }
        Action::LabelMap if !allows_template(names, &config.replacement) => {
            return invalid(&config.replacement, "replacement");
        }
        _ => {}
    }
    match action {
        Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual
            if config.replacement != DEFAULT_REPLACEMENT =>
        {
            Err(format!("'replacement' can not be set for {action} action"))
        }
        Action::KeepEqual | Action::DropEqual if !has_default_fields || config.regex != DEFAULT_REGEX => Err(
            format!("{action} action requires only 'source_labels' and `target_label`, and no other fields"),
        ),
        Action::LabelDrop | Action::LabelKeep
            if !has_default_fields || !config.source_labels.is_empty() || !config.target_label.is_empty() =>
        {
            Err(format!("{action} action requires only 'regex', and no other fields"))
        }
        _ => Ok(()),
    }
}

/// True if a template may make a valid name: in the legacy scheme legacy characters and references to groups
/// (Prometheus' `relabelTargetLegacy`), which can also stand first.
fn allows_template(names: NameScheme, template: &str) -> bool {
    if names == NameScheme::Utf8 || !template.contains('$') {
        return names.allows(template);
    }
    let mut rest = template;
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        rest = match rest.strip_prefix('$') {
            Some(braced) if braced.starts_with('{') => match braced[1..].split_once('}') {
                Some((name, rest)) if !name.is_empty() && name.chars().all(is_word) => rest,
                _ => return false,
            },
            Some(plain) if plain.starts_with(is_word) => plain.trim_start_matches(is_word),
            None if is_word(c) && !(is_first && c.is_ascii_digit()) => &rest[1..],
            _ => return false,
        };
        is_first = false;
    }
    !is_first
}

/// Whether a label set outlived its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Keep,
    /// A text is too long for the regex of a rule: what the rules say cannot be known.
    TooCostly {
        /// Index of the rule.
        rule_idx: usize,
    },
    /// Dropped by the rule with this index.
    Drop {
        /// Index in the list of rules.
        rule_idx: usize,
    },
}

/// What relabelling puts together on the way; part of a [`LabelsBuilder`].
#[derive(Clone, Debug, Default)]
pub(in crate::labels) struct Scratch {
    /// The joined values of the source labels.
    value: String,
    name: String,
    result: String,
    slots: Slots,
    /// New labels of `labelmap`: names and values one behind the other in `result`, with where each ends.
    mapped: Vec<(usize, usize)>,
    /// A text is too long for the pattern of the rule that was applied last.
    is_too_costly: bool,
}

impl Scratch {
    fn shrink(&mut self) {
        for text in [&mut self.value, &mut self.name, &mut self.result] {
            if text.capacity() > TEXT_KEPT_BYTES {
                *text = String::new();
            }
        }
        self.mapped.clear();
        self.mapped.shrink_to(TEXT_KEPT_BYTES / size_of::<(usize, usize)>());
    }
}

/// Applies `rules` in order; stops at the rule that drops.
pub fn relabel(labels: &mut LabelsBuilder, rules: &[RelabelRule]) -> Verdict {
    let mut scratch = std::mem::take(&mut labels.scratch);
    let dropped_by = rules.iter().position(|rule| !rule.apply(labels, &mut scratch));
    scratch.shrink();
    let is_too_costly = std::mem::take(&mut scratch.is_too_costly);
    labels.scratch = scratch;
    match dropped_by {
        Some(rule_idx) if is_too_costly => Verdict::TooCostly { rule_idx },
        Some(rule_idx) => Verdict::Drop { rule_idx },
        None => Verdict::Keep,
    }
}

impl RelabelRule {
    /// False if the rule drops the label set.
    fn apply(&self, labels: &mut LabelsBuilder, scratch: &mut Scratch) -> bool {
        let Scratch { value, result, .. } = &mut *scratch;
        let target_label = self.config.target_label.as_str();
        value.clear();
        result.clear();
        for (idx, name) in self.config.source_labels.iter().enumerate() {
            if idx > 0 {
                value.push_str(&self.config.separator);
            }
            value.push_str(labels.get(name));
        }
        let is_too_costly = match self.config.action {
            Action::Keep | Action::Drop | Action::Replace => self.pattern.is_too_costly(value),
            Action::LabelMap | Action::LabelDrop | Action::LabelKeep => {
                labels.iter().any(|(name, _)| self.pattern.is_too_costly(name))
            }
            _ => false,
        };
        if is_too_costly {
            scratch.is_too_costly = true;
            return false;
        }
        match self.config.action {
            Action::Keep => return self.pattern.is_match(value),
            Action::Drop => return !self.pattern.is_match(value),
            Action::KeepEqual => return labels.get(target_label) == value,
            Action::DropEqual => return labels.get(target_label) != value,
            Action::Replace => self.replace(labels, scratch),
            Action::Lowercase => {
                push_lowercase(result, value);
                labels.set(target_label, result);
            }
            Action::Uppercase => {
                push_uppercase(result, value);
                labels.set(target_label, result);
            }
            Action::HashMod => {
                let remainder = hash(value) % self.config.modulus.max(1);
                // Writing to a string does not fail.
                let _ = write!(result, "{remainder}");
                labels.set(target_label, result);
            }
            Action::LabelMap => self.map_names(labels, scratch),
            Action::LabelDrop => labels.retain(|name, _| !self.pattern.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.pattern.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut LabelsBuilder, scratch: &mut Scratch) {
        let Scratch { value, name, result, slots, .. } = scratch;
        if !self.pattern.find(value, slots) {
            return;
        }
        name.clear();
        self.target_label.expand(value, slots, name);
        if self.names.allows(name) {
            self.replacement.expand(value, slots, result);
            labels.set(name, result);
        }
    }

    /// Every label whose name matches is copied to the name that its own name expands to. All names are read before
    /// the first label is written; of several with the same new name the last one in order of name counts.
    fn map_names(&self, labels: &mut LabelsBuilder, scratch: &mut Scratch) {
        let Scratch { result, slots, mapped, .. } = scratch;
        mapped.clear();
        for (name, value) in labels.iter() {
            if self.pattern.is_match(name) {
                self.replace_all(name, slots, result);
                let name_end = result.len();
                result.push_str(value);
                mapped.push((name_end, result.len()));
            }
        }
        // Of those that get the same name the last one wins.
        labels.gather(Winner::Last, |gather| {
            let mut name_start = 0;
            for (name_end, value_end) in &*mapped {
                gather.push(&result[name_start..*name_end], &result[*name_end..*value_end]);
                name_start = *value_end;
            }
        });
    }

    /// Go's `ReplaceAllString`; there is more than one match only for a pattern that is not bound to the whole text.
    fn replace_all(&self, text: &str, slots: &mut Slots, out: &mut String) {
        let (mut search_start, mut copied_end) = (0, 0);
        while search_start <= text.len() && self.pattern.find_at(text, search_start, slots) {
            let (Some(Some(start)), Some(Some(end))) = (slots.first(), slots.get(1)) else { break };
            let (start, end) = (start.get(), end.get());
            out.push_str(&text[copied_end..start]);
            // An empty match right behind another match is none.
            if end > copied_end || start == 0 {
                self.replacement.expand(text, slots, out);
            }
            copied_end = end;
            let next_char_len = text[search_start..].chars().next().map_or(1, char::len_utf8);
            search_start = end.max(search_start + next_char_len);
        }
        out.push_str(&text[copied_end..]);
    }
}

/// The last eight bytes of the MD5 as a big-endian number.
fn hash(text: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    digest[8..].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
#[path = "relabel_tests.rs"]
mod tests;
