//! The pages in a real browser: they load without a complaint, ask no one else, are small, and nothing that targets and
//! lists say can act on them. Pictures are left in `target/screenshots/` for a person to look at.
//!
//! Needs the command `chromium` (Debian's package). Without it the test says that no page was looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, Request, reply};
use support::wait_until;
use tempfile::TempDir;

/// The name of the picture, the path, and what the browser has to show of it.
const PAGES: &[(&str, &str, &str)] = &[
    ("overview", "/", "targets are down."),
    ("targets", "/targets", "since "),
    ("targets-found", "/targets?q=parse&state=down", "1 target"),
    ("discovery", "/service-discovery", "5 targets"),
    ("status", "/status", "Remote write"),
    ("storage", "/storage", "Log on disk"),
    ("config", "/config", "scrape_configs:"),
    ("flags", "/flags", "--config.file"),
];

/// Width, height and what makes the browser so.
const LOOKS: &[(&str, &str, &[&str])] = &[
    ("wide", "1400,1000", &[]),
    ("phone", "500,1000", &[]),
    ("dark", "1400,1000", &["--blink-settings=preferredColorScheme=0"]),
];

/// Whom the browser asks for itself.
const BROWSERS_OWN: &[&str] = &["google.com", "googleapis.com", "gvt1.com"];

const MAX_PAGE_BYTES: usize = 60_000;

/// It would show if it ran, wherever it stands.
const SCRIPT: &str = "\\\"'><script>document.title='acted'</script><img src=http://elsewhere.invalid/x onerror=document.title='acted'>";

const CONFIG: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s}
remote_write:
- {name: home, url: 'http://127.0.0.1:1/write'}
scrape_configs:
- job_name: good
  metrics_path: /good
  static_configs: [{targets: ['ADDRESS'], labels: {hostile: \"SCRIPT\"}}]
- job_name: parse
  metrics_path: /parse
  static_configs: [{targets: ['ADDRESS']}]
- job_name: status
  metrics_path: /status
  static_configs: [{targets: ['ADDRESS']}]
- job_name: type
  metrics_path: /type
  static_configs: [{targets: ['ADDRESS']}]
- job_name: \"<b>SCRIPT\"
  relabel_configs: [{target_label: made, replacement: \"SCRIPT\"}]
  static_configs: [{targets: ['127.0.0.1:1']}]
- job_name: list
  http_sd_configs: [{url: 'http://ADDRESS/list'}]
";

fn answer(request: &Request) -> support::tls::endpoint::Reply {
    let script = SCRIPT.replace('\\', "");
    match request.head.split(' ').nth(1).unwrap_or_default() {
        "/good" => reply(200, "Content-Type: text/plain\r\n", "a 1\n"),
        "/parse" => reply(200, "Content-Type: text/plain\r\n", &format!("a{{b={script}}} 1\n")),
        "/type" => reply(200, "Content-Type: text/html\r\n", &script),
        path => reply(500, "Content-Type: text/html\r\n", &format!("{path} {script}")),
    }
}

struct Browser {
    profile: TempDir,
}

impl Browser {
    /// `None` if it is not installed.
    fn find() -> Option<Self> {
        let is_there = Command::new("chromium").arg("--version").output().is_ok_and(|it| it.status.success());
        let profile = || TempDir::with_prefix("scraped-test-").expect("a directory");
        is_there.then(|| Self { profile: profile() })
    }

    /// Opens a page; what it prints, and what it complains of.
    fn open(&self, url: &str, arguments: &[&str]) -> (String, String) {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let output = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-dev-shm-usage",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--no-first-run"])
            .args(["--enable-logging=stderr", &profile])
            .args(arguments)
            .arg(url)
            .output()
            .expect("it was there before");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{url}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }

    /// What was asked while a page was opened.
    fn requests(&self, url: &str) -> Vec<String> {
        let log = self.profile.path().join("net.json");
        self.open(url, &["--dump-dom", &format!("--log-net-log={}", log.display())]);
        let log = fs::read_to_string(log).expect("written");
        let asked = log.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        let mut asked: Vec<String> = asked.filter(|url| url.starts_with("http")).map(str::to_owned).collect();
        asked.sort();
        asked.dedup();
        asked
    }
}

fn pictures() -> PathBuf {
    let dir = support::repository().join("target/screenshots");
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

fn picture(dir: &Path, page: &str, look: &str) -> String {
    format!("--screenshot={}", dir.join(format!("{page}-{look}.png")).display())
}

#[test]
fn pages_load_show_what_they_should_and_nothing_acts() {
    let Some(browser) = Browser::find() else {
        println!("chromium is not installed: no page was looked at in a browser");
        return;
    };
    let endpoint = Endpoint::plain(answer);
    let config = CONFIG.replace("ADDRESS", &endpoint.at("127.0.0.1")).replace("SCRIPT", SCRIPT);
    let scraped = Scraped::start(&config);
    wait_until("all has happened that pages show", || {
        let page = scraped.get("/targets").body;
        page.matches("<b class=down>").count() == 4 && page.contains("Failing sources")
    });
    let base = format!("http://{}", scraped.address());
    let dir = pictures();
    for (name, path, shown) in PAGES {
        let url = format!("{base}{path}");
        let (dom, complaints) = browser.open(&url, &["--dump-dom"]);
        assert!(dom.contains(shown), "{path}: {dom}");
        assert!(!dom.contains("<title>acted"), "{path}: {dom}");
        assert!(!complaints.contains("CONSOLE"), "{path}: {complaints}");
        let n_bytes = scraped.get(path).body.len();
        assert!(n_bytes <= MAX_PAGE_BYTES, "{path}: {n_bytes} bytes");
        for (look, size, arguments) in LOOKS {
            let size = format!("--window-size={size}");
            let mut all = vec![size.as_str()];
            all.extend(*arguments);
            let picture = picture(&dir, name, look);
            all.push(&picture);
            browser.open(&url, &all);
        }
    }
    let asked = browser.requests(&format!("{base}/targets"));
    assert!(asked.iter().any(|url| url.ends_with("/style.css")), "{asked:?}");
    let is_elsewhere = |url: &&String| {
        let host = url.split('/').nth(2).unwrap_or_default();
        !url.starts_with(&base) && !BROWSERS_OWN.iter().any(|own| host.ends_with(own))
    };
    let elsewhere: Vec<&String> = asked.iter().filter(is_elsewhere).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}
