use super::*;
use scraped_engine::labels::relabel::{Action, RelabelConfig, RelabelRule};

/// A job with Prometheus' defaults.
pub(in crate::scrape) fn job(job_name: &str) -> ScrapeConfig {
    ScrapeConfig { job_name: job_name.to_owned(), ..ScrapeConfig::default() }
}

/// A group of targets, each given as `name=value` pairs with spaces between.
pub(in crate::scrape) fn group(targets: &[&str], labels: &str) -> Arc<TargetGroup> {
    Arc::new(TargetGroup {
        provenance: crate::config::discovery::Provenance::Operator,
        source: "test/0".to_owned(),
        targets: targets.iter().map(|target| pairs(target)).collect(),
        labels: pairs(labels),
    })
}

pub(in crate::scrape) fn pairs(text: &str) -> Labels {
    Labels::from_pairs(text.split(' ').filter_map(|pair| pair.split_once('=')))
}

/// `target_label` gets `replacement`.
pub(in crate::scrape) fn set(target_label: &str, replacement: &str) -> RelabelRule {
    rule(Action::Replace, "", target_label, replacement)
}

/// Drops targets whose `source` is not empty.
pub(in crate::scrape) fn drop_with(source: &str) -> RelabelRule {
    rule(Action::Drop, source, "", "$1")
}

fn rule(action: Action, source: &str, target_label: &str, replacement: &str) -> RelabelRule {
    RelabelRule::new(RelabelConfig {
        source_labels: if source.is_empty() { Vec::new() } else { vec![source.to_owned()] },
        separator: ";".to_owned(),
        regex: if action == Action::Drop { ".+" } else { "(.*)" }.to_owned(),
        modulus: 0,
        target_label: target_label.to_owned(),
        replacement: replacement.to_owned(),
        action,
    })
    .expect("a good rule")
}

fn outcome(config: ScrapeConfig, target: &str, group_labels: &str) -> (Labels, Outcome) {
    let mut outcomes = Vec::new();
    targets_from_group(
        &Arc::new(config),
        &group(&[target], group_labels),
        &mut LabelsBuilder::new(),
        |discovered, outcome| outcomes.push((discovered.labels(), outcome)),
    );
    outcomes.pop().expect("one target")
}

fn check(config: ScrapeConfig, target: &str, labels: &str, url: &str) -> Target {
    let (_, outcome) = outcome(config, target, "");
    let target = outcome.expect("no error").expect("not dropped");
    assert_eq!(target.labels, pairs(labels));
    assert_eq!(target.url.to_string(), url);
    target
}

fn check_error(config: ScrapeConfig, target: &str, want: &str) {
    let (_, outcome) = outcome(config, target, "");
    assert_eq!(outcome.expect_err("an error").to_string(), want);
}

#[test]
fn discovered_labels_are_prometheus() {
    let config = ScrapeConfig { params: vec![("m".into(), vec!["a".into(), "b".into()])], ..job("j") };
    let (discovered, _) = outcome(config, "__address__=a:1 x=target", "x=group y=group");
    let histograms = "__always_scrape_classic_histograms__=false __convert_classic_histograms_to_nhcb__=false \
                      __scrape_native_histograms__=false";
    let want = format!(
        "__address__=a:1 __metrics_path__=/metrics __param_m=a __scheme__=http __scrape_interval__=1m \
         __scrape_timeout__=10s job=j x=target y=group {histograms}"
    );
    assert_eq!(discovered, pairs(&want));
    // What discovery says about itself wins over the job.
    let (discovered, _) =
        outcome(job("j"), "__address__=a __scheme__=https job=mine __scrape_interval__=5s", "");
    let want = format!(
        "__address__=a __metrics_path__=/metrics __scheme__=https __scrape_interval__=5s __scrape_timeout__=10s \
         job=mine {histograms}"
    );
    assert_eq!(discovered, pairs(&want));
}

#[test]
fn labels_for_samples_have_an_instance_and_nothing_internal() {
    let target =
        check(job("j"), "__address__=a:1 __meta_x=1 __y=2", "instance=a:1 job=j", "http://a:1/metrics");
    assert_eq!(
        (target.scrape_interval, target.scrape_timeout),
        (Duration::from_secs(60), Duration::from_secs(10))
    );
    check(job("j"), "__address__=a instance=me", "instance=me job=j", "http://a/metrics");
}

#[test]
fn relabelling_steers_the_scrape() {
    let rules = vec![
        set("__address__", "b:2"),
        set("__scheme__", "https"),
        set("__metrics_path__", "/p?q"),
        set("__param_m", "z"),
        set("__scrape_interval__", "30s"),
        set("__scrape_timeout__", "30s"),
    ];
    let params = vec![("m".to_owned(), vec!["a".to_owned(), "b".to_owned()])];
    let config = ScrapeConfig { relabel_configs: rules, params, ..job("j") };
    let target = check(config, "__address__=a", "instance=b:2 job=j", "https://b:2/p%3Fq?m=z&m=b");
    assert_eq!(target.scrape_interval, Duration::from_secs(30));
}

#[test]
fn relabelling_drops() {
    let config = ScrapeConfig { relabel_configs: vec![drop_with("skip")], ..job("j") };
    assert_eq!(outcome(config.clone(), "__address__=a skip=1", "").1, Ok(None));
    assert!(matches!(outcome(config, "__address__=a", "").1, Ok(Some(_))));
}

#[test]
fn what_is_no_target_says_so_in_prometheus_words() {
    let with = |rules| ScrapeConfig { relabel_configs: rules, ..job("j") };
    check_error(job("j"), "x=1", "no address");
    check_error(job("j"), "__address__=http://a", r#""http://a" is not a valid hostname"#);
    check_error(
        with(vec![set("__scrape_interval__", "")]),
        "__address__=a",
        "error parsing scrape interval: empty duration string",
    );
    check_error(with(vec![set("__scrape_interval__", "0s")]), "__address__=a", "scrape interval cannot be 0");
    check_error(with(vec![set("__scrape_timeout__", "0")]), "__address__=a", "scrape timeout cannot be 0");
    check_error(
        with(vec![set("__scrape_timeout__", "1x")]),
        "__address__=a",
        r#"error parsing scrape timeout: unknown unit "x" in duration "1x""#,
    );
    check_error(
        with(vec![set("__scrape_timeout__", "2m")]),
        "__address__=a",
        r#"scrape timeout cannot be greater than scrape interval ("2m" > "1m")"#,
    );
}

#[test]
fn labels_override_what_the_job_says_of_histograms_and_series() {
    let mut config = job("j");
    config.options.scrape_native_histograms = true;
    config.limits.series_limit = 100;
    let options = |config: &ScrapeConfig, labels: &str| {
        let (_, outcome) = outcome(config.clone(), &format!("__address__=a {labels}"), "");
        outcome.map(|target| target.expect("not dropped").options).map_err(|error| error.to_string())
    };
    let of_job =
        TargetOptions { scrape_native_histograms: true, series_limit: 100, ..TargetOptions::default() };
    assert_eq!(options(&config, "x=y"), Ok(of_job));
    let labels = "__scrape_native_histograms__=F __always_scrape_classic_histograms__=1 \
                  __convert_classic_histograms_to_nhcb__=TRUE __series_limit__=5";
    let other = TargetOptions {
        convert_classic_histograms_to_nhcb: true,
        always_scrape_classic_histograms: true,
        scrape_native_histograms: false,
        series_limit: 5,
    };
    assert_eq!(options(&config, labels), Ok(other));
    // A rule that takes the label away gives the target the job's setting back.
    let rules = vec![set("__series_limit__", ""), set("__scrape_native_histograms__", "")];
    let without_labels = ScrapeConfig { relabel_configs: rules, ..config.clone() };
    assert_eq!(
        options(&without_labels, labels).map(|it| (it.scrape_native_histograms, it.series_limit)),
        Ok((true, 100))
    );
    for (label, what) in [
        ("__convert_classic_histograms_to_nhcb__", "convert classic histograms to nhcb: strconv.ParseBool"),
        ("__always_scrape_classic_histograms__", "always scrape classic histograms: strconv.ParseBool"),
        ("__scrape_native_histograms__", "scrape native histograms: strconv.ParseBool"),
        ("__series_limit__", "series limit: strconv.ParseUint"),
    ] {
        let error = format!("error parsing {what}: parsing \"yes\": invalid syntax");
        assert_eq!(options(&config, &format!("{label}=yes")), Err(error));
    }
}

#[test]
fn a_password_in_an_address_is_shown_nowhere() {
    let (discovered, outcome) = outcome(job("j"), "__address__=user:hunter2@box:1", "");
    let target = outcome.expect("no error").expect("not dropped");
    assert_eq!(target.labels, pairs("instance=user:xxxxx@box:1 job=j"));
    assert_eq!(target.url.to_string(), "http://user:xxxxx%40box:1/metrics");
    assert_eq!(discovered.get("__address__"), "user:xxxxx@box:1");
    check(job("j"), "__address__=exec:/bin/a:b@c", "instance=exec:/bin/a:b@c job=j", "exec:/bin/a:b@c");
}

#[test]
fn targets_that_differ_in_an_internal_label_are_two_with_one_identity() {
    let labels = "instance=a job=j";
    let one = check(job("j"), "__address__=a __x=1", labels, "http://a/metrics");
    let two = check(job("j"), "__address__=a __x=2", labels, "http://a/metrics");
    assert_ne!(one.hash, two.hash);
    assert_eq!(one.identity(), two.identity());
}

#[test]
fn slots_lie_an_interval_apart_at_the_same_place_for_ever() {
    let target = check(job("j"), "__address__=a", "instance=a job=j", "http://a/metrics");
    let interval_ms = 60_000;
    for wall_ms in [1_700_000_000_123, 0, -5, 59_999, 60_000] {
        let until_ns = |wall_ms, seed| target.until_next_slot(wall_ms, seed).as_nanos() as i128;
        let until = until_ns(wall_ms, 7);
        assert!(0 < until && until <= 60_000_000_000, "{until}");
        assert_eq!(until, until_ns(wall_ms + interval_ms, 7));
        let slot = |wall_ms: i64| i128::from(wall_ms) * NANOS_PER_MS + until_ns(wall_ms, 7);
        assert_eq!(slot(wall_ms) % 60_000_000_000, slot(0) % 60_000_000_000);
        assert_ne!(until, until_ns(wall_ms, 8));
    }
}

#[test]
fn fnv_is_go_s() {
    let mut fnv = Fnv64a::new();
    fnv.write(b"foobar");
    assert_eq!(fnv.finish(), 0x8594_4171_f739_67e8);
}
