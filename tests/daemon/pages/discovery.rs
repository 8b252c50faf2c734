//! The service discovery page: what was found, what each rule made of it, and what came out.

use support::scraped::Scraped;
use support::wait_until;

const CONFIG: &str = "
scrape_configs:
- job_name: many
  relabel_configs:
  - {source_labels: [kind], regex: printer, action: drop}
  - {source_labels: [__address__, kind], separator: '@', target_label: what}
  - {regex: temporary, action: labeldrop}
  - {source_labels: [nothing], regex: x, target_label: y}
  static_configs:
  - {targets: ['127.0.0.1:1', '127.0.0.1:2'], labels: {kind: box, temporary: '<script>'}}
  - {targets: ['127.0.0.1:631'], labels: {kind: printer}}
- job_name: plain
  static_configs: [{targets: ['127.0.0.1:3']}]
";

#[test]
fn each_rule_says_what_it_did() {
    let scraped = Scraped::start_with(CONFIG, &["--no-scrape.on-start"]);
    let page = |query: &str| scraped.get(&format!("/service-discovery?{query}")).body;
    wait_until("all are found", || page("").contains("<p>4 targets"));
    let box_1 = page("q=127.0.0.1%3A1");
    for part in [
        "<small>2 active, 1 dropped</small>",
        "<summary><code>{instance=&quot;127.0.0.1:1&quot;, job=&quot;many&quot;, kind=&quot;box&quot;, what=&quot;127.0.0.1:1@box&quot;}",
        "<tr><td>temporary<td>&lt;script&gt;</tr>",
        "regex: printer</code> keeps it",
        "target_label: what</code> &rarr; <b>what</b>=\"127.0.0.1:1@box\"",
        "regex: temporary</code> &rarr; <s>temporary</s>",
        "target_label: y</code> changes nothing",
        "<h3>Target</h3>",
    ] {
        assert!(box_1.contains(part), "{part}\n{box_1}");
    }
    let dropped = page("state=dropped");
    for part in [
        "<code>127.0.0.1:631</code> <b class=down>dropped</b>",
        "regex: printer</code> <b class=down>drops it</b></ol>",
    ] {
        assert!(dropped.contains(part), "{part}\n{dropped}");
    }
    assert!(!dropped.contains("<h3>Target</h3>"), "{dropped}");
    assert!(page("job=plain").contains("<p>The job has no relabel_configs.</p>"));
    for (query, want) in [
        ("", 4),
        ("job=many", 3),
        ("state=active", 3),
        ("state=dropped", 1),
        ("q=KIND%3D%22printer", 1),
        ("q=what%3D", 2),
        ("q=nowhere", 0),
        ("from=3", 1),
    ] {
        assert_eq!(page(query).matches("<details").count(), want, "{query}");
    }
}

#[test]
fn the_configuration_and_the_flags_are_shown() {
    let scraped = Scraped::start_with(CONFIG, &["--no-scrape.on-start"]);
    let config = scraped.get("/config").body;
    assert!(
        config.contains("- job_name: plain\n") && config.contains("temporary: &lt;script&gt;\n"),
        "{config}"
    );
    assert!(config.trim_end().ends_with("</html>"), "{config}");
    let flags = scraped.get("/flags").body;
    assert!(
        flags.contains("<td data-label=Flag>--scrape.on-start<td data-label=Value>false</tr>"),
        "{flags}"
    );
}
