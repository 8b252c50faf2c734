//! The line of a value, found on demand: serde_yaml names lines in errors only, so the walk fails at the wanted place.
//!
//! For the few values that point at no place in the source (`yaml.rs`): empty ones, block texts, texts with escapes.

use std::fmt::{self, Formatter};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// Distinguishes our failure from serde_yaml's own.
const FOUND: &str = "\u{1}found";

/// Line of the value at `path` (`scrape_configs[2].static_configs`), from 1, if the first document has it.
pub(in crate::config) fn line_of(text: &str, path: &str) -> Option<u32> {
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    let error = LocateSeed { wanted: path, at: String::new() }.deserialize(document).err()?;
    if !error.to_string().contains(FOUND) {
        return None;
    }
    error.location().and_then(|location| u32::try_from(location.line()).ok())
}

/// Walks to a path and fails there, since errors carry the line that nothing else does.
struct LocateSeed<'a> {
    wanted: &'a str,
    at: String,
}

impl LocateSeed<'_> {
    /// The seed for the value at `at`, or none if the wanted path does not lead through it.
    fn deeper(&self, at: String) -> Option<Self> {
        let rest = self.wanted.strip_prefix(at.as_str())?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Self { wanted: self.wanted, at })
    }

    fn fail<T, E: Error>(&self) -> Result<T, E> {
        Err(E::custom(FOUND))
    }

    fn is_here(&self) -> bool {
        self.at == self.wanted
    }
}

impl<'de> DeserializeSeed<'de> for LocateSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LocateSeed<'_> {
    type Value = ();

    /// Every scalar that is not the wanted one ends here as well, as serde's default methods reject it.
    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_here() { FOUND } else { "a place on the way" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.is_here() {
            return self.fail();
        }
        for idx in 0.. {
            let found = match self.deeper(format!("{}[{idx}]", self.at)) {
                Some(seed) => items.next_element_seed(seed)?.is_some(),
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !found {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if self.is_here() {
            return self.fail();
        }
        while let Some(key) = entries.next_key::<String>()? {
            let at = if self.at.is_empty() { key } else { format!("{}.{key}", self.at) };
            match self.deeper(at) {
                Some(seed) => entries.next_value_seed(seed)?,
                None => entries.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let (IgnoredAny, inner) = access.variant()?;
        inner.newtype_variant_seed(self)
    }
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn lines_are_found_on_demand() {
        let text = "a:\n  - b: 1\n  -\n  - \"x\\ty\"\n  - |\n    z\nc.d:\n  e: {}\n  ee: []\n";
        assert_eq!(line_of(text, "a[1]"), Some(3));
        assert_eq!(line_of(text, "a[2]"), Some(4));
        assert_eq!(line_of(text, "a[3]"), Some(5));
        assert_eq!(line_of(text, "a[0].b"), Some(2));
        assert_eq!(line_of(text, "c.d.e"), Some(8));
        assert_eq!(line_of(text, "c.d.ee"), Some(9));
        assert_eq!(line_of(text, "a[4]"), None);
        assert_eq!(line_of(text, "q"), None);
        assert_eq!(line_of("[", "q"), None);
    }
}
