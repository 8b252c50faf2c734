use super::line::{Line, LogFormat, Style, rfc3339_ms};
use super::repeats::{Passed, Repeats};
use super::sink::Sink;
use super::*;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

fn line(message: &str) -> Line {
    Line { level: Level::Warn, source: "wal".to_owned(), message: message.to_owned() }
}

#[test]
fn a_line_in_each_format() {
    let now = UNIX_EPOCH;
    let text = |format, is_timed| line("lost 3 \"samples\"\n").text(Style { format, is_timed }, now);
    let rest = "level=WARN source=wal msg=\"lost 3 \\\"samples\\\"\\n\"\n";
    assert_eq!(text(LogFormat::Logfmt, false), rest);
    assert_eq!(text(LogFormat::Logfmt, true), format!("time=1970-01-01T00:00:00.000Z {rest}"));
    let json: serde_json::Value = serde_json::from_str(&text(LogFormat::Json, true)).unwrap();
    assert_eq!(json["msg"], "lost 3 \"samples\"\n");
    assert_eq!((&json["level"], &json["source"]), (&"WARN".into(), &"wal".into()));
    assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
    let json: serde_json::Value = serde_json::from_str(&text(LogFormat::Json, false)).unwrap();
    assert_eq!(json.get("time"), None);
}

#[test]
fn a_line_that_repeats_for_an_hour_is_written_a_handful_of_times_and_counted() {
    let (mut repeats, start) = (Repeats::default(), Instant::now());
    assert_eq!(repeats.pass(&line("a"), start), Passed::New { given_way: None });
    assert_eq!(repeats.pass(&line("b"), start), Passed::New { given_way: None });
    let (mut n_lines, mut n_counted) = (1, 0);
    for scrape in 1..=720 {
        match repeats.pass(&line("a"), start + Duration::from_secs(5 * scrape)) {
            Passed::Again { n_repeated } => {
                n_lines += 1;
                n_counted += n_repeated;
            }
            Passed::HeldBack => {}
            new @ Passed::New { .. } => panic!("{new:?}"),
        }
    }
    assert_eq!(n_lines, 6);
    // What was not written is written once it does not come any more.
    let end = start + Duration::from_secs(3600);
    assert_eq!(repeats.ended(end), []);
    let left = repeats.ended(end + Duration::from_secs(601));
    assert_eq!(left, [line("a").repeated(721 - n_lines - n_counted)]);
    assert!(left[0].message.starts_with("a (repeated ") && left[0].message.ends_with(" times)"), "{left:?}");
    assert_eq!(repeats.pass(&line("a"), end + Duration::from_secs(700)), Passed::New { given_way: None });
}

#[test]
fn what_gives_way_says_how_often_it_came() {
    let (mut repeats, now) = (Repeats::default(), Instant::now());
    repeats.pass(&line("first"), now);
    assert_eq!(repeats.pass(&line("first"), now), Passed::HeldBack);
    let given_way: Vec<Line> = (0..64)
        .filter_map(|idx| match repeats.pass(&line(&idx.to_string()), now + Duration::from_secs(1)) {
            Passed::New { given_way } => given_way,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(given_way, [line("first (repeated once)")]);
}

#[test]
fn a_file_and_the_one_before_it_stay_below_their_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scraped.log");
    let mut sink = Sink::open(&LogOutput::File { path: path.clone(), max_bytes: 1000 }).unwrap();
    for idx in 0..100 {
        sink.write(Level::Info, &format!("line number {idx:04} of a long story\n"));
    }
    let bytes = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    let (newest, before) = (bytes("scraped.log"), bytes("scraped.log.1"));
    assert!(newest + before <= 1000 && newest + before > 500, "{newest} and {before}");
    assert!(fs::read_to_string(&path).unwrap().ends_with("line number 0099 of a long story\n"));
    // It goes on where it was.
    let mut sink = Sink::open(&LogOutput::File { path: path.clone(), max_bytes: 1000 }).unwrap();
    sink.write(Level::Info, "after a restart\n");
    assert!(fs::read_to_string(&path).unwrap().contains("0099 of a long story\nafter a restart\n"));
    assert!(Sink::open(&LogOutput::File { path: dir.path().join("no/file"), max_bytes: 1000 }).is_err());
}

#[test]
fn dates() {
    let at = |seconds| rfc3339_ms(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59.000Z");
}
