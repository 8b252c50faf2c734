//! The storage page: how much log there is, what was written, and what was lost.

use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

#[test]
fn it_shows_the_log_and_that_nothing_is_lost() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let scraped = Scraped::start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs:\n- {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        targets.address()
    ));
    let parts = [
        "<a href=\"/storage\">storage</a>",
        "<dt>Log on disk<dd>",
        "<dt>Bound<dd>",
        ", then the oldest segments go<",
        "<dt>Segments<dd>0 to 0, which is being written",
        "<dt>Reaches back to<dd>at least ",
        " <small>since the start, ",
        "<dt>Checkpoints<dd>0 since the start, 0 failed",
        "<p class=up>None.</p>",
    ];
    wait_until("all is shown", || {
        let page = scraped.get("/storage").body;
        let is_by_cause = |row: &str| {
            let (_, behind) = page.split_once(&format!("<dt>{row}<dd>")).unwrap_or_default();
            behind.split("</dd>").next().is_some_and(|text| text.contains("<small>log "))
        };
        parts.iter().all(|part| page.contains(part))
            && is_by_cause("Written since the start")
            && is_by_cause("Written today")
            && !page.contains("last hour<dd>0 bytes")
    });
}
