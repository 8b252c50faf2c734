//! Endpoints that refuse: samples, sizes, or everything.

pub mod pause;
pub mod refusals;
pub mod search;
pub mod size_bound;
