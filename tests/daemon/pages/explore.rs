//! The page that asks the log of the box: what it holds is found, drawn and given as CSV, and what is wrong with a question is
//! said with its place.

use support::scraped::{Answer, Scraped, without_own_script};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const HOSTILE: &str = "<script>alert(1)</script>\\\"'&";

fn start(targets: &FakeTargets) -> Scraped {
    Scraped::start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        targets.address()
    ))
}

/// The page for this selector.
fn explore(scraped: &Scraped, expr: &str, more: &str) -> Answer {
    let expr = expr.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    scraped.get(&format!("/graph?g0.expr={expr}{more}"))
}

#[test]
fn what_the_log_holds_is_found_drawn_and_listed() {
    let targets = FakeTargets::start();
    let text = format!("a{{x=\"one\"}} 1.5\na{{x=\"two\"}} 2\nb{{x=\"{HOSTILE}\"}} 3\n");
    targets.set("/metrics", Behaviour::Healthy(page(&text)));
    let scraped = start(&targets);
    wait_until("a few samples are in the log", || {
        explore(&scraped, "a{x=\"one\"}", "&format=csv").body.matches(",1.5\r\n").count() >= 3
    });

    // Nothing is asked yet: what there is can be pressed.
    let empty = scraped.get("/graph").body;
    for part in [
        "<option value=\"a\"><option value=\"b\"><option value=\"scrape_",
        "<option value=\"{job=&quot;",
        "Good to begin with: <a href=\"/graph?g0.expr=up&amp;",
        ">b</a>",
    ] {
        assert!(empty.contains(part), "{part}: {empty}");
    }

    let found = explore(&scraped, "a", "&g0.range_input=15m");
    assert_eq!(found.status, 200);
    for part in [
        "<main data-refresh=15>",
        "<svg class=chart role=img aria-label=\"chart of 2 series, whose newest values are listed below\">",
        "<code>a{instance=&quot;",
        "<b>1.5</b>",
        "<b>2</b>",
        "<option selected>15m",
        "\">this moment</a>",
        "Only <b>x</b>: <a href=\"/graph?g0.expr=a%7Bx%3D%22one%22%7D&amp;g0.range_input=15m\">one</a>",
    ] {
        assert!(found.body.contains(part), "{part}: {}", found.body);
    }
    // What targets say is text in the chart, the table and the links.
    let hostile = explore(&scraped, "b", "").body;
    assert!(hostile.contains("&lt;script&gt;alert(1)"), "{hostile}");
    assert!(!without_own_script(&hostile).contains("<script"), "{hostile}");
    assert!(!hostile.contains("style="), "{hostile}");

    let csv = explore(&scraped, "{x=~\".+\"}", "&format=csv");
    assert!(csv.head.contains("Content-Type: text/csv"), "{}", csv.head);
    assert!(csv.body.starts_with("metric,instance,job,x,timestamp,value\r\na,"), "{}", csv.body);
    let quoted = format!(",box,\"{}\",", HOSTILE.replace("\\\"", "\"\""));
    assert!(csv.body.contains(&quoted), "{quoted}: {}", csv.body);

    // A page that does not end now is not fetched again; nothing was there in 1999.
    let past = explore(&scraped, "a", "&g0.end_input=1999-12-31+23:59:59").body;
    for part in [
        "<main>",
        "1999-12-31 22:59:59 to 1999-12-31 23:59:59 UTC",
        ">later</a>",
        "No series is like that",
        " The log has samples from about ",
    ] {
        assert!(past.contains(part), "{part}: {past}");
    }
    let similar = explore(&scraped, "SCRAPE", "").body;
    assert!(
        similar.contains("Metrics by that name: ") && similar.contains(">scrape_duration_seconds</a>"),
        "{similar}"
    );

    targets.set("/metrics", Behaviour::Status(500));
    wait_until("the end of a series is seen", || {
        let page = explore(&scraped, "a{x=\"one\"}", "").body;
        page.contains("<b class=down>ended</b>") && page.contains("<b>1.5</b>")
    });
}

#[test]
fn a_question_that_cannot_be_answered_says_where_and_why() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let scraped = start(&targets);
    let check = |status: u16, expr: &str, more: &str, part: &str| {
        let answer = explore(&scraped, expr, more);
        assert_eq!(answer.status, status, "{expr}{more}: {}", answer.body);
        assert!(answer.body.contains(part), "{expr}{more}, {part}: {}", answer.body);
    };
    check(400, "a{b=c}", "", "in label matching, expected string</p><pre>a{b=<mark>c</mark>}</pre>");
    check(400, "a{", "", "<pre>a{<mark>\u{2424}</mark></pre>");
    check(400, "{x=\"\"}", "", "at least one non-empty matcher");
    check(400, "<b>", "", "<pre><mark>&lt;</mark>b&gt;</pre>");
    check(400, "a{b=~\"(\"}", "", "error parsing regexp");
    check(422, "rate(a[5m])", "", "Functions and operators need PromQL&#39;s engine");
    check(422, "sum by (x) (a)", "&format=csv", "with <code>/api/v1/read</code> in its remote_read");
    check(422, "a offset 5m", "", "leave out [...], offset and @");
    check(422, "a[5m]", "", "leave out [...], offset and @");
    check(422, "1", "", "names no series");
    check(400, "a", "&g0.range_input=soon", "range: not a valid duration string: &quot;soon&quot;");
    check(400, "a", "&g0.end_input=%3Cscript%3E", "end: &quot;&lt;script&gt;&quot; is no time");
    let moved = scraped.get("/query?g0.expr=up");
    assert_eq!(moved.status, 302);
    assert!(moved.head.contains("Location: /graph?g0.expr=up\r\n"), "{}", moved.head);
}

#[test]
fn pages_stay_small_whatever_there_is() {
    const MAX_PAGE_BYTES: usize = 60_000;

    let targets = FakeTargets::start();
    let long = "<\\\"&'>".repeat(40);
    let mut text = String::new();
    for idx in 0..1500 {
        text.push_str(&format!("a_metric_with_rather_a_long_name_{idx}{{l{idx}=\"{long}\"}} {idx}\n"));
    }
    for idx in 0..300 {
        text.push_str(&format!("b{{x=\"{long}{idx}\",y=\"{idx}\"}} {idx}e300\n"));
    }
    targets.set("/metrics", Behaviour::Healthy(page(&text)));
    let scraped = start(&targets);
    wait_until("all series are found", || {
        let page = explore(&scraped, "b", "").body;
        page.contains(" more series are not drawn") && page.contains("<svg class=chart")
    });
    for path in
        ["/graph", "/graph?g0.expr=b", "/graph?g0.expr=a_metric", "/graph?g0.expr={__name__!=\"\"}", "/cost"]
    {
        let answer = scraped.get(path);
        let n_bytes = answer.body.len();
        assert!(answer.status == 200 && n_bytes < MAX_PAGE_BYTES, "{path}: {} {n_bytes}", answer.status);
        assert!(answer.body.ends_with("</html>\n"), "{path}: {}", answer.body);
    }
    let names = scraped.get("/graph").body;
    assert!(
        names.contains("names</small>") && names.contains("and ") && names.contains(" more</p>"),
        "{names}"
    );
}
