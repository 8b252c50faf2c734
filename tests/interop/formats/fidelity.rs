//! The same targets scraped by us and by a real agent: the same series in both logs, sample by sample.
//!
//! Each side has targets of its own that answer the same sequence of pages. A sample's place is the scrape it came
//! with, counted by the samples of `up`; its time is compared only where the page gave it. Needs what `scripts/peers`
//! fetches; fails without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use support::command::query;
use support::peers::Peer;
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets, packed_page, page};
use support::wait_until;
use tempfile::TempDir;

/// How many scrapes are compared: every script is shorter.
const N_SCRAPES: usize = 9;

/// A job and what its target answers, scrape by scrape; the last answer is repeated.
struct Row {
    name: &'static str,
    job_lines: &'static str,
    script: Vec<Behaviour>,
}

/// A row whose target answers these pages.
fn pages(name: &'static str, job_lines: &'static str, pages: &[&str]) -> Row {
    let script = pages.iter().map(|text| Behaviour::Healthy(page(text))).collect();
    Row { name, job_lines, script }
}

impl Row {
    /// The same pages, with these types of content.
    fn typed(mut self, content_types: &[&str]) -> Self {
        for (behaviour, content_type) in self.script.iter_mut().zip(content_types) {
            if let Behaviour::Healthy(page) = behaviour {
                *behaviour = Behaviour::ContentType(Arc::clone(page), (*content_type).to_owned());
            }
        }
        self
    }
}

/// A row whose target answers a good page, one of the behaviours, the good page, the next one, …
fn between(name: &'static str, job_lines: &'static str, behaviours: Vec<Behaviour>) -> Row {
    let good = || Behaviour::Healthy(page("good 1\nalso_good{a=\"b\"} 2\n"));
    let mut script = vec![good()];
    for behaviour in behaviours {
        script.extend([behaviour, good()]);
    }
    Row { name, job_lines, script }
}

/// A good page and then this for ever: Go asks once more on a fresh connection when an old one breaks, so requests
/// cannot be counted.
fn breaks(name: &'static str, behaviour: Behaviour) -> Row {
    Row { name, job_lines: "", script: vec![Behaviour::Healthy(page("good 1\n")), behaviour] }
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

fn rows() -> Vec<Row> {
    let now_ms = now_ms();
    // Before all scrapes, and behind all of them.
    let timed = |value: u8, ts_ms: u128| format!("timed {value} {ts_ms}\nuntimed 1\n");
    let (timed_a, timed_b, timed_c) =
        (timed(1, now_ms - 60_000), timed(2, now_ms + 300_000), timed(3, now_ms + 301_000));
    let future = format!("near 1 {}\nfar 1 {}\n", now_ms + 300_000, now_ms + 3_600_000);
    // All before the first scrape; what goes back within a page is a matter of its own.
    let times = [
        format!("old 1 {}\nsame 1\n", now_ms - 9000),
        format!("old 2 {}\nold 3 {}\n", now_ms - 9500, now_ms - 8000),
        format!("old 4 {}\nnew 1 {}\n", now_ms - 8000, now_ms - 20_000),
    ];
    let past = format!("past 1 {}\n", now_ms - 1_000_000);
    let long = page(&"long_page 1\n".repeat(1000));
    vec![
        pages(
            "comes_and_goes",
            "",
            &["a 1\nb 1\n", "a 2\n", "b 3\n", "", "a 4\nb 4\nc 4\n", "c 5\nb 5\na 5\n"],
        ),
        pages(
            "values",
            "",
            &[
                "nan NaN\ninf +Inf\nneg -Inf\nzero -0\ntiny 5e-324\nbig 1.7976931348623157e308\n",
                "nan nan\ninf Inf\nneg -inf\nzero 0\ntiny 4.9E-324\nbig 0.1\nint 9007199254740993\n",
            ],
        ),
        pages(
            "names",
            "",
            &["{\"name.with.dots\",\"label.with.dots\"=\"x\"} 1\n{\"ümlaut\"} 2\na:b:c 3\n_ 4\n"],
        ),
        pages(
            "escapes",
            "",
            &["a{b=\"q\\\"uote\",c=\"back\\\\slash\",d=\"new\\nline\",e=\"\",f=\"\\x\",g=\"tab\\t\"} 1\n\
             a { b = \"spaces\" , } 2\na{b=\"ü😀\"} 3\n"],
        ),
        pages(
            "types",
            "",
            &["# HELP h Help text\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2.50\"} 2\n\
             h_bucket{le=\"123456789\"} 3\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n\
             # TYPE s summary\ns{quantile=\"0\"} 1\ns{quantile=\"0.990\"} 2\ns_sum 3\ns_count 2\n\
             # TYPE u untyped\nu{le=\"1\"} 1\n# a comment\n#\n\nplain{le=\"1\"} 1\n"],
        ),
        pages("twice", "", &["a 1\na 2\nb 1\n", "a 3\nb 1\na 4\n", "a 5\na 5\nb 1\n"]),
        pages(
            "own_labels",
            "",
            &["a{job=\"mine\",instance=\"here\",exported_job=\"old\"} 1\na{job=\"\"} 2\na{env=\"x\"} 3\n"],
        ),
        pages(
            "own_labels_win",
            "  honor_labels: true\n",
            &["a{job=\"mine\",instance=\"here\"} 1\na{job=\"\"} 2\na{instance=\"\"} 3\nb{env=\"x\"} 4\n"],
        ),
        pages("timed", "", &[&timed_a, &timed_b, "untimed 1\n", &timed_c, &timed_c, "untimed 1\n"]),
        pages(
            "timed_not_honored",
            "  honor_timestamps: false\n",
            &[&timed_a, "untimed 1\n", &timed_b, &timed_a],
        ),
        pages(
            "timed_and_stale",
            "  track_timestamps_staleness: true\n",
            &[&timed_a, "untimed 1\n", &timed_b],
        ),
        pages("future", "", &[&future]),
        pages("past", "", &[&past]),
        pages(
            "relabelled",
            "  metric_relabel_configs:\n\
             \x20 - {source_labels: [__name__], regex: drop_.*, action: drop}\n\
             \x20 - {source_labels: [__name__], regex: 'old_(.*)', target_label: __name__, replacement: new_$1}\n\
             \x20 - {regex: secret, action: labeldrop}\n\
             \x20 - {regex: 'x_(.+)', action: labelmap}\n\
             \x20 - {source_labels: [a], modulus: 7, action: hashmod, target_label: shard}\n",
            &[
                "keep{a=\"1\",secret=\"s\"} 1\ndrop_me 1\nold_name{x_y=\"z\"} 1\n",
                "drop_me 1\n",
                "keep{a=\"1\",secret=\"other\"} 2\ndrop_too 1\nold_name 2\n",
            ],
        ),
        pages(
            "label_limit",
            "  label_limit: 6\n",
            &["a{x=\"1\"} 1\n", "b{x=\"1\",y=\"2\"} 1\n", "a{x=\"1\"} 2\n"],
        ),
        pages(
            "label_name_length",
            "  label_name_length_limit: 10\n",
            &["a{label_10xx=\"1\"} 1\n", "a{label_11xxx=\"1\"} 1\n", "a 2\n"],
        ),
        pages(
            "label_value_length",
            "  label_value_length_limit: 20\n",
            &["a{b=\"20 bytes____________\"} 1\n", "a{b=\"21 bytes_____________\"} 1\n", "a 2\n"],
        ),
        pages(
            "legacy_names",
            "  metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores\n  metric_relabel_configs:\n\
             \x20 - {source_labels: [__name__], regex: 'made\\.(.*)', target_label: __name__, replacement: made_$1}\n\
             \x20 - {regex: 'gone\\.label', action: labeldrop}\n",
            &[
                "a:b 1\n",
                "{\"a.b\"} 1\n",
                "a{\"l.m\"=\"x\"} 1\n",
                "{\"made.it\",\"gone.label\"=\"x\"} 1\n",
                "a:b 2\n",
            ],
        ),
        pages("times_that_go_back", "", &[&times[0], &times[1], &times[2]]),
        pages(
            "open_metrics",
            "  fallback_scrape_protocol: OpenMetricsText1.0.0\n",
            &[
                "# TYPE a counter\na_total 1\na_created 5\n# EOF\n",
                "bad{ 1\n# EOF\n",
                "a_total{b=\"c\"} 0x1p2\n# EOF\n",
            ],
        )
        .typed(&["text/html", "text/html", "text/html"]),
        pages(
            "fallback",
            "  fallback_scrape_protocol: PrometheusText0.0.4\n",
            &["a 1\n", "a 2\n", "a 3\n# EOF\n"],
        )
        .typed(&["text/html", ";;;", "application/openmetrics-text; version=1.0.0"]),
        pages("limited", "  sample_limit: 2\n", &["a 1\nb 1\n", "a 2\nb 2\nc 2\n", "a 3\nb 3\n", "c 4\n"]),
        between("statuses", "", vec![Behaviour::Status(503), Behaviour::Status(404), Behaviour::Status(204)]),
        between(
            "redirected",
            "",
            vec![
                Behaviour::Redirects(302, "/good".to_owned()),
                Behaviour::Redirects(307, "http://ADDRESS/good".to_owned()),
                Behaviour::Redirects(301, "/no/such".to_owned()),
            ],
        ),
        between("hangs", "", vec![Behaviour::Hangs]),
        between(
            "malformed_at_once",
            "",
            vec![
                Behaviour::Healthy(page("bad{ 1\ngood 1\n")),
                Behaviour::Healthy(page("1bad 1\n")),
                Behaviour::Healthy(page("bad 1 2 3\n")),
            ],
        ),
        pages("malformed_later", "", &["a 1\nb 1\n", "a 2\nnew 2\nbad{ 2\nb 2\n", "a 3\nb 3\n", "a 4\n"]),
        between(
            "types_of_content",
            "",
            vec![
                Behaviour::ContentType(page("good 1\n"), "text/html".to_owned()),
                Behaviour::NoContentType(page("good 1\n")),
                Behaviour::ContentType(
                    page("good 1\n"),
                    "text/plain; charset=latin-1; version=0.0.4".to_owned(),
                ),
            ],
        ),
        between(
            "packed",
            "",
            vec![
                Behaviour::Gzip(packed_page("good 1\npacked 1\n")),
                Behaviour::BadGzip,
                Behaviour::ContentEncoding(page("good 1\n"), "deflate".to_owned()),
            ],
        ),
        between(
            "large",
            "  body_size_limit: 100B\n",
            vec![Behaviour::Healthy(long.clone()), Behaviour::Chunked(long.clone(), 30)],
        ),
        between(
            "framed",
            "",
            vec![
                Behaviour::Chunked(page("good 1\nchunked 1\n"), 3),
                Behaviour::ClosesKeepAlive(page("good 1\nclosed 1\n")),
                Behaviour::UntilClosed(page("good 1\nunmeasured 1\n")),
            ],
        ),
        breaks("closes", Behaviour::Closes),
        breaks("resets", Behaviour::Resets),
        breaks("cut", Behaviour::CutsBody(long, 100)),
        breaks("ssh", Behaviour::Raw(page("SSH-2.0-OpenSSH_9.2\r\n"))),
    ]
}

/// One side: targets of its own and a configuration in its own directory.
struct Side {
    _targets: FakeTargets,
    dir: Arc<TempDir>,
}

impl Side {
    fn new(rows: &[Row]) -> Self {
        let targets = FakeTargets::start();
        let address = targets.address();
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let mut config =
            "global: {scrape_interval: 1500ms, scrape_timeout: 1400ms}\nscrape_configs:\n".to_owned();
        targets.set("/good", Behaviour::Healthy(page("good 1\n")));
        for row in rows {
            let name = row.name;
            let script = row.script.iter().map(|behaviour| match behaviour {
                Behaviour::Redirects(status, to) => {
                    Behaviour::Redirects(*status, to.replace("ADDRESS", &address))
                }
                other => other.clone(),
            });
            targets.set(&format!("/{name}"), Behaviour::InTurn(script.collect()));
            config.push_str(&format!(
                "- job_name: {name}\n  metrics_path: /{name}\n{}  static_configs: \
                 [{{targets: ['{address}'], labels: {{instance: box, env: test, row: {name}}}}}]\n",
                row.job_lines
            ));
        }
        fs::write(dir.path().join("scraped.yml"), config).unwrap();
        Self { _targets: targets, dir: Arc::new(dir) }
    }
}

/// Where we differ on purpose: row, metric, and what we have. A page that fails in its middle fails as a whole: all that
/// was there before gets its marker, and what the page brought first is as if it had not been there. Prometheus has a
/// gap without a marker before the place of the mistake, and a marker for a series that never had a sample.
#[rustfmt::skip]
const MEANT: [(&str, &str, &str); 5] = [
    ("limited", "a", "#1=1 #2=stale #3=3 #4=stale"),
    ("limited", "b", "#1=1 #2=stale #3=3 #4=stale"),
    ("limited", "c", "#4=4 #5=4 #6=4 #7=4 #8=4 #9=4"),
    ("malformed_later", "a", "#1=1 #2=stale #3=3 #4=4 #5=4 #6=4 #7=4 #8=4 #9=4"),
    ("malformed_later", "new", ""),
];

#[test]
fn the_log_has_what_an_agent_has() {
    let rows = rows();
    assert!(rows.iter().all(|row| row.script.len() < N_SCRAPES));
    let [ours, theirs] = [(); 2].map(|()| Side::new(&rows));
    let features = ["--enable-feature=extra-scrape-metrics"];
    let scraped = Scraped::start_in(Arc::clone(&ours.dir), &features);
    let agent_data = theirs.dir.path().join("data");
    let agent = Peer::agent_with(&theirs.dir.path().join("scraped.yml"), &agent_data, &features);
    wait_until("both have scraped enough", || {
        let n_scrapes = |data: &Path| {
            let up = query(data, "up");
            if up.len() < rows.len() { 0 } else { up.values().map(Vec::len).min().unwrap_or_default() }
        };
        n_scrapes(&scraped.data_dir()) >= N_SCRAPES && n_scrapes(&agent_data) >= N_SCRAPES
    });
    let data = scraped.data_dir();
    assert_eq!(scraped.stop().code(), Some(0));
    agent.stop();

    let mut differences = Vec::new();
    let mut n_series = 0;
    for row in &rows {
        let mut theirs = placed(&agent_data, row.name);
        for (_, metric, meant) in MEANT.iter().filter(|(name, _, _)| *name == row.name) {
            let labels = labels_of(metric, row.name);
            let before = match meant.is_empty() {
                true => theirs.remove(&labels),
                false => theirs.insert(labels, (*meant).to_owned()),
            };
            assert_ne!(before.unwrap_or_default(), *meant, "{}: {metric} does not differ any more", row.name);
        }
        n_series += theirs.len();
        compare(row.name, &placed(&data, row.name), &theirs, &mut differences);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(n_series > 200, "only {n_series} series were compared");
}

/// How `query` names a series with nothing but the labels of its target.
fn labels_of(metric: &str, row: &str) -> String {
    format!("{{__name__={metric:?},env=\"test\",instance=\"box\",job={row:?},row={row:?}}}")
}

/// Series → its samples as `place=value`: `#3` for the third scrape, a time in milliseconds where the page gave one.
fn placed(data: &Path, row: &str) -> BTreeMap<String, String> {
    let found = query(data, &format!("{{row='{row}'}}"));
    let up = found.get(&labels_of("up", row)).expect("there is always up").clone();
    let place = |ts_ms: i64| match up.iter().position(|(up_ms, _)| *up_ms == ts_ms) {
        Some(scrape) if scrape >= N_SCRAPES => None,
        Some(scrape) => Some(format!("#{}", scrape + 1)),
        None => Some(ts_ms.to_string()),
    };
    let placed = found.into_iter().map(|(labels, samples)| {
        // Its values are nobody's business.
        let is_duration = labels.contains("\"scrape_duration_seconds\"");
        let samples = samples.into_iter().filter_map(|(ts_ms, value)| {
            let value = if is_duration { "some" } else { &value };
            Some(format!("{}={value}", place(ts_ms)?))
        });
        (labels, samples.collect::<Vec<_>>().join(" "))
    });
    placed.collect()
}

fn compare(
    what: &str,
    ours: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
    differences: &mut Vec<String>,
) {
    let all: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for series in all.into_iter().filter(|series| ours.get(*series) != theirs.get(*series)) {
        let of =
            |side: &BTreeMap<String, String>| side.get(series).map_or("nothing", String::as_str).to_owned();
        differences.push(format!("{what}: {series}\n  ours   {}\n  theirs {}", of(ours), of(theirs)));
    }
}

/// Jobs of which some change with the reload, and a target file.
fn changing_config(address: &str, is_later: bool) -> String {
    let job = |name: &str, lines: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: /good\n{lines}  static_configs: [{{targets: ['{address}'], \
             labels: {{instance: box, row: {name}}}}}]\n"
        )
    };
    let (label, limit) = if is_later { ("new", 20) } else { ("old", 10) };
    let relabelled = format!("  relabel_configs: [{{target_label: v, replacement: {label}}}]\n");
    let on_the_way = format!("  metric_relabel_configs: [{{target_label: v, replacement: {label}}}]\n");
    let mut config = "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n".to_owned();
    config.push_str(&job("stays", ""));
    config.push_str(&job("relabelled", &relabelled));
    config.push_str(&job("relabelled_on_the_way", &on_the_way));
    config.push_str(&job("limited", &format!("  sample_limit: {limit}\n")));
    config.push_str(&job(if is_later { "comes" } else { "goes" }, ""));
    config.push_str("- {job_name: files, metrics_path: /good, file_sd_configs: [{files: [targets.yml]}]}\n");
    config
}

/// Values of every series, equal neighbours once: what happened to it, whenever that was.
///
/// `scrape_series_added` is left out where the target changes with its job: an agent first starts the old target anew
/// and then, when it likes, stops it, so that it may or may not count once more. We change both at once.
fn runs(data: &Path) -> BTreeMap<String, String> {
    let runs = query(data, "{row=~'.+',__name__!='scrape_duration_seconds'}").into_iter();
    let is_left_out =
        |labels: &str| labels.contains("\"scrape_series_added\"") && labels.contains("v=\"old\"");
    let runs = runs.filter(|(labels, _)| !is_left_out(labels)).map(|(labels, samples)| {
        let mut values: Vec<String> = samples.into_iter().map(|(_, value)| value).collect();
        values.dedup();
        (labels, values.join(" "))
    });
    runs.collect()
}

#[test]
fn targets_that_go_leave_the_same_marks() {
    let [ours, theirs] = [(); 2].map(|()| {
        let targets = FakeTargets::start();
        targets.set("/good", Behaviour::Healthy(page("good 1\n")));
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
        (targets, dir)
    });
    let write = |is_later: bool| {
        for (targets, dir) in [&ours, &theirs] {
            let address = targets.address();
            write_whole(dir.path(), "scraped.yml", &changing_config(&address, is_later));
            let group =
                |row: &str| format!("- targets: ['{address}']\n  labels: {{instance: {row}, row: {row}}}\n");
            let gone = if is_later { String::new() } else { group("file_goes") };
            write_whole(dir.path(), "targets.yml", &format!("{}{gone}", group("file_stays")));
        }
    };
    write(false);
    let scraped = Scraped::start_in(Arc::clone(&ours.1), &[]);
    let (data, agent_data) = (scraped.data_dir(), theirs.1.path().join("data"));
    let agent = Peer::agent(&theirs.1.path().join("scraped.yml"), &agent_data);
    let both_have = |what: &str, selector: &str, n_samples: usize| {
        wait_until(what, || {
            [&data, &agent_data].into_iter().all(|data| {
                let found = query(data, selector);
                !found.is_empty() && found.values().all(|samples| samples.len() >= n_samples)
            })
        });
    };
    for row in ["goes", "relabelled", "relabelled_on_the_way", "limited", "stays", "file_goes", "file_stays"]
    {
        both_have(row, &format!("good{{row='{row}'}}"), 3);
    }
    write(true);
    scraped.signal("HUP");
    assert_eq!(agent.request("POST", "/-/reload").0, 200);
    both_have("the new job", "good{row='comes'}", 3);
    both_have("the new label", "good{v='new'}", 3);
    for row in ["relabelled", "file_goes"] {
        wait_until("the last marker", || {
            [&data, &agent_data].into_iter().all(|data| {
                let gone = query(data, &format!("scrape_series_added{{row='{row}',v!='new'}}"));
                gone.values().all(|samples| samples.last().is_some_and(|(_, value)| value == "stale"))
            })
        });
    }
    assert_eq!(scraped.stop().code(), Some(0));
    // Killed: one that stops may count a scrape that is under way as failed.
    drop(agent);
    let mut differences = Vec::new();
    compare("runs", &runs(&data), &runs(&agent_data), &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(runs(&data).len() > 30);
}
