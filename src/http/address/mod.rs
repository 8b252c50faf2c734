//! URLs and their parts, as Go reads and writes them.

pub mod escape;
pub mod site;
pub mod url;
