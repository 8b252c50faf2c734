//! Sub-commands of the real binary.

mod check;
mod lines;
mod reference;
mod running;
mod scrape;
mod wal;
