//! What answers a request, and in which times.

use crate::http::tls::server::Acceptor;
use crate::web::metrics::Account;
use crate::web::serve::http::Request;
use crate::web::serve::http::Response;
use crossbeam_channel::{Receiver, TryRecvError};
use std::io;
use std::time::{Duration, Instant};

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
pub enum Reply {
    /// Ready.
    Now(Response),
    /// Comes from another thread.
    Later {
        /// Gives the answer when it is there.
        answer: Awaited,
        /// What the request is counted by.
        account: Option<Account>,
    },
    /// The password is being checked by another thread: [`Responder::respond_to_checked`] is next.
    Checking(Receiver<Verdict>),
}

/// An answer that another thread works for; called again until it gives one, and never after that.
pub type Awaited = Box<dyn FnMut() -> Option<Response>>;

impl Reply {
    /// What `render` makes of what comes over `outcome`; a closed channel is a 500.
    pub fn later<T: 'static>(outcome: Receiver<T>, render: impl Fn(T) -> Response + 'static) -> Self {
        Self::later_or(outcome, || Response::text(500, "the daemon is stopping\n"), render)
    }

    /// The same with another answer for a closed channel.
    pub fn later_or<T: 'static>(
        outcome: Receiver<T>,
        lost: fn() -> Response,
        render: impl Fn(T) -> Response + 'static,
    ) -> Self {
        let answer = move || match outcome.try_recv() {
            Ok(outcome) => Some(render(outcome)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(lost()),
        };
        Self::Later { answer: Box::new(answer), account: None }
    }

    /// What `change` makes of the answer.
    pub fn map(self, change: impl Fn(Response) -> Response + 'static) -> Self {
        match self {
            Self::Now(response) => Self::Now(change(response)),
            Self::Later { mut answer, account } => {
                Self::Later { answer: Box::new(move || answer().map(&change)), account }
            }
            Self::Checking(verdict) => Self::Checking(verdict),
        }
    }

    /// The same with an end: if nothing has come by `deadline`, `give_up` is the answer.
    pub fn later_until<T: 'static>(
        outcome: Receiver<T>,
        render: impl Fn(T) -> Response + 'static,
        deadline: Instant,
        give_up: fn() -> Response,
    ) -> Self {
        match Self::later(outcome, render) {
            Self::Later { mut answer, account } => {
                let bounded = move || answer().or_else(|| (Instant::now() >= deadline).then(give_up));
                Self::Later { answer: Box::new(bounded), account }
            }
            other => other,
        }
    }
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
