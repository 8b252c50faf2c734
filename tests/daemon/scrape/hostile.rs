//! Targets that misbehave, beside one that does not: what is told of each, what stays in the log, who is disturbed.
//!
//! Every target is good first, then as its row says, then good again.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use support::api::{active, metric_sum};
use support::command::{query, values};
use support::counts::assert_accounted;
use support::remote::on_disk_of;
use support::scraped::{Scraped, without_own_script};
use support::targets::{Behaviour, FakeTargets, packed_page, page};
use support::wait_until;

/// The good target is scraped every second; a busy machine may skip some slots, but no one waits for a monster's 30 s.
const LONGEST_PAUSE_MS: i64 = 20_000;

/// Most files that the process has open beside its connections to targets: standard streams, signals, segments, web.
const OWN_FILES: usize = 40;

/// One way to misbehave and what has to be told about it: `URL` is the target's, `…` is anything.
struct Row {
    name: &'static str,
    behaviour: Behaviour,
    job_lines: &'static str,
    error: &'static str,
}

fn row(name: &'static str, behaviour: Behaviour, job_lines: &'static str, error: &'static str) -> Row {
    Row { name, behaviour, job_lines, error }
}

/// A line that must not come to life on a page of ours that shows it.
const SCRIPT: &str = "bad{x=\"<script>alert('/targets')</script>\" 2";

/// A page that is good up to its second line.
fn broken(line: &str) -> Arc<[u8]> {
    page(&format!("half_written 1\n{line}\nhalf_written_too 1\n"))
}

fn good(n_series: usize) -> Arc<[u8]> {
    let lines: Vec<String> = (0..n_series).map(|idx| format!("half_written{{idx=\"{idx}\"}} 1\n")).collect();
    page(&lines.concat())
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let ms = Duration::from_millis;
    let packed = packed_page(&"half_written 1\n".repeat(3));
    let cut: Arc<[u8]> = packed[..packed.len() - 4].into();
    let mut junk = packed.to_vec();
    junk.extend_from_slice(b"no second stream");
    let sized = "  body_size_limit: 1KB\n";
    vec![
        row("labels", Behaviour::Healthy(broken("bad{x=\"1\" 2")), "",
            "expected label name, got \"2\" (\"INVALID\") while parsing: \"bad{x=\\\"1\\\" 2\" (line 2, column …)"),
        row("value", Behaviour::Healthy(broken("bad foo")), "",
            "strconv.ParseFloat: parsing \"foo\": invalid syntax while parsing: \"bad foo\" (line 2, column 5)"),
        row("binary", Behaviour::Healthy(Arc::from(&b"half_written 1\n\xff\xfe\x01\x02\n"[..])), "",
            "expected a valid start token, got … (line 2, column 1)"),
        row("script", Behaviour::Healthy(broken(SCRIPT)), "", "expected label name, got … (line 2, column …)"),
        row("chunked", Behaviour::Chunked(broken("bad{"), 7), "", "expected label name, got … (line 2, column …)"),
        row("oversized", Behaviour::Healthy(good(100)), sized, "body size limit exceeded (body_size_limit: 1024B)"),
        row("until_closed", Behaviour::UntilClosed(good(100)), sized,
            "body size limit exceeded (body_size_limit: 1024B)"),
        row("unpacked", Behaviour::Gzip(packed_page(&"half_written 1\n".repeat(100))), sized,
            "body size limit exceeded (body_size_limit: 1024B)"),
        row("endless", Behaviour::Endless, "  body_size_limit: 1MB\n",
            "body size limit exceeded (body_size_limit: 1048576B)"),
        row("samples", Behaviour::Healthy(good(11)), "  sample_limit: 10\n",
            "sample limit exceeded (samples: 11, sample_limit: 10)"),
        row("hung", Behaviour::Hangs, "", "Get \"URL\": context deadline exceeded (while …)"),
        row("slow_head", Behaviour::DribblesHead(ms(50)), "", "Get \"URL\": context deadline exceeded (while …)"),
        row("slow_body", Behaviour::Dribbles(good(100), ms(50)), "", "context deadline exceeded (while …)"),
        row("resets", Behaviour::Resets, "", "Get \"URL\": … connection reset by peer"),
        row("closes", Behaviour::Closes, "", "Get \"URL\": EOF"),
        row("cut", Behaviour::CutsBody(good(100), 100), "", "unexpected EOF"),
        row("resets_in_body", Behaviour::ResetsInBody(good(100), 100), "", "… connection reset by peer"),
        row("not_gzip", Behaviour::BadGzip, "", "gzip: invalid header"),
        row("cut_gzip", Behaviour::Gzip(cut), "", "… unexpected EOF"),
        row("junk_gzip", Behaviour::Gzip(junk.into()), "", "gzip: invalid header"),
        row("upper_gzip", Behaviour::ContentEncoding(packed, "GZIP".to_owned()), "",
            "expected a valid start token, got … (line 1, column 1)"),
        row("html", Behaviour::ContentType(good(1), "text/html; charset=utf-8".to_owned()), "",
            "received unsupported Content-Type \"text/html; charset=utf-8\" and no fallback_scrape_protocol …"),
        row("no_type", Behaviour::NoContentType(good(1)), "",
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol …"),
        row("bad_type", Behaviour::ContentType(good(1), ";;;".to_owned()), "",
            "cannot parse Content-Type \";;;\" and no fallback_scrape_protocol for target…"),
        row("unavailable", Behaviour::Status(503), "", "server returned HTTP status 503 …"),
        row("not_found", Behaviour::Status(404), "", "server returned HTTP status 404 …"),
        row("no_content", Behaviour::Status(204), "", "server returned HTTP status 204 …"),
        row("circle", Behaviour::Redirects(302, "/circle".to_owned()), "", "Get \"…\": stopped after 10 redirects"),
        row("huge_head", Behaviour::HugeHead(16 << 20), "", "Get \"URL\": …"),
        row("ssh", Behaviour::Raw(page("SSH-2.0-OpenSSH_9.2\r\n")), "", "Get \"URL\": …"),
        row("nothing", Behaviour::Raw(page("")), "", "Get \"URL\": EOF"),
    ]
}

/// Whether `text` is `pattern`, in which `…` is anything.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut ended_open = false;
    for part in parts {
        ended_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    ended_open || rest.is_empty()
}

/// Health and error of the one target of a job; `unknown` before there is one.
fn state(scraped: &Scraped, job: &str) -> (String, String) {
    let target = active(scraped, job).into_iter().next();
    target.map_or(("unknown".to_owned(), String::new()), |target| (target.health, target.last_error))
}

fn health(scraped: &Scraped, job: &str) -> String {
    state(scraped, job).0
}

#[test]
fn each_is_told_and_nobody_else_notices() {
    let targets = FakeTargets::start();
    let address = targets.address();
    let rows = rows();
    targets.set("/good", Behaviour::Counter);
    let mut config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n\
         - {{job_name: good, metrics_path: /good, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    for row in &rows {
        let name = row.name;
        targets.set(&format!("/{name}"), Behaviour::Healthy(page("early 1\n")));
        config.push_str(&format!(
            "- job_name: {name}\n  metrics_path: /{name}\n{}  static_configs: [{{targets: ['{address}']}}]\n",
            row.job_lines
        ));
    }
    let scraped = Scraped::start(&config);
    let n_requests = |row: &Row| targets.n_requests(&format!("/{}", row.name));
    wait_until("all are scraped and good", || rows.iter().all(|row| health(&scraped, row.name) == "up"));

    for row in &rows {
        targets.set(&format!("/{}", row.name), row.behaviour.clone());
    }
    for row in &rows {
        wait_until(&format!("{} is down", row.name), || health(&scraped, row.name) == "down");
    }
    // The second failure is told as the first one.
    let before: Vec<usize> = rows.iter().map(n_requests).collect();
    wait_until("all fail again", || {
        rows.iter().zip(&before).all(|(row, before)| n_requests(row) > before + 1)
    });
    let mut mistakes = Vec::new();
    for row in &rows {
        let (health, told) = state(&scraped, row.name);
        let expected = row.error.replace("URL", &format!("http://{address}/{}", row.name));
        if health != "down" || !fits(&told, &expected) {
            mistakes.push(format!("{}: {health}\n  told   {told}\n  wanted {expected}", row.name));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    let shown = scraped.get("/targets").body;
    assert!(shown.contains("body_size_limit: 1024B") && shown.contains("&lt;script&gt;"), "{shown}");
    assert!(!without_own_script(&shown).to_lowercase().contains("<script"), "{shown}");

    let data = scraped.data_dir();
    let own = ["early", "up", "scrape_duration_seconds", "scrape_samples_scraped"];
    let own_too = ["scrape_samples_post_metric_relabeling", "scrape_series_added"];
    let own: BTreeSet<String> = own.iter().chain(&own_too).map(|name| format!("__name__={name:?}")).collect();
    for row in &rows {
        let name = row.name;
        let found: BTreeSet<String> = query(&data, &format!("{{job='{name}'}}"))
            .keys()
            .map(|labels| labels.trim_matches(['{', '}']).split(',').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(found, own, "{name}: nothing of the bad pages is in the log");
        check_gap(&values(&data, &format!("early{{job='{name}'}}")), &["1", "stale"], name);
        check_gap(&values(&data, &format!("up{{job='{name}'}}")), &["1", "0"], name);
    }

    for row in &rows {
        targets.set(&format!("/{}", row.name), Behaviour::Healthy(page("early 1\n")));
    }
    wait_until("all are good again", || {
        rows.iter().all(|row| state(&scraped, row.name) == ("up".to_owned(), String::new()))
    });
    for row in &rows {
        check_gap(&values(&data, &format!("early{{job='{}'}}", row.name)), &["1", "stale", "1"], row.name);
        check_gap(&values(&data, &format!("up{{job='{}'}}", row.name)), &["1", "0", "1"], row.name);
    }
    check_good(&scraped, &targets);
    // A connection each, and what the process needs itself: nothing was left behind by what went wrong.
    let n_files = fs::read_dir(format!("/proc/{}/fd", scraped.id())).unwrap().count();
    assert!(n_files < rows.len() + OWN_FILES, "{n_files} open files for {} targets", rows.len());
    assert_eq!(scraped.stop().code(), Some(0));
}

/// The runs of equal values have to be these, and only one marker has to stand in the place of a series. A good page may
/// have come too late on a busy machine: then the same runs are there more than once.
fn check_gap(values: &[String], expected: &[&str], name: &str) {
    assert!(values.windows(2).all(|pair| pair[0] != "stale" || pair[1] != "stale"), "{name}: {values:?}");
    let mut runs: Vec<&str> = values.iter().map(String::as_str).collect();
    runs.dedup();
    assert!(runs.len() >= expected.len(), "{name}: {values:?}");
    assert!(
        runs.iter().zip(expected.iter().cycle().take(2).cycle()).all(|(run, good)| run == good),
        "{name}: {values:?}"
    );
    assert_eq!(runs.last(), expected.last(), "{name}: {values:?}");
}

/// The good target was scraped all the time: no scrape was lost; and no thread died of it all.
fn check_good(scraped: &Scraped, targets: &FakeTargets) {
    let data = scraped.data_dir();
    let n_requests = targets.n_requests("/good");
    let counted = assert_accounted(&on_disk_of(&data, "{job='good'}"), "");
    assert!(
        counted.n_scrapes() + 1 >= n_requests,
        "what was asked for was stored: {counted:?} of {n_requests}"
    );
    let times: Vec<i64> =
        query(&data, "up{job='good'}").into_values().flatten().map(|(ts_ms, _)| ts_ms).collect();
    let longest_ms = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    assert!(
        longest_ms < LONGEST_PAUSE_MS,
        "{longest_ms} ms between two scrapes of the good target: {times:?}"
    );
    assert_eq!(health(scraped, "good"), "up");
    assert_eq!(metric_sum(scraped, "scraped_panics_total"), 0.0);
    assert!(!scraped.stderr().contains("BUG:"), "{}", scraped.stderr());
}

/// Most that the process may ever have had resident. Counted: 64 MiB of bodies in flight (`--scrape.body-budget`), the
/// series of the large page with its cache at some 150 bytes each, one commit of it (per sample a staged entry and its
/// encoded form, per new series its labels as text, encoded and compressed), 10 MiB of unoptimised program. That is
/// less than 200 MiB; the rest is slack for an allocator that need not give back at once.
const MAX_RESIDENT_MIB: u64 = 400;
/// Enough that a page of them is far beyond any ordinary one, few enough for an unoptimised parser.
const N_LARGE_PAGE: usize = 300_000;
/// What one body may have by default.
const CAP: &str = "body size limit exceeded (limit: 67108864B, the smaller of --scrape.max-body-bytes and --scrape.body-budget)";
/// What it is told when others have some of that.
const SHARED: &str =
    "no memory for the body (needed: …B, --scrape.body-budget of all bodies in flight: 67108864B)";

fn monsters() -> [(&'static str, Behaviour); 4] {
    [
        ("bomb", Behaviour::GzipBomb(1 << 30)),
        ("long_line", Behaviour::LongLine(200 << 20)),
        ("endless", Behaviour::Endless),
        ("huge", Behaviour::Huge(1 << 30)),
    ]
}

/// A job without limits of its own and with time for a monster.
fn monster_job(name: &str, address: &str, interval: &str) -> String {
    format!(
        "- {{job_name: {name}, metrics_path: /{name}, scrape_interval: {interval}, scrape_timeout: {interval}, \
         static_configs: [{{targets: ['{address}']}}]}}\n"
    )
}

#[test]
fn a_monster_is_told_the_limit_it_broke() {
    let targets = FakeTargets::start();
    let address = targets.address();
    targets.set("/good", Behaviour::Counter);
    let jobs = [monster_job("good", &address, "1s"), monster_job("monster", &address, "3s")];
    targets.set("/monster", Behaviour::Healthy(page("early 1\n")));
    let scraped = Scraped::start(&format!("scrape_configs:\n{}", jobs.concat()));
    for (name, behaviour) in monsters() {
        let good = Behaviour::Healthy(page("early 1\n"));
        targets.set("/monster", good);
        wait_until("it is good", || health(&scraped, "monster") == "up");
        targets.set("/monster", behaviour);
        // On a busy machine it may run out of time first.
        wait_until(&format!("{name} is refused"), || state(&scraped, "monster").1 == CAP);
    }
    let found = query(&scraped.data_dir(), "{job='monster',__name__!~'up|scrape_.*'}");
    assert_eq!(found.len(), 1, "only the good page is in the log: {found:?}");
    check_peak(&scraped);
    check_good(&scraped, &targets);
}

#[test]
fn monsters_together_stay_within_the_memory_budget() {
    let targets = FakeTargets::start();
    let address = targets.address();
    targets.set("/good", Behaviour::Counter);
    let large: Vec<String> =
        (0..N_LARGE_PAGE).map(|idx| format!("large_total{{series=\"{idx:09}\"}} {idx}\n")).collect();
    targets.set("/large", Behaviour::Healthy(page(&large.concat())));
    let mut config = format!(
        "scrape_configs:\n{}{}",
        monster_job("good", &address, "1s"),
        monster_job("large", &address, "30s")
    );
    for (name, behaviour) in monsters() {
        targets.set(&format!("/{name}"), behaviour);
        config.push_str(&monster_job(name, &address, "30s"));
    }
    let scraped = Scraped::start(&config);
    for (name, _) in monsters() {
        // On a busy machine its time may be over first, and then the next scrape says it.
        wait_until(&format!("{name} is refused for its size"), || {
            let (health, told) = state(&scraped, name);
            assert!(
                health != "up"
                    && (told.contains("deadline") || told.is_empty() || told == CAP || fits(&told, SHARED)),
                "{name}: {told}"
            );
            told == CAP || fits(&told, SHARED)
        });
    }
    wait_until("the large page is stored", || health(&scraped, "large") == "up");
    let data = scraped.data_dir();
    // On a busy machine its time may be over first.
    assert!(values(&data, "scrape_samples_scraped{job='large'}").contains(&N_LARGE_PAGE.to_string()));
    assert!(values(&data, "large_total{series='000000007'}").contains(&"7".to_owned()));
    check_peak(&scraped);
    check_good(&scraped, &targets);
    assert_eq!(scraped.stop().code(), Some(0));
}

/// Looks at `VmHWM` of the process.
fn check_peak(scraped: &Scraped) {
    let status = fs::read_to_string(format!("/proc/{}/status", scraped.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("every kernel has it");
    let peak_mib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10;
    assert!(
        peak_mib < MAX_RESIDENT_MIB,
        "{peak_mib} MiB resident at the peak, limit: {MAX_RESIDENT_MIB} MiB"
    );
}
