//! What answers a request, and in which times.

use crate::web::metrics::Account;
use crate::web::serve::http::Request;
use crate::web::serve::http::Response;
use crossbeam_channel::Receiver;
use std::time::Duration;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) struct Times {
    /// For a request, and for each part of an answer.
    pub(in crate::web) request: Duration,
    /// Between two requests.
    pub(in crate::web) idle: Duration,
}

/// Gives the pages.
pub trait Responder {
    /// Answers a request without waiting.
    fn respond(&mut self, request: &Request) -> Reply;
}

/// An answer, or where it will come from.
#[derive(Debug)]
pub enum Reply {
    /// Ready.
    Now(Response),
    /// Comes from another thread; a closed channel is a 500.
    Later {
        /// Where it comes from.
        outcome: Receiver<Result<(), String>>,
        /// What it looks like.
        render: fn(Result<(), String>) -> Response,
        /// What the request is counted by.
        account: Option<Account>,
    },
}
