//! Endpoints that refuse: samples, sizes, or everything; and samples that our own code does not get over.

pub mod panics;
pub mod pause;
pub mod refusals;
pub mod search;
pub mod size_bound;
