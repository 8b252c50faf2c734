//! Sources of targets, with everything behind them.

mod failing_sources;
mod local_names;
