//! Targets that misbehave, and what their neighbours notice.

mod bad_targets;
mod hostile;
mod max_series;
mod tls;
