//! Sections of Prometheus' configuration that say nothing to an agent of this kind: read as strictly as there, then noted.
//!
//! After `LoadFile` (agent mode), `OTLPConfig`, `TracingConfig` and `StorageConfig` of Prometheus' `config/config.go`.

use std::collections::BTreeSet;

use crate::config::client::header::RESERVED_HEADERS;
use crate::config::schema::{OTLP, Shape, TRACING, note_if_set};
use crate::config::text::fields::note_no_effect;
use crate::config::text::fields::{Field, Fields};
use crate::config::text::node::Value;
use scraped_engine::labels::relabel::NameScheme;

/// Sections that mean nothing here, or that are not allowed in an agent.
pub(in crate::config) fn read_other_sections(fields: &mut Fields<'_>, names: NameScheme) {
    if let Some(mut runtime) = fields.take("runtime").and_then(|field| field.fields()) {
        if let Some(gogc) = runtime.take("gogc").filter(|field| field.float().is_some()) {
            note_no_effect(&gogc);
        }
        runtime.finish(|_| false);
    }
    if let Some(mut alerting) = fields.take("alerting").and_then(|field| field.fields()) {
        let n_items = alerting.items("alert_relabel_configs").len() + alerting.items("alertmanagers").len();
        if n_items > 0 {
            alerting.owner().mistake("field alerting is not allowed in agent mode");
        }
        alerting.finish(|_| false);
    }
    for name in ["rule_files", "remote_read"] {
        if let Some(field) = fields.take(name).filter(|field| !field.items().is_empty()) {
            field.mistake(format!("field {name} is not allowed in agent mode"));
        }
    }
    if let Some(field) = fields.take("tracing").filter(|field| !field.is_null()) {
        if !field.get("endpoint").is_some_and(|endpoint| endpoint.is_given()) {
            field.mistake("tracing endpoint must be set");
        }
        for (name, header) in field.get("headers").iter().flat_map(Field::children) {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => {
                    header.mistake("custom authorization header configuration is not yet supported");
                }
                lower if RESERVED_HEADERS.contains(&lower) => {
                    header.mistake(format!("{name} is a reserved header. It must not be changed"));
                }
                _ => {}
            }
        }
        note_if_set(&field, &Shape::Object(&TRACING));
    }
    if let Some(field) = fields.take("otlp") {
        check_otlp(&field, names);
        note_if_set(&field, &Shape::Section(&OTLP));
    }
    if let Some(mut storage) = fields.take("storage").and_then(|field| field.fields()) {
        read_storage(&mut storage);
        storage.finish(|_| false);
    }
}

/// What `OTLPConfig` of Prometheus' `config/config.go` refuses; types are checked elsewhere.
fn check_otlp(otlp: &Field<'_>, names: NameScheme) {
    let is_on = |name: &str| otlp.get(name).and_then(|field| field.raw_bool()) == Some(true);
    let promotes_all = is_on("promote_all_resource_attributes");
    for (name, what) in
        [("promote_resource_attributes", "promoted"), ("ignore_resource_attributes", "ignored")]
    {
        let Some(field) = otlp.get(name) else { continue };
        if !field.is_given() {
            continue;
        }
        match name {
            "promote_resource_attributes" if promotes_all => field.mistake(
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously",
            ),
            "ignore_resource_attributes" if !promotes_all => field.mistake(
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true",
            ),
            _ => {}
        }
        let Value::List(items) = &field.node().value else { continue };
        let mut seen = BTreeSet::new();
        for item in items {
            let sentence = match &item.value {
                Value::Scalar(scalar) if !scalar.text.trim().is_empty() => {
                    let text = &scalar.text;
                    let is_new = seen.insert(text.trim());
                    (!is_new).then(|| format!("duplicated {what} OTel resource attribute {text:?}"))
                }
                Value::Scalar(_) | Value::Null => Some(format!("empty {what} OTel resource attribute")),
                _ => None,
            };
            if let Some(sentence) = sentence {
                field.mistake(sentence);
            }
        }
    }
    if let Some(field) = otlp.get("translation_strategy")
        && names == NameScheme::Legacy
        && let Value::Scalar(scalar) = &field.node().value
        && ["NoTranslation", "NoUTF8EscapingWithSuffixes"].contains(&scalar.text.as_str())
    {
        field.mistake(format!(
            "OTLP translation strategy {:?} is not allowed when UTF8 is disabled",
            scalar.text
        ));
    }
}

/// About blocks and the memory of a server, but for the out-of-order window of an agent's log, which has none here.
fn read_storage(storage: &mut Fields<'_>) {
    if let Some(mut exemplars) = storage.take("exemplars").and_then(|field| field.fields()) {
        if let Some(field) = exemplars.take("max_exemplars").filter(|field| field.float().is_some()) {
            note_no_effect(&field);
        }
        exemplars.finish(|_| false);
    }
    let Some(mut tsdb) = storage.take("tsdb").and_then(|field| field.fields()) else { return };
    if let Some(field) = tsdb.take("out_of_order_time_window") {
        note_if_set(&field, &Shape::Duration);
    }
    // The last is a field without a name of its own, which Prometheus prints and therefore reads.
    for name in ["stale_series_compaction_threshold", "outofordertimewindow"] {
        if let Some(field) = tsdb.take(name).filter(|field| field.float().is_some()) {
            note_no_effect(&field);
        }
    }
    if let Some(mut encoding) = tsdb.take("chunk_encoding").and_then(|field| field.fields()) {
        if let Some(field) = encoding.take("floats") {
            match field.text().as_deref() {
                None | Some("" | "xor" | "xor2") => note_no_effect(&field),
                Some(other) => {
                    field.mistake(format!("must be xor or xor2, or the field must be omitted, got {other:?}"))
                }
            }
        }
        encoding.finish(|_| false);
    }
    if let Some(mut retention) = tsdb.take("retention").and_then(|field| field.fields()) {
        for name in ["time", "size", "percentage"] {
            let Some(field) = retention.take(name) else { continue };
            match name {
                "time" => drop(field.duration()),
                "size" => drop(field.size()),
                _ => {
                    if field.float().is_some_and(|percentage| !(0.0..=100.0).contains(&percentage)) {
                        field.mistake("percentage must be in the range [0, 100]");
                    }
                }
            }
            note_no_effect(&field);
        }
        retention.finish(|_| false);
    }
}
