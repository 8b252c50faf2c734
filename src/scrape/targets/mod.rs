//! From target groups to targets and the pools that hold them.

pub mod bad_answer;
pub mod found;
pub mod history;
pub mod local_access;
pub mod loop_key;
pub mod on_demand;
pub mod pool;
pub mod reuse;
pub mod status;
pub mod target;
pub mod target_limit;
pub mod target_options;
pub mod target_url;
