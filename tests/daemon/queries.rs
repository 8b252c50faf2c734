//! Questions to the log that are too large, too many, or no questions at all: each is answered, and scraping goes on.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::api::{metric, metric_sum};
use support::scraped::{Answer, Scraped, send};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use support::wal::fill_with_noise;
use tempfile::TempDir;

/// One more than an answer may have.
const N_SAMPLES: i64 = 1_000_001;
const N_SERIES: i64 = 100;

/// How long all noise is, and a bit, in seconds.
const LENGTH_S: i64 = 1001;

const AT_ONCE: usize = 50;

const PATHS: [&str; 4] =
    ["/api/v1/query", "/api/v1/query_range?start=1&end=2&step=1", "/api/v1/series", "/api/v1/labels"];

/// A box with a million samples and a target.
struct NoisyBox {
    scraped: Scraped,
    /// When the noise ends, in seconds since the Unix epoch; not long ago, or it would be removed.
    end_s: i64,
}

fn start(targets: &FakeTargets) -> NoisyBox {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let end_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    fill_with_noise(&dir.path().join("data"), (end_s - LENGTH_S) * 1000, N_SAMPLES, N_SERIES);
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: a\n  static_configs: [{{targets: \
         ['{}']}}]\n",
        targets.address()
    );
    fs::write(dir.path().join("scraped.yml"), config).unwrap();
    NoisyBox { scraped: Scraped::start_in(dir, &[]), end_s }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl NoisyBox {
    fn query(&self, query: &str, more: &str) -> Answer {
        self.scraped.get(&format!("/api/v1/query?query={}&time={}{more}", encoded(query), self.end_s))
    }

    fn query_range(&self, step: &str) -> Answer {
        let Self { scraped, end_s } = self;
        let start = end_s - LENGTH_S + 1;
        scraped.get(&format!(
            "/api/v1/query_range?query=noise&start={start}&end={end_s}&step={step}&lookback_delta=2"
        ))
    }
}

/// Kind and sentence of an answer that is an error.
fn error(answer: &Answer) -> (String, String) {
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{}", answer.body));
    let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned();
    assert_eq!(text("status"), "error");
    (text("errorType"), text("error"))
}

#[test]
fn a_question_that_is_too_large_is_refused_by_the_bound() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let noisy = start(&targets);
    let check = |answer: &Answer, status: u16, kind: &str, part: &str| {
        let (error_type, sentence) = error(answer);
        assert_eq!((answer.status, error_type.as_str()), (status, kind), "{sentence}");
        assert!(sentence.contains(part), "{part}: {sentence}");
    };
    let all = noisy.query("noise[1d]", "");
    check(&all, 422, "execution", "more than 1000000 samples in this range (limit: 1000000)");
    let late = noisy.query("noise[1d]", "&timeout=0.000001");
    check(&late, 503, "timeout", "query timed out in query ");
    check(&noisy.query_range("0.09"), 400, "bad_data", "exceeded maximum resolution of 11,000 points");
    check(&noisy.query_range("0.095"), 422, "execution", "more than 1000000 samples");
    // What is not too large is whole.
    let some = noisy.query(r#"noise{number=~"1."}[1d]"#, "");
    let json: Value = serde_json::from_str(&some.body).unwrap();
    let rows = json["data"]["result"].as_array().unwrap();
    let n_samples: usize = rows.iter().map(|row| row["values"].as_array().unwrap().len()).sum();
    assert_eq!((some.status, rows.len(), n_samples), (200, 10, 100_000));
}

#[test]
fn scrapes_stay_in_their_slots_while_fifty_heavy_questions_come_at_once() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let noisy = start(&targets);
    wait_until("a scrape", || targets.n_requests("/metrics") > 0);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = |idx: usize| {
            let noisy = &noisy;
            scope.spawn(move || match idx % 2 {
                0 => noisy.query("noise[1d]", ""),
                _ => noisy.query(r#"noise{number=~"1.*|.*[2-8]"}[900s]"#, ""),
            })
        };
        let asked: Vec<_> = (0..AT_ONCE).map(ask).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let before = targets.n_requests("/metrics");
    for answer in &answers {
        match answer.status {
            200 => assert!(answer.body.ends_with("]}}"), "an answer is whole"),
            422 | 503 => drop(error(answer)),
            status => panic!("{status}: {}", answer.body),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
    wait_until("scrapes go on", || targets.n_requests("/metrics") > before + 1);
    let scraped = &noisy.scraped;
    assert_eq!(metric_sum(scraped, "scraped_scrapes_skipped_total"), 0.0);
    assert_eq!(metric(scraped, "prometheus_engine_queries"), Some(0.0));
    let up = scraped.get("/api/v1/query?query=up");
    assert!(up.body.contains(",\"1\"]"), "{}", up.body);
}

#[test]
fn whatever_is_asked_is_answered_by_json() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a{b=\"c\"} 1\n")));
    let scraped = Scraped::start(&format!(
        "scrape_configs: [{{job_name: a, static_configs: [{{targets: ['{}']}}]}}]",
        targets.address()
    ));
    let expressions = [
        r#"a{b="c\x41\u00e9",c!~'d.*',`e`="f"}[5m:1m] offset -1h @ start() # comment"#,
        r#"sum by (a, "b c") (rate(x{y=~"z+"}[5m])) / on (a) group_left (b) max(1e3 ^ -0x1F) > bool 1"#,
        "{__name__=~\"(a|b){1,1000}\"} and (((up))) or up unless 5m",
        "\u{0}\u{ff}é\u{1F600}{}[]()@:",
    ];
    let mut texts = Vec::new();
    for expression in expressions {
        let ends = expression.char_indices().map(|(at, _)| at).chain([expression.len()]);
        texts.extend(ends.map(|end| expression[..end].to_owned()));
        texts.extend(expression.char_indices().map(|(at, c)| {
            // One character less, and one of another kind.
            format!("{}{}{}", &expression[..at], "}", &expression[at + c.len_utf8()..])
        }));
    }
    texts.push("(".repeat(2000));
    texts.push("-".repeat(2000));
    texts.push(format!("{}1{}", "(".repeat(1000), ")".repeat(1000)));
    texts.push(format!("{{a=~\"{}\"}}", "(a*)*".repeat(300)));
    texts.push("{a=~\"((a{1,100}){1,100}){1,100}\"}".to_owned());
    for (idx, text) in texts.iter().enumerate() {
        let is_asked_everywhere = idx % 8 == 0 || idx > texts.len() - 6;
        let n_paths = if is_asked_everywhere { PATHS.len() } else { 1 };
        for path in &PATHS[..n_paths] {
            let text = encoded(text);
            let headers =
                format!("Host: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n", scraped.address());
            let form = format!("query={text}&match[]={text}");
            let answer = send(scraped.address(), "POST", path, &headers, form.as_bytes()).unwrap();
            let is_json = serde_json::from_str::<Value>(&answer.body).is_ok();
            assert!(
                [200, 400, 422].contains(&answer.status) && is_json,
                "{text}: {} {}",
                answer.status,
                answer.body
            );
        }
    }
    assert_eq!(metric_sum(&scraped, "scraped_panics_total"), 0.0);
}
