//! The page of remote write: what an endpoint takes, what it said last, and since when its oldest sample waits.

use support::remote::receiver::{Answer, Receiver};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

#[test]
fn it_shows_what_an_endpoint_takes_and_what_it_said() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let receiver = Receiver::start();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write:\n- name: home\n  url: '{}'\n  \
         queue_config: {{batch_send_deadline: 100ms, min_backoff: 30ms, max_backoff: 100ms}}\n\
         scrape_configs:\n- {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        receiver.url(),
        targets.address()
    );
    let scraped = Scraped::start(&config);
    let shown = || scraped.get("/status").body;
    let has = |parts: &[&str]| {
        let page = shown();
        parts.iter().all(|part| page.contains(part))
    };
    let well = [
        "<h2>Remote write to home <small>",
        "<b class=up>204</b>",
        " samples behind<",
        "0 set aside<",
        ", at least 1 and at most 50<",
        "<dt>Last success<dd>",
        " samples taken <small>since the start, ",
    ];
    wait_until("it works", || has(&well) && !shown().contains("class=down"));
    wait_until("traffic is known", || {
        let page = shown();
        !page.contains("<dd>0.0 samples and ") && !page.contains("<dd>0 bytes, ")
    });
    wait_until("the bound of the log is known", || has(&[" if nothing were sent: it may have "]));

    receiver.answer(Answer::Refuses(503, vec![], "<b>out of order</b>".to_owned()));
    let trouble = "server returned HTTP status 503 Whatever: &lt;b&gt;out of order&lt;/b&gt;";
    let line = format!("<td data-label=Answer><span class=down>{trouble}</span>");
    wait_until("the answer is shown", || has(&[&format!("<p class=down>{trouble}"), &line]));
    wait_until("the oldest one waits", || has(&["<dt>Oldest sample that waits<dd>of ", " ago</dd></div>"]));

    receiver.answer(Answer::Stores(204));
    wait_until("it is well again", || !shown().contains("<p class=down>") && has(&["<b class=up>204</b>"]));
    // A time without scrapes.
    scraped.reload_with(config.split("scrape_configs").next().unwrap());
    wait_until("none waits", || has(&["<dt>Oldest sample that waits<dd>none waits<"]));
}
