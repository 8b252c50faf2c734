//! The daemon that runs on this machine, asked over its API.

pub(in crate::commands) mod figures;
pub(in crate::commands) mod running;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::commands::service::running::Running;
use crate::config::client::http_client::HttpClientConfig;
use crate::config::error::ConfigErrors;
use crate::config::load_http_client;
use crate::flags::{Arguments, Flags};
use crate::http::address::url::Url;
use crate::http::wire::response::Answer;
use crate::http::{Headers, HttpClient, Question, USER_AGENT};

/// Where it listens by default.
const USUAL_URL: &str = "http://127.0.0.1:9090";
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest is a list of targets.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// The configuration that is named; the one in this directory; the one of the daemon that runs, which is said; the
/// default.
pub(in crate::commands) fn config_file(named: Option<&Path>) -> PathBuf {
    if let Some(file) = named {
        return file.to_owned();
    }
    let usual = Flags::default().config_file;
    if usual.exists() {
        return usual;
    }
    let found = running::all().into_iter().find_map(|it| Some((it.config_file()?, it.pid)));
    let Some((file, pid)) = found else { return usual };
    let _ = writeln!(io::stderr().lock(), "scraped: configuration {}, of process {pid}", file.display());
    file
}

/// A daemon.
pub(in crate::commands) struct Service {
    client: HttpClient,
    /// Where it is asked.
    pub(in crate::commands) url: String,
    /// Its path before every route, without a slash at the end.
    prefix: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::commands) enum ServiceError {
    /// `--url` is none.
    BadUrl {
        /// As given.
        url: String,
        /// Why.
        cause: String,
    },
    /// `--http.config.file` is wrong: every mistake, a line each.
    BadClient(ConfigErrors),
    /// It cannot be reached.
    Away {
        /// Where it was asked.
        url: String,
        /// Why.
        cause: String,
    },
    /// It answers something else.
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The beginning of the answer.
        said: String,
    },
}

impl ServiceError {
    /// It answers, and says no.
    pub(in crate::commands) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl { url, cause } => write!(f, "--url={url}: {cause}"),
            Self::BadClient(mistakes) => mistakes.fmt(f),
            Self::Away { url, cause } if cause.contains("x509: ") => write!(
                f,
                "no answer from scraped at {url}: {cause}; name its authority, and how else it is asked, in a file for \
                 --http.config.file: tls_config: {{ca_file: FILE, server_name: NAME}}"
            ),
            Self::Away { url, cause } => {
                write!(f, "no answer from scraped at {url}: {cause}; name it with --url=http://HOST:PORT")
            }
            Self::Refused { url, status: 401, .. } => {
                write!(
                    f,
                    "{url} asks for a password; name it with --url=http://USER:PASSWORD@HOST:PORT, or as basic_auth in a file for \
                     --http.config.file"
                )
            }
            Self::Refused { url, status, said } => write!(f, "{url} answers {status}: {}", said.trim_end()),
        }
    }
}

impl std::error::Error for ServiceError {}

impl Service {
    /// The one that `--url` names, or the one that runs here.
    pub(in crate::commands) fn find(arguments: &Arguments) -> Result<Self, ServiceError> {
        let client = match arguments.flag_file("http.config.file") {
            Some(file) => Arc::new(load_http_client(&file).map_err(ServiceError::BadClient)?),
            None => Arc::default(),
        };
        match arguments.flag("url") {
            Some(url) => Self::at(&url, &client),
            None => Self::running(running::all().first(), &client),
        }
    }

    /// The one at this URL.
    fn at(url: &str, client: &Arc<HttpClientConfig>) -> Result<Self, ServiceError> {
        if let Some(path) = url.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let at = Url::parse("http://localhost/").map_err(|cause| bad(url, cause))?;
            return Ok(Self {
                client: HttpClient::over_unix_socket(path, at, headers(), client),
                url: url.to_owned(),
                prefix: String::new(),
            });
        }
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let at = Url::parse(&with_scheme).map_err(|cause| bad(url, cause))?;
        let prefix = at.path_and_query.trim_end_matches('/').to_owned();
        let shown = at.to_string().trim_end_matches('/').to_owned();
        Ok(Self { client: HttpClient::new(at, headers(), client), url: shown, prefix })
    }

    /// This process, or whoever listens at the usual place.
    pub(in crate::commands) fn running(
        running: Option<&Running>,
        client: &Arc<HttpClientConfig>,
    ) -> Result<Self, ServiceError> {
        Self::at(running.and_then(Running::url).as_deref().unwrap_or(USUAL_URL), client)
    }

    /// Whatever it answers; `path` begins with a slash and is escaped.
    pub(in crate::commands) fn get(&mut self, path: &str) -> Result<Answer, ServiceError> {
        let path = format!("{}{path}", self.prefix);
        let question = Question { path_and_query: Some(&path), headers: &[], limit_bytes: MAX_ANSWER_BYTES };
        let answer = self.client.fetch(&question, Instant::now() + PATIENCE);
        answer.map_err(|error| ServiceError::Away { url: self.url.clone(), cause: error.kind.to_string() })
    }

    /// A page of text that it answers with 200.
    pub(in crate::commands) fn text(&mut self, path: &str) -> Result<String, ServiceError> {
        let answer = self.get(path)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        match answer.status() {
            200 => Ok(text),
            status => {
                let said = text.chars().take(500).collect();
                Err(ServiceError::Refused { url: format!("{}{path}", self.url), status, said })
            }
        }
    }

    /// The data of an answer of the API.
    pub(in crate::commands) fn data(&mut self, path: &str) -> Result<Value, ServiceError> {
        let text = self.text(path)?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|cause| ServiceError::Away {
            url: format!("{}{path}", self.url),
            cause: format!("this is no answer of its API: {cause}"),
        })?;
        Ok(answer["data"].take())
    }
}

fn bad(url: &str, cause: String) -> ServiceError {
    ServiceError::BadUrl { url: url.to_owned(), cause }
}

fn headers() -> Headers {
    Headers { fixed: &[USER_AGENT], ..Headers::default() }
}
