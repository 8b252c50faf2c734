//! The page of costs: no figure without what it is worked out of, and the rules that would save them.

use std::time::{SystemTime, UNIX_EPOCH};

use support::remote::receiver::Receiver;
use support::scraped::{Scraped, without_own_script};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const MINUTE_MS: u128 = 60_000;

/// The cells of the row that begins with this text, without their tags; `None` if there is none.
fn row(page: &str, first: &str) -> Option<Vec<String>> {
    let rows = page.split("<tr><td>").skip(1).map(|row| row.split("</tr>").next().unwrap());
    let cells = |row: &str| row.split("<td").map(|cell| text(&format!("<{cell}"))).collect::<Vec<String>>();
    rows.map(cells).find(|cells| cells[0] == first)
}

fn text(html: &str) -> String {
    html.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text)).collect()
}

#[test]
fn what_series_cost_is_shown_with_what_it_is_worked_out_of() {
    let targets = FakeTargets::start();
    let receiver = Receiver::start();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    // A series that was there 100 minutes ago makes the log long enough.
    let old = format!("old{{x=\"a\"}} 1 {}\n", now_ms - 100 * MINUTE_MS);
    targets.set("/metrics", Behaviour::Healthy(page(&old)));
    let scraped = Scraped::start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write: [{{name: home, url: '{}'}}]\n\
         scrape_configs:\n- {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        receiver.url(),
        targets.address()
    ));
    let shown = || scraped.get("/cost").body;
    wait_until("the old sample is measured", || row(&shown(), "old").is_some());

    let many: String = (0..30).map(|idx| format!("many{{id=\"{idx}\",text=\"<script>'\"}} 1\n")).collect();
    targets.set("/metrics", Behaviour::Healthy(page(&many)));
    wait_until("all is known", || {
        let page = shown();
        let row = row(&page, "many");
        page.contains("On the wire to home it takes ")
            && row.is_some_and(|row| row[2] == "30" && row[1] != "0.0 %")
    });
    let page = shown();
    for part in [
        "Measured over 1h40m: ",
        " samples of the log were counted, ",
        " s ago in ",
        " bytes on disk: ",
        ", repetitions included: ",
        "<dt>Series now<dd>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let many = row(&page, "many").unwrap();
    assert_eq!(
        (many.len(), many[3].as_str()),
        (8, "30"),
        "share, series, new, samples, disk, wire, rule: {many:?}"
    );
    assert!(many[4..7].iter().all(|figure| figure != "—"), "{many:?}");
    assert!(
        many[7].starts_with("saves ") && many[7].contains("regex: &#39;many&#39;, action: drop}"),
        "{many:?}"
    );
    assert_eq!(row(&page, "old").unwrap()[2..4], ["0", "0"], "it is neither there nor new");
    assert_eq!(row(&page, "up").unwrap()[7], "", "no rule sees it");
    assert_eq!(row(&page, "box").unwrap()[7], "", "a job is not dropped by a rule");
    assert_eq!(row(&page, "id").unwrap()[7], "30", "values");
    assert!(row(&page, "text=&quot;&lt;script&gt;&#39;&quot;").is_some(), "{page}");
    assert!(!without_own_script(&page).contains("<script"), "{page}");
}

#[test]
fn there_are_no_figures_before_there_is_something_to_measure() {
    let scraped = Scraped::start("scrape_configs: []\n");
    let page = scraped.get("/cost").body;
    assert!(page.contains("Nothing can be measured yet"), "{page}");

    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(support::targets::page("a 1\n")));
    scraped.reload_with(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        targets.address()
    ));
    wait_until("something is measured", || row(&scraped.get("/cost").body, "a").is_some());
    let page = scraped.get("/cost").body;
    let figures = row(&page, "a").unwrap();
    assert_eq!(figures[3..7], ["—", "—", "—", "—"], "{figures:?}");
    for part in [
        "A day is worked out of a minute or more.",
        "no remote_write is configured",
        "when the log reaches back for more than an hour.",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
