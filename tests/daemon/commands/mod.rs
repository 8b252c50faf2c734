//! Sub-commands of the real binary.

mod lines;
mod reference;
mod scrape;
