//! How often a source is asked.

use crate::config::text::fields::Fields;
use std::time::Duration;

/// `refresh_interval`; `None` after a mistake.
pub(in crate::config) fn refresh_interval(fields: &mut Fields<'_>, default: Duration) -> Option<Duration> {
    let Some(field) = fields.take("refresh_interval") else { return Some(default) };
    let interval = field.duration()?;
    if interval.is_zero() {
        field.mistake("refresh_interval must be longer than 0");
        return None;
    }
    Some(interval)
}
