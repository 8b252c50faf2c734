//! Start: checkpoint and segments into the series table.
