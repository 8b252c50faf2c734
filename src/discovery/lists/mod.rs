//! Answers of sources: read as they come, counted, and never larger in memory than what is kept of them.

pub(crate) mod allowance;
pub(crate) mod group_list;
pub(crate) mod json_groups;
pub(crate) mod json_mistake;
pub(crate) mod nullable;
pub(crate) mod path_pattern;
pub mod raw_group;
pub(crate) mod tally;
pub(crate) mod target_labels;
