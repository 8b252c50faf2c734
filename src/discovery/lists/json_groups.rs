//! A list of target groups in JSON, read as it comes: nothing but what is kept is ever in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::lists::json_mistake::json_mistake;
use crate::discovery::lists::raw_group::{Groups, NO_LABEL_NAME, RawGroup, UNKNOWN_FIELD};

/// Reads all groups of `bytes`.
///
/// # Errors
/// A sentence about the first mistake.
pub(in crate::discovery) fn read_groups(bytes: &[u8], groups: &mut Groups<'_>) -> Result<(), String> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(format!("{} bytes are too much for one list (limit: {MAX_TEXT_BYTES})", bytes.len()));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty; `null` or `[]` mean no targets".to_owned());
    }
    // Go puts a replacement character where bytes are no text.
    let text = String::from_utf8_lossy(bytes);
    let mut json = serde_json::Deserializer::from_str(&text);
    List(groups).deserialize(&mut json).and_then(|()| json.end()).map_err(|error| json_mistake(&error))
}

struct List<'a, 'g>(&'a mut Groups<'g>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of target groups")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Group(self.0))?.is_some() {}
        Ok(())
    }
}

struct Group<'a, 'g>(&'a mut Groups<'g>);

impl<'de> DeserializeSeed<'de> for Group<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Group<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target group")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(E::custom(format_args!("nil target group item found (index {})", self.0.done.len())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Self(groups) = self;
        let group_idx = groups.done.len();
        let mistake = |sentence: String| A::Error::custom(format_args!("group {group_idx}: {sentence}"));
        let mut group = RawGroup::default();
        let before = groups.tally.clone();
        // Of fields that stand there twice, in any case, the last one counts.
        while let Some(key) = fields.next_key::<String>()? {
            match key.to_lowercase().as_str() {
                "targets" => {
                    groups.tally.forget_since(&before);
                    group.forget_targets();
                    fields.next_value_seed(Targets { groups, group: &mut group })?;
                }
                "labels" => {
                    group.labels.clear();
                    fields.next_value_seed(LabelsOf { groups, group: &mut group })?;
                }
                _ => return Err(mistake(UNKNOWN_FIELD.to_owned())),
            }
        }
        groups.add(group).map_err(mistake)
    }
}

struct Targets<'a, 'g> {
    groups: &'a mut Groups<'g>,
    group: &'a mut RawGroup,
}

impl<'de> DeserializeSeed<'de> for Targets<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Targets<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of targets in group {}", self.groups.done.len())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { groups, group } = self;
        while let Some(()) = items.next_element_seed(Text {
            what: "a string as a target",
            take: |address: &str| groups.add_target(group, address),
        })? {}
        Ok(())
    }
}

struct LabelsOf<'a, 'g> {
    groups: &'a mut Groups<'g>,
    group: &'a mut RawGroup,
}

impl<'de> DeserializeSeed<'de> for LabelsOf<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LabelsOf<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object as the labels of group {}", self.groups.done.len())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut labels: A) -> Result<(), A::Error> {
        let Self { groups, group } = self;
        // What is held of one group while it is read is counted like any other.
        let mut tally = groups.tally.clone();
        while let Some(name) = labels.next_key::<String>()? {
            if name.is_empty() {
                return Err(A::Error::custom(NO_LABEL_NAME));
            }
            labels.next_value_seed(Text {
                what: "a string as the value of a label",
                take: |value: &str| {
                    tally.labels(1, name.len() + value.len())?;
                    group.labels.push((name.clone(), value.to_owned()));
                    Ok(())
                },
            })?;
        }
        Ok(())
    }
}

/// A text, which is given away; `null` is an empty one, as Go has it.
struct Text<F> {
    what: &'static str,
    take: F,
}

impl<'de, F: FnMut(&str) -> Result<(), String>> DeserializeSeed<'de> for Text<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<F: FnMut(&str) -> Result<(), String>> Visitor<'_> for Text<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        (self.take)(text).map_err(E::custom)
    }
}
