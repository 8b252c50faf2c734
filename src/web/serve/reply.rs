//! What answers a request, and in which times.

use crate::http::tls::server::Acceptor;
use crate::web::metrics::Account;
use crate::web::serve::http::Request;
use crate::web::serve::http::Response;
use crossbeam_channel::Receiver;
use std::io;
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
    /// How a connection that has just been accepted begins: with TLS, or without.
    ///
    /// # Errors
    /// It cannot begin, and is closed.
    fn acceptor(&mut self) -> io::Result<Option<Acceptor>>;
    /// Answers a request without waiting.
    fn respond(&mut self, request: &Request) -> Reply;
    /// Answers a request whose password was checked.
    fn respond_to_checked(&mut self, request: &Request, verdict: Verdict) -> Reply;
    /// Adds what every answer carries.
    fn finish(&self, response: Response) -> Response;
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
    /// The password is being checked by another thread: [`Responder::respond_to_checked`] is next.
    Checking(Receiver<Verdict>),
}

/// A user with a password, in a form that no one gets them out of.
pub type Fingerprint = [u8; 32];

/// What a check of a password came to.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Of what was checked.
    pub fingerprint: Fingerprint,
    /// Whether the password is the user's.
    pub is_right: bool,
}
