//! A secret as a request needs it: typed in the configuration, or read from its file again and again.

use crate::config::client::header::is_header_text;
use crate::config::client::secret::Secret;
use crate::config::client::secret::Source;
use crate::http::watched::Watched;
use std::sync::Arc;

/// A text that stands in the configuration or in a file.
#[derive(Debug)]
pub(in crate::http) enum SecretText {
    Inline(Secret),
    File(Watched<Secret>),
}

impl SecretText {
    /// One that stands in a header.
    pub(in crate::http) fn new(source: &Source) -> Self {
        Self::parsed(source, parse_secret)
    }

    /// One that may have several lines.
    pub(in crate::http) fn of_lines(source: &Source) -> Self {
        Self::parsed(source, parse_lines)
    }

    fn parsed(source: &Source, parse: fn(&[u8]) -> Result<Secret, String>) -> Self {
        match source {
            Source::Inline(secret) => Self::Inline(secret.clone()),
            Source::File(path) => Self::File(Watched::new(path, parse)),
        }
    }

    /// The newest that is good.
    pub(in crate::http) fn text(&self) -> Result<Secret, String> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(watched) => watched.current().map(Arc::unwrap_or_clone),
        }
    }
}

pub(crate) fn parse_lines(bytes: &[u8]) -> Result<Secret, String> {
    let text = str::from_utf8(bytes).map_err(|_| "holds something else than text".to_owned())?;
    Ok(Secret::new(text.trim()))
}

pub(crate) fn parse_secret(bytes: &[u8]) -> Result<Secret, String> {
    let secret = parse_lines(bytes)?;
    if !is_header_text(secret.expose()) {
        return Err(
            "holds more than one line, or a control character, which cannot stand in a header".to_owned()
        );
    }
    Ok(secret)
}
