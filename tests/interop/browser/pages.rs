//! Each page loads without a complaint, asks no one else, is small, fits a phone, and nothing that targets and lists say can act
//! on it. Pictures are left in `target/screenshots/` for a person to look at.

use std::fs;

use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, Reply, Request, reply};
use support::wait_until;

use super::devtools::{Browser, DARK, PHONE, WIDE};

/// The name of the picture, the path, and what the browser has to show of it.
const PAGES: &[(&str, &str, &str)] = &[
    ("overview", "/", "targets are down."),
    ("targets", "/targets", "since "),
    ("targets-found", "/targets?q=parse&state=down", "1 target"),
    ("discovery", "/service-discovery", "5 targets"),
    ("explore", "/graph?g0.expr=up", "<svg class=\"chart\""),
    ("explore-empty", "/graph", "scrape_duration_seconds"),
    ("cost", "/cost", "Samples a day"),
    ("status", "/status", "Remote write"),
    ("storage", "/storage", "Log on disk"),
    ("config", "/config", "scrape_configs:"),
    ("flags", "/flags", "--config.file"),
];

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

fn answer(request: &Request) -> Reply {
    let script = SCRIPT.replace('\\', "");
    match request.head.split(' ').nth(1).unwrap_or_default() {
        "/good" => reply(200, "Content-Type: text/plain\r\n", "a 1\n"),
        "/parse" => reply(200, "Content-Type: text/plain\r\n", &format!("a{{b={script}}} 1\n")),
        "/type" => reply(200, "Content-Type: text/html\r\n", &script),
        path => reply(500, "Content-Type: text/html\r\n", &format!("{path} {script}")),
    }
}

fn start(endpoint: &Endpoint) -> Scraped {
    let config = CONFIG.replace("ADDRESS", &endpoint.at("127.0.0.1")).replace("SCRIPT", SCRIPT);
    let scraped = Scraped::start(&config);
    wait_until("all has happened that pages show", || {
        let page = scraped.get("/targets").body;
        page.matches("<b class=down>").count() == 4
            && page.matches("<b class=up>").count() == 1
            && page.contains("Failing sources")
    });
    scraped
}

#[test]
fn pages_load_show_what_they_should_and_nothing_acts() {
    let Some(mut browser) = Browser::find() else { return };
    let endpoint = Endpoint::plain(answer);
    let scraped = start(&endpoint);
    let base = format!("http://{}", scraped.address());
    let dir = support::repository().join("target/screenshots");
    fs::create_dir_all(&dir).expect("a directory");
    for (name, path, shown) in PAGES {
        browser.look(WIDE);
        browser.open(&format!("{base}{path}"));
        let html = browser.html();
        assert!(html.contains(shown), "{path}: {html}");
        assert_ne!(browser.evaluate("document.title"), "acted", "{path}: {html}");
        assert_eq!(browser.complaints(), [""; 0], "{path}");
        let elsewhere: Vec<&String> = browser.asked().iter().filter(|url| !url.starts_with(&base)).collect();
        assert_eq!(elsewhere, [""; 0], "{path}");
        assert!(
            browser.asked().iter().any(|url| url.ends_with("/style.css")),
            "{path}: {:?}",
            browser.asked()
        );
        let n_bytes = scraped.get(path).body.len();
        assert!(n_bytes <= MAX_PAGE_BYTES, "{path}: {n_bytes} bytes");
        for look in [WIDE, PHONE, DARK] {
            browser.look(look);
            let width = browser.evaluate("document.documentElement.scrollWidth").as_u64().expect("pixels");
            assert!(width <= look.width.into(), "{path}, {}: {width} pixels wide", look.name);
            fs::write(dir.join(format!("{name}-{}.png", look.name)), browser.picture()).expect("written");
        }
    }
}

#[test]
fn a_target_is_scraped_at_the_press_of_its_button() {
    let Some(mut browser) = Browser::find() else { return };
    let endpoint = Endpoint::plain(answer);
    let config = CONFIG.replace("ADDRESS", &endpoint.at("127.0.0.1")).replace("SCRIPT", SCRIPT);
    // Beside the first scrape no slot of its own comes before the test has ended.
    let scraped = Scraped::start(&config.replace("scrape_interval: 1s", "scrape_interval: 1d"));
    wait_until("the first scrape", || scraped.get("/targets?q=good").body.contains("1 stored"));
    browser.open(&format!("http://{}/targets?q=good", scraped.address()));
    browser.press("form[action='targets/scrape'] button");
    let shown = browser.text();
    assert!(shown.contains("2 stored"), "{shown}");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn rows_are_filtered_while_one_types_and_refreshed_otherwise() {
    let Some(mut browser) = Browser::find() else { return };
    let endpoint = Endpoint::plain(answer);
    let scraped = start(&endpoint);
    browser.open(&format!("http://{}/targets", scraped.address()));
    let n_shown =
        "[...document.querySelectorAll('.targets tbody tr')].filter(row => row.offsetHeight > 0).length";
    assert_eq!(browser.evaluate(n_shown), 5);
    browser.type_into("input[name=q]", "PARSE");
    assert_eq!(browser.evaluate(n_shown), 1);
    browser.evaluate("document.querySelector('input[name=q]').value = ''");
    browser.evaluate(
        "document.querySelector('input[name=q]').dispatchEvent(new Event('input', {bubbles: true}))",
    );
    assert_eq!(browser.evaluate(n_shown), 5);
    browser.evaluate("document.activeElement.blur()");
    endpoint.answer(|_| reply(503, "", "gone away"));
    wait_until("the page shows by itself what has changed", || browser.text().contains("gone away"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_selector_is_typed_and_drawn() {
    let Some(mut browser) = Browser::find() else { return };
    let endpoint = Endpoint::plain(answer);
    let scraped = start(&endpoint);
    browser.open(&format!("http://{}/graph", scraped.address()));
    let offered = "[...document.querySelectorAll('datalist option')].some(it => it.value === 'up')";
    assert_eq!(browser.evaluate(offered), true);
    browser.type_into("input[name='g0.expr']", "up{job=~\"good|parse\"}");
    browser.press("form.explore button");
    let shown = browser.text();
    assert!(shown.contains("instance=\"127.0.0.1") && shown.contains("job=\"parse\""), "{shown}");
    assert!(!shown.contains("job=\"status\""), "{shown}");
    assert_eq!(browser.evaluate("document.querySelectorAll('svg.chart').length"), 1);
    let csv = browser.evaluate("[...document.querySelectorAll('a')].find(it => it.text === 'CSV').href");
    let path = csv.as_str().expect("a link").split_once(scraped.address()).expect("a link to this box").1;
    let csv = scraped.get(path).body;
    assert!(csv.starts_with("metric,") && csv.contains(",parse,"), "{csv}");
    assert_eq!(browser.complaints(), [""; 0]);
    // Its answer is a 400, which the browser complains of.
    browser.type_into("input[name='g0.expr']", &SCRIPT.replace('\\', ""));
    browser.press("form.explore button");
    assert!(browser.text().contains("<script>"), "{}", browser.text());
    assert_ne!(browser.evaluate("document.title"), "acted");
}

#[test]
fn a_search_is_typed_and_sent() {
    let Some(mut browser) = Browser::find() else { return };
    let endpoint = Endpoint::plain(answer);
    let scraped = start(&endpoint);
    browser.open(&format!("http://{}/targets", scraped.address()));
    browser.type_into("input[name=q]", "parse");
    browser.press("main form button, form button");
    let shown = browser.text();
    assert!(shown.contains("1 target") && !shown.contains("/good"), "{shown}");
    assert_eq!(browser.complaints(), [""; 0]);
}
