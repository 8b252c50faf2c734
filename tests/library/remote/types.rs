//! Native histograms and exemplars from the log to an endpoint: what arrives by 1.0 and 2.0, what is left out and how
//! that is counted. The log is written here, without a scrape.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use scraped::clock::Clock;
use scraped::config;
use scraped::config::Config;
use scraped::remote::manager::{Handle, ManagerOptions};
use scraped::remote::metrics::{EndpointMetrics, RemoteMetrics};
use scraped::remote::read::claims::Claims;
use scraped::remote::settle::ledger::{DropReason, Kind, Ledger};
use scraped_engine::families::MetadataStore;
use scraped_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Counts, Histogram, Span};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::metric_type::MetricType;
use scraped_engine::series::SeriesHandle;
use scraped_engine::wal::appender::Appender;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::write::staged::ExemplarTime;
use support::remote::receiver::{Answer, Receiver, Request};
use support::wait_until;
use support::wal::{open_with, unlocked};
use tempfile::TempDir;

const V2: &str = "protobuf_message: io.prometheus.write.v2.Request\n";
const ALL_OF_V1: &str = "send_exemplars: true\nsend_native_histograms: true\n";

/// A time that is not too old for anybody.
const START_MS: i64 = 1_700_000_000_000;

/// A log, an endpoint, and what sends from one to the other.
struct Fixture {
    wal: Wal,
    receiver: Receiver,
    config: Arc<Config>,
    families: Arc<MetadataStore>,
    metrics: Arc<RemoteMetrics>,
    sender: Option<Handle>,
    _dir: TempDir,
}

impl Fixture {
    fn start(section: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let file = dir.path().join("scraped.yml");
        let section: String = section.lines().map(|line| format!("  {line}\n")).collect();
        let queue = "queue_config: {batch_send_deadline: 50ms, min_backoff: 10ms, max_backoff: 50ms}";
        fs::write(&file, format!("remote_write:\n- url: {}\n  {queue}\n{section}", receiver.url())).unwrap();
        let config = Arc::new(config::load(&file).unwrap());
        let (wal, _) = open_with(unlocked(&dir.path().join("data")));
        let families = Arc::default();
        let metrics = Arc::default();
        let mut fixture = Self { wal, receiver, config, families, metrics, sender: None, _dir: dir };
        fixture.start_sending();
        fixture
    }

    fn start_sending(&mut self) {
        let options = ManagerOptions {
            log: self.wal.reader(),
            clock: Clock::system(),
            config: Arc::clone(&self.config),
            claims: Claims::make(&self.wal.reader(), &self.config, false).unwrap().0,
            flush_deadline: Duration::from_millis(200),
            memory_bytes: None,
            families: Arc::clone(&self.families),
            metrics: Arc::clone(&self.metrics),
        };
        self.sender = Some(Handle::spawn(options).unwrap());
    }

    fn stop_sending(&mut self) {
        self.sender.take().unwrap().stop();
    }

    /// Commits what `stage` stages of the series of these names.
    fn commit(&self, names: &[&str], stage: impl FnOnce(&mut Appender, &[SeriesHandle])) {
        let mut appender = self.wal.appender();
        let mut labels = LabelsBuilder::new();
        let handles: Vec<SeriesHandle> = names
            .iter()
            .map(|name| {
                labels.clear();
                labels.set("__name__", name);
                appender.series(&labels).unwrap().handle
            })
            .collect();
        stage(&mut appender, &handles);
        appender.commit().unwrap();
    }

    fn endpoint(&self) -> Arc<EndpointMetrics> {
        self.metrics.endpoints().remove(0)
    }

    /// Waits until nothing is pending and the ledger holds so many samples.
    fn await_taken(&self, n: u64) -> Ledger {
        wait_until("all samples settled", || {
            let ledger = *self.endpoint().ledger.lock();
            let pending: f64 = self.endpoint().kinds.iter().map(|kind| kind.pending.get()).sum();
            ledger.taken >= n && pending == 0.0
        });
        *self.endpoint().ledger.lock()
    }

    fn histograms(&self, name: &str) -> Vec<i64> {
        let key = key(name);
        let state = self.receiver.state();
        state.histograms.get(&key).map(|all| all.iter().map(|it| it.0).collect()).unwrap_or_default()
    }

    fn exemplars(&self, name: &str) -> Vec<(i64, f64)> {
        let state = self.receiver.state();
        let all = state.exemplars.get(&key(name)).cloned().unwrap_or_default();
        all.iter().map(|it| (it.ts_ms, f64::from_bits(it.value))).collect()
    }

    /// Sent, failed and dropped for each reason.
    fn counted(&self, kind: Kind) -> (u64, u64, [u64; DropReason::ALL.len()]) {
        let endpoint = self.endpoint();
        let metrics = endpoint.kind(kind);
        (metrics.sent.get(), metrics.failed.get(), metrics.dropped.each_ref().map(|it| it.get()))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.stop();
        }
    }
}

fn key(name: &str) -> String {
    format!("{{__name__={name:?}}}")
}

fn dropped(reason: DropReason, n: u64) -> [u64; DropReason::ALL.len()] {
    let mut all = [0; DropReason::ALL.len()];
    all[reason as usize] = n;
    all
}

/// Both flavours, exponential and custom buckets, in this order.
fn histograms() -> [Histogram; 4] {
    let spans = vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }];
    let integer = Histogram {
        counter_reset_hint: CounterResetHint::NotCounterReset,
        schema: 3,
        zero_threshold: 2.938735877055719e-39,
        sum: 18.4,
        counts: Counts::Integer {
            count: 9,
            zero_count: 2,
            positive_deltas: vec![1, 1, -1],
            negative_deltas: vec![1, 0, 1],
        },
        positive_spans: spans.clone(),
        negative_spans: spans.clone(),
        custom_values: Vec::new(),
    };
    let float = Histogram {
        counter_reset_hint: CounterResetHint::Gauge,
        counts: Counts::Float {
            count: 9.5,
            zero_count: 2.0,
            positive: vec![1.0, 2.5, 1.0],
            negative: vec![1.0, 1.0, 1.0],
        },
        ..integer.clone()
    };
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        counts: Counts::Integer {
            count: 3,
            zero_count: 0,
            positive_deltas: vec![1, 1],
            negative_deltas: Vec::new(),
        },
        positive_spans: vec![Span { offset: 0, length: 2 }],
        negative_spans: Vec::new(),
        custom_values: vec![0.1, 1.0, 10.0],
        ..integer.clone()
    };
    let float_custom = Histogram {
        counts: Counts::Float { count: 3.0, zero_count: 0.0, positive: vec![1.0, 2.0], negative: Vec::new() },
        ..custom.clone()
    };
    [integer, float, custom, float_custom]
}

/// A scrape of everything: a float, each histogram, an exemplar at both.
fn scrape(fixture: &Fixture, idx: i64) {
    let ts_ms = START_MS + idx * 1000;
    fixture.commit(&["a_float", "integer", "float", "custom", "float_custom"], |appender, handles| {
        appender.append(handles[0], ts_ms, idx as f64);
        for (handle, histogram) in handles[1..].iter().zip(histograms()) {
            appender.append_histogram(*handle, ts_ms, &histogram);
        }
        for handle in &handles[..2] {
            let labels = [("trace_id", "abc"), ("span", "1")].into_iter();
            appender.append_exemplar(*handle, ExemplarTime::Own(ts_ms - 7), idx as f64, labels).unwrap();
        }
    });
}

#[test]
fn all_kinds_arrive_by_both_messages() {
    for section in [ALL_OF_V1.to_owned(), format!("{V2}send_exemplars: true\n")] {
        let is_v2 = section.starts_with(V2);
        let fixture = Fixture::start(&section);
        (1..=3).for_each(|idx| scrape(&fixture, idx));
        let ledger = fixture.await_taken(15);
        let times: Vec<i64> = (1..=3).map(|idx| START_MS + idx * 1000).collect();
        for name in ["integer", "float", "custom", "float_custom"] {
            let expected = if is_v2 || !name.contains("custom") { &times[..] } else { &[] };
            assert_eq!(fixture.histograms(name), expected, "{name}");
        }
        let exemplars: Vec<(i64, f64)> = times.iter().map(|ts| ts - 7).zip([1.0, 2.0, 3.0]).collect();
        assert_eq!(fixture.exemplars("a_float"), exemplars);
        assert_eq!(fixture.exemplars("integer"), exemplars);
        assert_eq!(fixture.receiver.samples_of(&key("a_float")).len(), 3);
        // 1.0 knows no custom buckets; that is told and counted, and balances.
        let n_nhcb = if is_v2 { 0 } else { 6 };
        let expected =
            Ledger { taken: 15, sent: 15 - n_nhcb, dropped: dropped(DropReason::NhcbInV1, n_nhcb) };
        assert_eq!(ledger, expected, "{section}");
        assert_eq!(fixture.counted(Kind::Histogram), (12 - n_nhcb, 0, expected.dropped));
        assert_eq!(fixture.counted(Kind::Exemplar), (6, 0, Default::default()));
        assert_eq!(fixture.counted(Kind::Float), (3, 0, Default::default()));
        fixture.receiver.check();
    }
}

#[test]
fn the_content_of_histograms_and_exemplars_is_whole() {
    let fixture = Fixture::start(&format!("{V2}send_exemplars: true\n"));
    scrape(&fixture, 1);
    fixture.await_taken(5);
    let state = fixture.receiver.state();
    let of = |name: &str| state.histograms[&key(name)][0].1.clone();
    let integer = of("integer");
    assert_eq!((integer.schema, integer.count, integer.zero_count, integer.reset_hint), (3, 9, 2, 2));
    assert_eq!((integer.positive_spans, integer.positive), (vec![(-1, 2), (3, 1)], vec![1, 1, -1]));
    assert_eq!((f64::from_bits(integer.sum), integer.negative), (18.4, vec![1, 0, 1]));
    let float = of("float");
    assert!(float.is_float);
    assert_eq!((f64::from_bits(float.count), float.reset_hint), (9.5, 3));
    let counts: Vec<f64> = float.positive.iter().map(|bits| f64::from_bits(bits.cast_unsigned())).collect();
    assert_eq!(counts, [1.0, 2.5, 1.0]);
    let custom = of("custom");
    let bounds: Vec<f64> = custom.custom_values.iter().map(|bits| f64::from_bits(*bits)).collect();
    assert_eq!((custom.schema, bounds), (-53, vec![0.1, 1.0, 10.0]));
    let exemplar = &state.exemplars[&key("integer")][0];
    let labels: Vec<(&str, &str)> =
        exemplar.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("span", "1"), ("trace_id", "abc")]);
}

#[test]
fn what_the_section_does_not_send_is_not_taken() {
    for (section, n_histograms) in [("", 0), (V2, 4)] {
        let fixture = Fixture::start(section);
        scrape(&fixture, 1);
        let ledger = fixture.await_taken(1 + n_histograms);
        assert_eq!(ledger, Ledger { taken: 1 + n_histograms, sent: 1 + n_histograms, ..Ledger::default() });
        assert_eq!(fixture.counted(Kind::Exemplar), (0, 0, Default::default()));
        let state = fixture.receiver.state();
        assert_eq!((state.histograms.len() as u64, state.exemplars.len()), (n_histograms, 0), "{section}");
    }
}

#[test]
fn a_series_that_turns_from_floats_to_histograms_and_ends_stays_in_order() {
    for section in [ALL_OF_V1, V2] {
        let fixture = Fixture::start(section);
        let [histogram, ..] = histograms();
        // The endpoint is away, so that all goes into one request.
        fixture.receiver.answer(Answer::status(503));
        fixture.commit(&["turns"], |appender, handles| {
            appender.append(handles[0], START_MS, 1.0);
        });
        for idx in 1..3 {
            fixture.commit(&["turns"], |appender, handles| {
                appender.append_histogram(handles[0], START_MS + idx, &histogram);
            });
        }
        fixture.commit(&["turns"], |appender, handles| {
            appender.append(handles[0], START_MS + 3, f64::from_bits(support::remote::STALE_BITS));
        });
        fixture.receiver.answer(Answer::Stores(204));
        fixture.await_taken(4);
        assert_eq!(fixture.histograms("turns"), [START_MS + 1, START_MS + 2]);
        let floats = fixture.receiver.samples_of(&key("turns"));
        assert_eq!(floats, [(START_MS, 1.0_f64.to_bits()), (START_MS + 3, support::remote::STALE_BITS)]);
        fixture.receiver.check();
    }
}

#[test]
fn relabelling_and_age_drop_all_kinds() {
    let rules =
        "write_relabel_configs:\n- {source_labels: [__name__], regex: 'integer|a_float', action: drop}\n";
    let fixture = Fixture::start(&format!("{ALL_OF_V1}{rules}"));
    scrape(&fixture, 1);
    let ledger = fixture.await_taken(5);
    assert_eq!((ledger.sent, ledger.dropped[DropReason::DroppedSeries as usize]), (1, 2));
    assert_eq!(fixture.counted(Kind::Exemplar), (0, 0, dropped(DropReason::DroppedSeries, 2)));
    assert_eq!(fixture.counted(Kind::Histogram).2[DropReason::DroppedSeries as usize], 1);
    let mut old = Fixture::start(&format!("{V2}send_exemplars: true\n"));
    old.stop_sending();
    let config = Arc::make_mut(&mut old.config);
    let section = Arc::make_mut(&mut config.remote_write[0]);
    section.queue.sample_age_limit = Duration::from_secs(60);
    old.start_sending();
    scrape(&old, 1);
    let ledger = old.await_taken(5);
    assert_eq!(ledger, Ledger { taken: 5, sent: 0, dropped: dropped(DropReason::TooOld, 5) });
    assert_eq!(old.counted(Kind::Exemplar), (0, 0, dropped(DropReason::TooOld, 2)));
}

#[test]
fn one_bad_item_of_any_kind_costs_one() {
    let is_bad = |request: &Request| {
        request.message.series.iter().any(|series| {
            series.exemplars.iter().any(|it| it.value == 2.0_f64.to_bits())
                || series.label("__name__") == "float"
        })
    };
    let fixture = Fixture::start(&format!("{V2}send_exemplars: true\n"));
    fixture.receiver.script(
        move |request| {
            if is_bad(request) { Answer::status(400) } else { Answer::Stores(204) }
        },
    );
    (1..=2).for_each(|idx| scrape(&fixture, idx));
    let ledger = fixture.await_taken(10);
    assert_eq!(ledger, Ledger { taken: 10, sent: 8, dropped: dropped(DropReason::Rejected, 2) });
    // Two of the histogram, two of the exemplar's value 2.
    assert_eq!(fixture.counted(Kind::Histogram), (6, 2, dropped(DropReason::Rejected, 2)));
    assert_eq!(fixture.counted(Kind::Exemplar), (2, 2, dropped(DropReason::Rejected, 2)));
    assert_eq!(fixture.counted(Kind::Float), (2, 0, Default::default()));
    assert_eq!(fixture.histograms("custom").len(), 2);
    fixture.receiver.check();
}

#[test]
fn an_endpoint_is_believed_how_much_it_has_written() {
    // 200: what is missing is lost. 400: what was written is not sent again.
    for status in [200, 400] {
        let fixture = Fixture::start(&format!("{V2}send_exemplars: true\n"));
        fixture.receiver.answer(Answer::StoresAndCounts(status, [1, 3, 0]));
        scrape(&fixture, 1);
        let ledger = fixture.await_taken(5);
        assert_eq!(
            ledger,
            Ledger { taken: 5, sent: 4, dropped: dropped(DropReason::Rejected, 1) },
            "{status}"
        );
        assert_eq!(fixture.counted(Kind::Float), (1, 0, Default::default()));
        assert_eq!(fixture.counted(Kind::Histogram), (3, 1, dropped(DropReason::Rejected, 1)));
        assert_eq!(fixture.counted(Kind::Exemplar), (0, 2, dropped(DropReason::Rejected, 2)));
        assert_eq!(fixture.receiver.n_requests(), 1, "{status}");
    }
    // It says that it has nothing: as Prometheus, nothing of it counts as sent.
    let fixture = Fixture::start(V2);
    fixture.receiver.answer(Answer::StoresAndCounts(204, [0, 0, 0]));
    scrape(&fixture, 1);
    let ledger = fixture.await_taken(5);
    assert_eq!(ledger, Ledger { taken: 5, sent: 0, dropped: dropped(DropReason::Rejected, 5) });
}

#[test]
fn histograms_and_exemplars_outlast_a_restart() {
    let mut fixture = Fixture::start(ALL_OF_V1);
    fixture.receiver.answer(Answer::status(503));
    scrape(&fixture, 1);
    wait_until("a try", || fixture.receiver.n_requests() > 0);
    // The last record of the log is the one with the exemplars.
    wait_until("all read", || fixture.endpoint().items_in.get() == 7);
    fixture.stop_sending();
    fixture.receiver.answer(Answer::Stores(204));
    fixture.start_sending();
    fixture.await_taken(5);
    assert_eq!(fixture.exemplars("a_float"), [(START_MS + 993, 1.0)]);
    assert_eq!(fixture.exemplars("integer").len(), 1);
    assert_eq!(fixture.histograms("float"), [START_MS + 1000]);
    fixture.receiver.check();
}

#[test]
fn after_a_fall_back_to_1_0_histograms_need_their_option() {
    for (option, n_sent) in [("", 0), ("send_native_histograms: true\n", 2)] {
        let fixture = Fixture::start(&format!("{V2}{option}"));
        fixture.receiver.script(|request| {
            let is_v2 = request.header("x-prometheus-remote-write-version").starts_with('2');
            if is_v2 { Answer::status(415) } else { Answer::Stores(204) }
        });
        scrape(&fixture, 1);
        let ledger = fixture.await_taken(5);
        assert_eq!((ledger.taken, ledger.sent), (5, 1 + n_sent), "{ledger:?}");
        scrape(&fixture, 2);
        wait_until("the second scrape", || fixture.receiver.samples_of(&key("a_float")).len() == 2);
        assert_eq!(fixture.histograms("integer").len() as u64, n_sent);
        fixture.receiver.check();
    }
}

#[test]
fn what_the_log_says_of_a_family_stands_at_the_series_in_2_0() {
    for section in [V2, ""] {
        let fixture = Fixture::start(section);
        fixture.commit(&["a_total", "b", "nothing"], |appender, handles| {
            appender.append_metadata(handles[0], MetricType::Counter, "bytes", "What was counted.");
            appender.append_metadata(handles[1], MetricType::Info, "", "");
            handles.iter().for_each(|handle| appender.append(*handle, START_MS, 1.0));
        });
        fixture.await_taken(3);
        // The newest word counts.
        fixture.commit(&["a_total"], |appender, handles| {
            appender.append_metadata(handles[0], MetricType::Gauge, "", "It goes down as well.");
            appender.append(handles[0], START_MS + 1, 1.0);
        });
        fixture.await_taken(4);
        let requests = fixture.receiver.requests();
        let of = |request: &Request, name: &str| {
            let series = request.message.series.iter().find(|series| series.label("__name__") == name);
            series.map(|it| (it.metadata.kind, it.metadata.unit.clone(), it.metadata.help.clone())).unwrap()
        };
        let (first, last) = (&requests[0], requests.last().unwrap());
        let words = |kind, unit: &str, help: &str| (kind, unit.to_owned(), help.to_owned());
        if section == V2 {
            assert_eq!(of(first, "a_total"), words(1, "bytes", "What was counted."));
            assert_eq!(of(first, "b"), words(6, "", ""));
            assert_eq!(of(last, "a_total"), words(2, "", "It goes down as well."));
            assert_eq!(fixture.endpoint().metadata.sent.get(), 3);
        }
        assert_eq!(of(first, "nothing"), words(0, "", ""));
        fixture.receiver.check();
    }
}
