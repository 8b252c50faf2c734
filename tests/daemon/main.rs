//! The real program: started with a configuration, asked over HTTP, signalled, killed.
//!
//! - [`start`]: the unit, the data directory, how it refuses and how it ends; [`reload`], [`health`].
//! - [`discovery`]: sources that fail, names of the link; [`local`]: files, commands and sockets of this machine.
//! - [`door`]: who may ask.
//! - [`addresses`], [`secrets`]: what is asked is what was typed, and secrets stay where they belong.
//! - [`api`]: what newer agents than the one that we are compared with answer.
//! - [`scrape`]: targets that misbehave.
//! - [`commands`]: sub-commands, flags, and command lines that are wrong.
//! - [`pages`]: what they say of targets that are broken, and of the whole box.
//! - [`threads`]: each kind is killed once.
//! - [`wal`]: a log that vanishes and comes back.
//! - [`remote`]: endpoints that are away, refuse, and come back; [`remote_read`]: who reads the log from elsewhere;
//!   [`queries`]: who asks it here.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]
#![allow(clippy::print_stdout, reason = "a test says what it could not do")]

mod addresses;
mod api;
mod commands;
mod discovery;
mod door;
mod health;
mod local;
mod pages;
mod queries;
mod reload;
mod remote;
mod remote_read;
mod scrape;
mod secrets;
mod start;
mod threads;
mod wal;
