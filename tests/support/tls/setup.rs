//! A client with settings as the configuration says them, in a directory with the files that they name.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped::config::client::http_client::HttpClientConfig;
use scraped::http::address::url::Url;
use scraped::http::wire::response::Answer;
use scraped::http::{Headers, HttpClient};
use tempfile::TempDir;

use crate::PATIENCE;

/// What must never be printed.
pub const SECRET: &str = "hunter2";

/// A timeout that a hung server is cut off at; the test waits for it, and a busy machine gets to the hung part in it.
pub const SHORT: Duration = Duration::from_secs(2);

/// A directory with files, and settings that name them.
pub struct Setup {
    /// Where the files are.
    pub dir: TempDir,
}

impl Setup {
    /// With these files.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let setup = Self { dir: TempDir::with_prefix("scraped-test-").expect("a directory") };
        for (name, content) in files {
            setup.write(name, content);
        }
        setup
    }

    /// Writes in place: what is half there may be seen.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).expect("writable");
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).expect("there");
    }

    /// The settings as the configuration says them; `yaml` is the inside of a flow mapping.
    pub fn config(&self, yaml: &str) -> Arc<HttpClientConfig> {
        let text = format!("scrape_configs: [{{job_name: j, {yaml}}}]\n");
        self.write("scraped.yml", &text);
        let config = scraped::config::load(&self.dir.path().join("scraped.yml"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!config.to_yaml().contains(SECRET), "{}", config.to_yaml());
        assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
        Arc::clone(&config.scrape_configs[0].http_client)
    }

    /// A client with these settings.
    pub fn client(&self, url: &str, yaml: &str) -> HttpClient {
        let headers = Headers { fixed: &[("User-Agent", "test")], ..Headers::default() };
        HttpClient::new(Url::parse(url).expect("a URL"), headers, &self.config(yaml))
    }
}

/// Status and body, or the error as text.
pub fn get(client: &mut HttpClient, timeout: Duration) -> Result<(u16, String), String> {
    let words = |error: scraped::http::error::HttpError| {
        let text = error.to_string();
        assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error:?}");
        text
    };
    let mut response = client.get(Instant::now() + timeout).map_err(words)?;
    let mut body = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match response.read(&mut piece).map_err(words)? {
            0 => break,
            n_read => body.extend_from_slice(&piece[..n_read]),
        }
    }
    Ok((response.status(), String::from_utf8_lossy(&body).into_owned()))
}

/// The answer, or the error as text.
pub fn post(client: &mut HttpClient, body: &[u8], timeout: Duration) -> Result<Answer, String> {
    client
        .post(&[("Content-Type", "application/x-protobuf")], body, Instant::now() + timeout)
        .map_err(|error| error.to_string())
}

/// What an endpoint answers by default.
pub fn ok() -> Result<(u16, String), String> {
    Ok((200, "ok".to_owned()))
}

/// The error of one GET, without the URL in front.
pub fn error_of(client: &mut HttpClient) -> String {
    let error = get(client, PATIENCE).expect_err("no answer");
    let prefix = format!("Get \"{}\": ", client.url());
    error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// What servers speak.
pub const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];
