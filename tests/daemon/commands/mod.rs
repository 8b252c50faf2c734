//! Sub-commands of the real binary.

mod check;
mod flags;
mod lines;
mod migrate;
mod reference;
mod running;
mod scrape;
mod wal;
