//! Messages of remote read (`prompb/remote.proto`): the request, and both kinds of answers.
//!
//! Written and read by hand; knows no log and no socket.

pub mod error;
pub mod frames;
pub mod request;
pub mod samples;
