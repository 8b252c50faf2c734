//! Sub-commands: a row of the table and a file each; each uses the modules, none of them uses it.

mod about;
pub mod check;
mod cost;
mod data_dir;
mod explain;
mod log_files;
mod migrate;
pub mod query;
mod relabel_test;
pub mod scrape;
mod service;
mod support_bundle;
mod table;
mod top;
mod wal;

pub use crate::commands::about::help;
pub use crate::commands::table::COMMANDS;
