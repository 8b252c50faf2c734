//! URLs and their parts, as Go reads and writes them.

pub mod escape;
pub mod path;
pub mod site;
pub mod url;
