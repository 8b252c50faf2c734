//! What is made of the tables of flags and of sub-commands: help, a page of the manual, scripts for shells.

pub(in crate::commands) mod completion;
pub mod help;
pub(in crate::commands) mod man;
