//! Sub-commands: a row of the table and a file each; each uses the modules, none of them uses it.

mod about;
pub mod check;
pub mod matrix;
pub mod query;
pub mod scrape;
mod table;

pub use crate::commands::about::help;
pub use crate::commands::table::COMMANDS;
