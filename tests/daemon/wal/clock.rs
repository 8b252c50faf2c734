//! A box without a clock battery boots in 1970: its samples wait until somebody knows the time, and arrive with theirs.

use std::fs;
use std::sync::Arc;

use scraped::calendar::civil_from_days;
use support::api::metric;
use support::remote::config;
use support::remote::receiver::{Answer, Receiver, Request};
use support::scraped::Scraped;
use support::system::shifted_clock::{ShiftedClock, real_ms};
use support::tls::endpoint::{Endpoint, reply};
use support::wait_until;
use tempfile::TempDir;

/// By so much the time of a sample may be wrong.
const MOST_WRONG_MS: i64 = 1000;

/// A box, a target whose page says what time it is, and an endpoint.
struct Fixture {
    clock: ShiftedClock,
    receiver: Receiver,
    target: Endpoint,
    dir: Arc<TempDir>,
}

impl Fixture {
    /// The target's answers have a `Date` if `has_date` says so.
    fn new(has_date: bool) -> Self {
        let clock = ShiftedClock::new();
        let receiver = Receiver::start();
        let target = Endpoint::plain(move |_| {
            let date =
                if has_date { format!("Date: {}\r\n", http_date(real_ms() / 1000)) } else { String::new() };
            let head = format!("Content-Type: text/plain\r\n{date}");
            reply(200, &head, &format!("real_time_ms {}\n", real_ms()))
        });
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
        let text = config(&target.at("127.0.0.1"), "/metrics", &receiver.url(), "name: main", "");
        fs::write(dir.path().join("scraped.yml"), text.replace("500ms", "100ms")).unwrap();
        Self { clock, receiver, target, dir }
    }

    fn start(&self, arguments: &[&str]) -> Scraped {
        let environment = self.clock.environment();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let arguments = [&["--storage.agent.memory-first=auto"], arguments].concat();
        Scraped::spawn_through(self.clock.command(), Arc::clone(&self.dir), &arguments, &environment).ready()
    }

    fn await_scrapes(&self, n: usize) {
        let before = self.target.requests().len();
        wait_until("scrapes", || self.target.requests().len() >= before + n);
    }

    /// When each sample was scraped, and the time that it has.
    fn arrived(&self) -> Vec<(i64, i64)> {
        let samples = self.receiver.samples("real_time_ms", "");
        samples
            .into_iter()
            .filter(|it| it.1.is_finite())
            .map(|(ts_ms, value)| (value as i64, ts_ms))
            .collect()
    }

    fn await_arrivals(&self, n: usize) {
        let before = self.arrived().len();
        wait_until("samples arrive", || self.arrived().len() >= before + n);
    }
}

/// As a server writes it; nobody reads the day of the week.
fn http_date(unix_s: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = civil_from_days(unix_s / 86_400);
    let (hour, minute, second) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("Mon, {day:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", MONTHS[month as usize - 1])
}

fn believed(scraped: &Scraped, source: &str) -> bool {
    metric(scraped, &format!("scraped_clock_believed{{source=\"{source}\"}}")) == Some(1.0)
}

#[test]
fn what_was_scraped_in_1970_arrives_with_its_time_also_after_kills_and_boots() {
    let mut fixture = Fixture::new(false);
    // The oldest is on the disk by the time of the kill, and goes on waiting.
    let scraped = fixture.start(&["--storage.agent.flush-after=500ms"]);
    fixture.await_scrapes(10);
    assert!(believed(&scraped, "none"), "{}", scraped.get("/metrics").body);
    assert!(scraped.get("/").body.contains("not believed, samples wait for their time"));
    assert!(scraped.get("/storage").body.contains("Waiting for the clock"));
    wait_until("a side file", || fs::read_dir(fixture.dir.path().join("data/unstamped")).is_ok());
    fixture.await_scrapes(10);
    drop(scraped);
    // The same boot; and then another.
    let scraped = fixture.start(&[]);
    fixture.await_scrapes(10);
    assert!(scraped.stop().success());
    let n_first_boot = fixture.target.requests().len();
    let rebooted_ms = real_ms();
    fixture.clock.boot("second");
    let scraped = fixture.start(&[]);
    fixture.await_scrapes(10);
    assert!(fixture.receiver.samples("up", "").is_empty(), "nothing is sent without a time");
    wait_until("the metric", || metric(&scraped, "scraped_unstamped_samples").is_some_and(|n| n > 0.0));
    fixture.clock.set_right();
    fixture.await_arrivals(30);
    assert!(believed(&scraped, "system"));
    assert_eq!(metric(&scraped, "scraped_unstamped_samples"), Some(0.0));
    let arrived = fixture.arrived();
    // Of the first boot is known that it was over when the second began.
    let before = arrived.iter().filter(|(real_ms, _)| *real_ms < rebooted_ms);
    let last_ms = before.clone().map(|it| it.0).max().unwrap();
    for (real_ms, ts_ms) in &arrived {
        let least_known_ms = if *real_ms < rebooted_ms { rebooted_ms - last_ms } else { 0 };
        let wrong_ms = ts_ms - real_ms;
        let most_ms = MOST_WRONG_MS + least_known_ms;
        assert!((-MOST_WRONG_MS..=most_ms).contains(&wrong_ms), "{wrong_ms} ms; {arrived:?}");
    }
    assert!(arrived.is_sorted(), "{arrived:?}");
    // What was in memory alone at the kill is lost, and a scrape that was under way at each end.
    let n_before = before.count();
    assert!(n_before + 17 >= n_first_boot, "{n_before} of {n_first_boot}: {arrived:?}");
    assert!(scraped.stop().success());
    assert!(fs::read_dir(fixture.dir.path().join("data/unstamped")).unwrap().next().is_none());
}

#[test]
fn the_date_of_a_target_is_taken_where_the_owner_says_so() {
    let fixture = Fixture::new(true);
    let scraped = fixture.start(&["--clock.from=endpoint"]);
    fixture.await_arrivals(10);
    assert!(believed(&scraped, "server"), "{}", scraped.get("/metrics").body);
    fixture.clock.set_right();
    wait_until("the system's clock is believed", || believed(&scraped, "system"));
    fixture.await_arrivals(5);
    for (real_ms, ts_ms) in fixture.arrived() {
        assert!((ts_ms - real_ms).abs() <= MOST_WRONG_MS, "{ts_ms} instead of {real_ms}");
    }
    assert!(scraped.stop().success());
}

#[test]
fn an_endpoint_is_asked_for_the_time_where_the_owner_says_so() {
    let fixture = Fixture::new(false);
    // It wants nothing without samples, and says when it said so.
    fixture.receiver.script(|request| match request.message.series.is_empty() {
        true => {
            Answer::Refuses(400, vec![format!("Date: {}", http_date(real_ms() / 1000))], "empty\n".to_owned())
        }
        false => Answer::Stores(204),
    });
    let scraped = fixture.start(&["--clock.from=endpoint"]);
    fixture.await_arrivals(10);
    assert!(believed(&scraped, "server"), "{}", scraped.get("/metrics").body);
    for (real_ms, ts_ms) in fixture.arrived() {
        assert!((ts_ms - real_ms).abs() <= MOST_WRONG_MS, "{ts_ms} instead of {real_ms}");
    }
    let is_question =
        |request: &&Request| request.message.series.is_empty() && request.message.metadata.is_empty();
    assert_eq!(fixture.receiver.requests().iter().filter(is_question).count(), 1);
    assert!(scraped.stop().success());
}

#[test]
fn without_a_clock_samples_wait_no_longer_than_they_may() {
    let fixture = Fixture::new(true);
    let scraped = fixture.start(&["--clock.wait=2s"]);
    fixture.await_arrivals(25);
    assert!(believed(&scraped, "unproven"));
    assert!(scraped.stderr().contains("no believable clock came within"), "{}", scraped.stderr());
    let newest_ms = fixture.arrived().last().unwrap().1;
    assert!(newest_ms < 3_600_000, "{newest_ms}: it is 1970");
}
