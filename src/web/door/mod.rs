//! The lock on the door: who may ask at all, before any page is looked for.
//!
//! `terms` is `--web.config.file` as it is now, `passwords` knows who somebody is. Runs on the `web` thread, as the pages
//! behind it; only bcrypt is computed elsewhere.

mod passwords;
pub mod terms;
mod token_bucket;

use crate::config::web::password_hash::PasswordHash;
use crate::http::tls::server::Acceptor;
use crate::web::door::passwords::{Claim, Finding, Passwords};
use crate::web::door::terms::Terms;
use crate::web::door::token_bucket::TokenBucket;
use crate::web::router::Router;
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::{Reply, Responder, Verdict};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::time::Instant;

const BUSY: &str = "too many passwords wait to be checked (limit: 32); whoever was let in before still is, others come again \
                    in a second\n";

/// Lets requests through to the pages, or not.
pub(in crate::web) struct Door {
    terms: Terms,
    passwords: Passwords,
    bucket: Option<TokenBucket>,
    /// Checked for users that there are none of, so that it takes as long.
    of_no_one: PasswordHash,
    router: Router,
}

impl Door {
    /// # Errors
    /// The system has no random numbers.
    pub(in crate::web) fn new(terms: Terms, router: Router) -> io::Result<Self> {
        let of_no_one = PasswordHash::of_no_one(terms.config().users.iter().map(|(_, hash)| hash));
        let mut door = Self { terms, passwords: Passwords::new()?, bucket: None, of_no_one, router };
        door.take_over();
        Ok(door)
    }

    /// What follows from the terms.
    fn take_over(&mut self) {
        let config = self.terms.config();
        self.of_no_one = PasswordHash::of_no_one(config.users.iter().map(|(_, hash)| hash));
        self.bucket = config.rate_limit.map(|limit| TokenBucket::new(limit, Instant::now()));
    }

    /// Those whom a request names; `None` without a name.
    fn credentials(request: &Request) -> Option<(Vec<u8>, Vec<u8>)> {
        const SCHEME: &str = "Basic ";
        let header = request.authorization.as_ref()?.expose();
        let (scheme, encoded) = header.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let decoded = STANDARD.decode(encoded).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
    }

    /// Answers a request within the limit of requests.
    fn admit(&mut self, request: &Request) -> Reply {
        let users = &self.terms.config().users;
        if users.is_empty() {
            return self.router.respond(request);
        }
        let Some((user, password)) = Self::credentials(request) else { return unauthorized() };
        let known = users.iter().find(|(name, _)| name.as_bytes() == user);
        let hash = known.map_or(self.of_no_one, |(_, hash)| *hash);
        match self.passwords.look_up(&Claim { user: &user, password: &password, hash: &hash }) {
            Finding::Right => self.router.respond(request),
            Finding::Wrong => unauthorized(),
            Finding::Checking(verdict) => Reply::Checking(verdict),
            Finding::Busy => Reply::Now(Response::text(503, BUSY).header("Retry-After", "1")),
        }
    }
}

impl Responder for Door {
    fn acceptor(&mut self) -> io::Result<Option<Acceptor>> {
        if self.terms.look() {
            self.take_over();
        }
        self.terms.acceptor()
    }

    fn respond(&mut self, request: &Request) -> Reply {
        if self.terms.look() {
            self.take_over();
        }
        if self.bucket.as_mut().is_some_and(|bucket| !bucket.take(Instant::now())) {
            return Reply::Now(Response::text(429, "Too Many Requests\n"));
        }
        self.admit(request)
    }

    fn respond_to_checked(&mut self, request: &Request, verdict: Verdict) -> Reply {
        self.passwords.remember(verdict);
        // By memory; or checked once more, if the terms are others by now.
        self.admit(request)
    }

    fn finish(&self, response: Response) -> Response {
        let headers = &self.terms.config().headers;
        headers.iter().fold(response, |response, (name, value)| response.header(name, value))
    }
}

fn unauthorized() -> Reply {
    Reply::Now(Response::text(401, "Unauthorized\n").header("WWW-Authenticate", "Basic"))
}
