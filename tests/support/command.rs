//! The binary's commands that come to an end by themselves: run, timed, their output taken apart.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::scraped::flush;

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr, but for lines that say how far a long command has come: on a busy machine any takes long.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

/// Labels as `{a="1",b="2"}`, `__name__` among them → milliseconds and value, in the order of time.
pub type Samples = BTreeMap<String, Vec<(i64, String)>>;

/// Runs `scraped` with these arguments.
pub fn scraped(arguments: &[&str]) -> Finished {
    finish(Command::new(crate::program()).args(arguments))
}

/// Runs a command to its end, which has to come within [`PATIENCE`].
pub fn finish(command: &mut Command) -> Finished {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let stderr = stderr.join().expect("no panic");
            panic!("{command:?} has not ended after {PATIENCE:?}; stderr: {stderr}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let took = start.elapsed();
    let text = |pipe: thread::JoinHandle<String>| pipe.join().expect("no panic");
    let stderr: String = text(stderr).split_inclusive('\n').filter(|line| !is_progress(line)).collect();
    Finished { code, stdout: text(stdout), stderr, took }
}

/// `reading the log: 2027245 of 3104189 (65 %)`.
fn is_progress(line: &str) -> bool {
    let figures =
        line.trim_end().strip_suffix(" %)").and_then(|line| line.rsplit_once(": ")).map(|(_, it)| it);
    let is_figure = |word: &str| word.trim_start_matches('(').parse::<u64>().is_ok() || word == "of";
    figures.is_some_and(|figures| figures.split(' ').all(is_figure))
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    let thread = thread::Builder::new().name("pipe".to_owned());
    let read = move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    thread.spawn(read).expect("a thread")
}

/// What `scraped query` finds in a data directory, with what a daemon there has in memory and not sent.
pub fn query(data_dir: &Path, selector: &str) -> Samples {
    flush(data_dir);
    let path = format!("--storage.agent.path={}", data_dir.display());
    let finished = scraped(&["query", selector, &path, "--format=json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // On a busy machine it takes more than a second, and then says how far it is.
    let complaints: Vec<&str> =
        finished.stderr.lines().filter(|line| !line.starts_with("reading the log: ")).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "a query has nothing to complain about");
    matrix(&finished.stdout)
}

/// Reads a range vector in Prometheus' JSON.
pub fn matrix(text: &str) -> Samples {
    let answer: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(answer["status"], "success", "{text}");
    assert_eq!(answer["data"]["resultType"], "matrix", "{text}");
    let mut samples = Samples::new();
    for series in answer["data"]["result"].as_array().expect("an array") {
        let labels = series["metric"].as_object().expect("an object");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let values = series["values"].as_array().expect("an array").iter().map(|sample| {
            let seconds = sample[0].as_f64().expect("a number");
            ((seconds * 1000.0).round() as i64, sample[1].as_str().expect("a string").to_owned())
        });
        let before = samples.insert(format!("{{{}}}", labels.join(",")), values.collect());
        assert!(before.is_none(), "a label set twice: {labels:?}");
    }
    samples
}

/// Only the values of the one series that `selector` finds.
pub fn values(data_dir: &Path, selector: &str) -> Vec<String> {
    let mut found = query(data_dir, selector).into_values();
    let samples = found.next().unwrap_or_default();
    assert!(found.next().is_none(), "{selector} finds more than one series");
    samples.into_iter().map(|(_, value)| value).collect()
}
