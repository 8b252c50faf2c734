//! One watch's way to the API server: asks, and reads answers as they come, with a bound on everything.
//!
//! Runs on the watch's thread. A client is made again when the way to the server has changed; the provider learns of it first,
//! since it has to be able to end what runs.

use std::io::{self, BufReader, Read};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::discovery::lists::allowance::{ANSWER_BYTES, within};
use crate::discovery::lists::json_mistake::json_mistake;
use crate::discovery::providers::kubernetes::access::Access;
use crate::discovery::providers::kubernetes::api_server::ApiServer;
use crate::discovery::providers::kubernetes::objects::{List, Note};
use crate::discovery::providers::kubernetes::report::{Report, ReportKind};
use crate::http::error::{HttpError, HttpErrorKind};
use crate::http::wire::response::Response;
use crate::http::{Headers, HttpClient, USER_AGENT};

pub(in crate::discovery::providers::kubernetes) const FIXED_HEADERS: [(&str, &str); 2] =
    [USER_AGENT, ("Accept", "application/json")];

/// One page of a list: 500 pods have some MB, with a megabyte of annotations on each it is a mistake.
const MAX_PAGE_BYTES: usize = 32 << 20;

/// What is read of an answer that says what is wrong.
const MAX_COMPLAINT_BYTES: usize = 16 << 10;

/// One line of a watch; API servers take objects of 3 MiB at most.
const MAX_LINE_BYTES: usize = 4 << 20;

/// What is kept for lines between two events.
const IDLE_BYTES: usize = 4 << 10;

/// Read at once.
const PIECE_BYTES: usize = 4 << 10;

/// A server that asks for more patience gets this much.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why a request ended before its time.
#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) enum Trouble {
    /// The provider has gone.
    Stopped,
    /// The server does not know that version any more: only a new list helps.
    Expired,
    Failed(Failure),
}

#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) struct Failure {
    pub sentence: String,
    /// What the server asks for.
    pub retry_after: Duration,
    /// Whether a watch may go on where it was.
    pub keeps_version: bool,
}

impl Trouble {
    /// After which everything has to be listed again.
    pub(in crate::discovery::providers::kubernetes) fn failed(sentence: String) -> Self {
        Self::Failed(Failure { sentence, retry_after: Duration::ZERO, keeps_version: false })
    }

    /// After which a watch may go on where it was.
    pub(in crate::discovery::providers::kubernetes) fn broken(sentence: String) -> Self {
        Self::Failed(Failure { sentence, retry_after: Duration::ZERO, keeps_version: true })
    }
}

/// One watch's way to the provider.
#[derive(Clone, Debug)]
pub(in crate::discovery::providers::kubernetes) struct Reporter {
    pub watch_idx: usize,
    pub reports: Sender<Report>,
}

impl Reporter {
    /// Reports to the provider; waits while it is busy.
    pub(in crate::discovery::providers::kubernetes) fn report(
        &self,
        kind: ReportKind,
    ) -> Result<(), Trouble> {
        let report = Report { watch_idx: self.watch_idx, kind };
        self.reports.send(report).map_err(|_| Trouble::Stopped)
    }
}

/// The way of one watch to the server.
#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) struct Connection {
    access: Access,
    reporter: Reporter,
    current: Option<(ApiServer, HttpClient)>,
}

impl Connection {
    /// Nothing is opened yet.
    pub(in crate::discovery::providers::kubernetes) fn new(access: Access, reporter: Reporter) -> Self {
        Self { access, reporter, current: None }
    }

    /// Looks where the server is; true if that is not where it was.
    pub(in crate::discovery::providers::kubernetes) fn follow(&mut self) -> Result<bool, Trouble> {
        let server = self.access.api_server().map_err(Trouble::failed)?;
        if self.current.as_ref().is_some_and(|(current, _)| *current == server) {
            return Ok(false);
        }
        let headers = Headers { fixed: &FIXED_HEADERS, ..Headers::default() };
        let client = HttpClient::new(server.url.clone(), headers, &server.client);
        self.reporter.report(ReportKind::Asks(client.canceller()))?;
        self.current = Some((server, client));
        Ok(true)
    }

    /// GETs a path of the API; the answer is one that says yes.
    pub(in crate::discovery::providers::kubernetes) fn open(
        &mut self,
        path: &str,
        deadline: Instant,
    ) -> Result<Answer<'_>, Trouble> {
        match &mut self.current {
            Some((_, client)) => open(client, path, deadline),
            None => Err(Trouble::failed("the API server is not known".to_owned())),
        }
    }
}

/// GETs a path behind that of the client's URL; the answer is one that says yes.
pub(in crate::discovery::providers::kubernetes) fn open<'client>(
    client: &'client mut HttpClient,
    path: &str,
    deadline: Instant,
) -> Result<Answer<'client>, Trouble> {
    let shown = format!("{}{}", client.url(), path.split('?').next().unwrap_or_default());
    let path = format!("{}{path}", client.url().path_and_query);
    let response = client.open(Some(&path), &[], deadline).map_err(|error| trouble_of(&error, ""))?;
    let answer = Answer { response, shown };
    match answer.response.status() {
        200 if answer.response.content_type().starts_with("application/json") => Ok(answer),
        200 => {
            let content_type = answer.response.content_type();
            Err(Trouble::failed(format!("{}: unsupported content type {content_type:?}", answer.shown)))
        }
        410 => Err(Trouble::Expired),
        _ => Err(answer.complaint()),
    }
}

/// `prefix` is for errors that carry no URL of their own.
fn trouble_of(error: &HttpError, prefix: &str) -> Trouble {
    match error.kind {
        HttpErrorKind::Cancelled => Trouble::Stopped,
        _ if prefix.is_empty() => Trouble::failed(error.to_string()),
        _ => Trouble::broken(format!("{prefix}: {error}")),
    }
}

/// What a server answers.
pub(in crate::discovery::providers::kubernetes) struct Answer<'client> {
    response: Response<'client>,
    /// Its URL without the query.
    shown: String,
}

impl Answer<'_> {
    /// Its URL, for sentences.
    pub(in crate::discovery::providers::kubernetes) fn shown(&self) -> &str {
        &self.shown
    }

    /// The page of a list of this kind, read as it comes.
    pub(in crate::discovery::providers::kubernetes) fn into_list(
        mut self,
        kind: &str,
    ) -> Result<List, Trouble> {
        let mut reader =
            BufReader::new(Limited { response: &mut self.response, n_left: MAX_PAGE_BYTES, failure: None });
        let parsed: Result<List, _> = within(ANSWER_BYTES, || serde_json::from_reader(&mut reader));
        let shown = &self.shown;
        match (parsed, reader.into_inner().failure) {
            (_, Some(error)) => Err(trouble_of(&error, shown)),
            (Err(error), None) if error.is_io() => Err(Trouble::failed(format!(
                "{shown}: one page of the list is too large (limit: {MAX_PAGE_BYTES}B)"
            ))),
            (Err(error), None) => Err(Trouble::failed(format!("{shown}: {}", json_mistake(&error)))),
            (Ok(list), None) if list.kind != kind => {
                Err(Trouble::failed(format!("{shown}: the answer is a {:?}, not a {kind}", list.kind)))
            }
            (Ok(list), None) => Ok(list),
        }
    }

    /// The sentence of an answer that says no.
    fn complaint(mut self) -> Trouble {
        let mut body = Vec::new();
        let limit = MAX_COMPLAINT_BYTES;
        // Half of it may say enough; the status counts anyway.
        let _ = Limited { response: &mut self.response, n_left: limit, failure: None }.read_to_end(&mut body);
        let text = match serde_json::from_slice::<Note>(&body) {
            Ok(note) => note.message,
            // A kubelet says it in plain text; a page for people is of no use.
            Err(_) if body.starts_with(b"<") => String::new(),
            Err(_) => String::from_utf8_lossy(&body).lines().next().unwrap_or_default().trim().to_owned(),
        };
        let (status, reason) = (self.response.status(), self.response.reason());
        let colon = if text.is_empty() { "" } else { ": " };
        let retry_after = self.response.header("Retry-After").and_then(|text| text.trim().parse().ok());
        Trouble::Failed(Failure {
            sentence: format!("{}: server returned HTTP status {status} {reason}{colon}{text}", self.shown),
            retry_after: Duration::from_secs(retry_after.unwrap_or(0)).min(MAX_RETRY_AFTER),
            keeps_version: matches!(status, 403 | 429),
        })
    }
}

/// An answer as a parser reads it.
struct Limited<'a, 'client> {
    response: &'a mut Response<'client>,
    n_left: usize,
    /// What went wrong with the connection, rather than with what came over it.
    failure: Option<HttpError>,
}

impl Read for Limited<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.response.read(buffer) {
            Ok(n_bytes) if n_bytes > self.n_left => Err(io::Error::other("too large")),
            Ok(n_bytes) => {
                self.n_left -= n_bytes;
                Ok(n_bytes)
            }
            Err(error) => {
                self.failure = Some(error);
                Err(io::Error::other("broken"))
            }
        }
    }
}

/// The lines of an answer that has no end.
#[derive(Debug, Default)]
pub(in crate::discovery::providers::kubernetes) struct Lines {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
}

impl Lines {
    /// The next line; `None` at the end.
    pub(in crate::discovery::providers::kubernetes) fn next(
        &mut self,
        answer: &mut Answer<'_>,
    ) -> Result<Option<&[u8]>, Trouble> {
        let mut searched = self.start;
        loop {
            if let Some(n_bytes) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let line = self.start..searched + n_bytes;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.buffer.is_empty() {
                self.buffer.shrink_to(IDLE_BYTES);
            }
            searched = self.buffer.len();
            if searched > MAX_LINE_BYTES {
                let shown = &answer.shown;
                return Err(Trouble::failed(format!(
                    "{shown}: an event is too large (limit: {MAX_LINE_BYTES}B)"
                )));
            }
            let mut piece = [0; PIECE_BYTES];
            match answer.response.read(&mut piece) {
                Ok(0) if self.buffer.trim_ascii().is_empty() => return Ok(None),
                Ok(0) => return Err(Trouble::broken(format!("{}: the last event is cut off", answer.shown))),
                Ok(n_bytes) => self.buffer.extend_from_slice(&piece[..n_bytes]),
                Err(error) => return Err(trouble_of(&error, &answer.shown)),
            }
        }
    }
}
