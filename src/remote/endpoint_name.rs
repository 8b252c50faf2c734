//! What an endpoint is called: in logs, metrics and the file of its position.

use crate::config::remote_write::RemoteWriteConfig;
use md5::{Digest, Md5};

/// Hexadecimal digits of a nameless endpoint's name in metrics.
pub(crate) const NAME_DIGITS: usize = 6;

/// What an endpoint is called in metrics and in the log: a nameless one has none that says its URL.
pub fn name_of(config: &RemoteWriteConfig) -> String {
    if config.name.is_empty() { short_hash(config.identity()) } else { config.name.clone() }
}

pub(crate) fn short_hash(text: &str) -> String {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(NAME_DIGITS).collect()
}
