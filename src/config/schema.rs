//! Fields of Prometheus' schema that have no effect here: their names, their types and their defaults.
//!
//! They are read as strictly as the others, so that nothing is ever called unknown that Prometheus knows. A default
//! that is spelled out passes; any other value is noted where it means nothing to an agent, and refused where an agent
//! that ignores it would lie.

use crate::config::text::fields::Field;
use crate::config::text::fields::note_no_effect;

/// What a field holds, and which value is its default.
#[derive(Debug)]
pub(in crate::config) enum Shape {
    /// A text; the default.
    Text(&'static str),
    /// One of these texts; the first is the default, and "" is for "not given".
    Choice(&'static [&'static str]),
    /// A boolean; the default.
    Flag(bool),
    /// A number, default 0.
    Number,
    /// A duration, default 0.
    Duration,
    /// A list of texts, default empty.
    Texts,
    /// A mapping of free keys to such values, default empty.
    Map(&'static Shape),
    /// A mapping of these fields; given or not makes no difference, its fields do.
    Section(&'static [(&'static str, Shape)]),
    /// A mapping of these fields that means something as soon as it is there.
    Object(&'static [(&'static str, Shape)]),
}

const TLS_VERSIONS: Shape = Shape::Choice(&["", "TLS10", "TLS11", "TLS12", "TLS13"]);

/// `tls_config` of prometheus/common `config/http_config.go`.
pub(in crate::config) const TLS_CONFIG: [(&str, Shape); 13] = [
    ("ca", Shape::Text("")),
    ("cert", Shape::Text("")),
    ("key", Shape::Text("")),
    ("ca_file", Shape::Text("")),
    ("cert_file", Shape::Text("")),
    ("key_file", Shape::Text("")),
    ("ca_ref", Shape::Text("")),
    ("cert_ref", Shape::Text("")),
    ("key_ref", Shape::Text("")),
    ("server_name", Shape::Text("")),
    ("insecure_skip_verify", Shape::Flag(false)),
    ("min_version", TLS_VERSIONS),
    ("max_version", TLS_VERSIONS),
];

/// `tracing`; it means something as soon as it is there.
pub(in crate::config) const TRACING: [(&str, Shape); 8] = [
    ("client_type", Shape::Choice(&["grpc", "http"])),
    ("endpoint", Shape::Text("")),
    ("sampling_fraction", Shape::Number),
    ("insecure", Shape::Flag(false)),
    ("tls_config", Shape::Section(&TLS_CONFIG)),
    ("headers", Shape::Map(&Shape::Text(""))),
    ("compression", Shape::Choice(&["", "gzip"])),
    ("timeout", Shape::Duration),
];

/// `otlp`.
pub(in crate::config) const OTLP: [(&str, Shape); 9] = [
    ("promote_all_resource_attributes", Shape::Flag(false)),
    ("promote_resource_attributes", Shape::Texts),
    ("ignore_resource_attributes", Shape::Texts),
    (
        "translation_strategy",
        Shape::Choice(&[
            "UnderscoreEscapingWithSuffixes",
            "",
            "UnderscoreEscapingWithoutSuffixes",
            "NoUTF8EscapingWithSuffixes",
            "NoTranslation",
        ]),
    ),
    ("keep_identifying_resource_attributes", Shape::Flag(false)),
    ("convert_histograms_to_nhcb", Shape::Flag(false)),
    ("promote_scope_metadata", Shape::Flag(false)),
    ("label_name_underscore_sanitization", Shape::Flag(true)),
    ("label_name_preserve_multiple_underscores", Shape::Flag(true)),
];

/// Says that `field` has no effect if it has another value than its default.
pub(in crate::config) fn note_if_set(field: &Field<'_>, shape: &'static Shape) {
    if is_set(field, shape) {
        note_no_effect(field);
    }
}

/// The sentence for a setting that is known and valid, and that this release does not act on.
pub(in crate::config) fn refuse(field: &Field<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    let name = field.name();
    field.mistake(format!("{name} is not built yet in scraped {version}; remove it or leave its default"));
}

/// Whether a value differs from its default; a wrong type is reported and counts as not set.
fn is_set(field: &Field<'_>, shape: &'static Shape) -> bool {
    match shape {
        Shape::Text(default) => field.text().is_some_and(|text| !text.is_empty() && text != *default),
        Shape::Choice(choices) => match field.text() {
            None => false,
            Some(text) if choices.contains(&text.as_str()) => {
                !text.is_empty() && choices.first() != Some(&text.as_str())
            }
            Some(text) => {
                let known: Vec<&str> = choices.iter().copied().filter(|choice| !choice.is_empty()).collect();
                field.mistake(format!("unknown value {text:?}, must be one of {}", known.join(", ")));
                false
            }
        },
        Shape::Flag(default) => field.bool().is_some_and(|flag| flag != *default),
        Shape::Number => field.float().is_some_and(|number| number != 0.0),
        Shape::Duration => field.duration().is_some_and(|duration| !duration.is_zero()),
        Shape::Texts => !field.texts().is_empty(),
        Shape::Map(values) => {
            let entries = field.entries();
            for (_, value) in &entries {
                is_set(value, values);
            }
            !entries.is_empty()
        }
        Shape::Section(table) => {
            let Some(mut fields) = field.fields() else { return false };
            let mut any = false;
            for (name, shape) in *table {
                any |= fields.take(name).is_some_and(|field| is_set(&field, shape));
            }
            fields.finish(|_| false);
            any
        }
        Shape::Object(table) => {
            let Some(mut fields) = field.fields() else { return false };
            for (name, shape) in *table {
                if let Some(field) = fields.take(name) {
                    is_set(&field, shape);
                }
            }
            fields.finish(|_| false);
            !field.is_null()
        }
    }
}
