//! The first page says that all is well, or what is not and where to look.

use support::remote::receiver::Receiver;
use support::scraped::{Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const WELL: &str = "All is well.";

#[test]
fn it_says_that_all_is_well_until_something_is_not() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let receiver = Receiver::start();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nremote_write: [{{name: home, url: 'URL'}}]\n\
         scrape_configs:\n- {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        targets.address()
    );
    let scraped = Scraped::start(&config.replace("URL", &receiver.url()));
    let shown = || scraped.get("/").body;
    wait_until("all is well", || {
        let page = shown();
        page.contains(WELL) && page.contains(">1 up, 0 down</a>") && page.contains(" samples behind</a>")
    });
    let page = shown();
    for part in [
        "Remote write to home",
        " taken since the start, 0 lost",
        "<dt>Memory<dd>",
        "<dt>Clock<dd>",
        " UTC",
        "<dt>Uplink today<dd>",
        ", repetitions included",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }

    targets.set("/metrics", Behaviour::Status(500));
    let down = "<a href=\"/targets?state=down\">1 of 1 targets is down.</a>";
    wait_until("the target is missed", || shown().contains(down) && !shown().contains(WELL));
    targets.set("/metrics", Behaviour::Healthy(support::targets::page("a 1\n")));
    wait_until("all is well again", || shown().contains(WELL));

    // An endpoint that has never taken anything is not "0 s behind".
    let away = format!("http://{}/write", free_address());
    scraped.reload_with(&config.replace("URL", &away).replace("home", "away"));
    wait_until("the endpoint is missed", || {
        let page = shown();
        page.contains("<li class=down><a href=\"/status\">Remote write to away: ")
            && page.contains("nothing was taken yet, ")
            && scraped.get("/status").body.contains("nothing was taken yet, ")
    });
    scraped.write("scraped.yml", "nonsense");
    scraped.signal("HUP");
    let failed = "<li class=down><a href=\"/config\">The last reload failed; the configuration before it is in force. ";
    wait_until("the reload is missed", || shown().contains(failed));
    // Why, on both pages, until another one is taken.
    let reason = "scraped.yml";
    assert!(shown().split_once(failed).is_some_and(|(_, rest)| rest.contains(reason)), "{}", shown());
    let refused = "<p class=down>This is not what is on disk: the reload ";
    let page = || scraped.get("/config").body;
    assert!(page().contains(refused) && page().contains("<pre class=down>"), "{}", page());
    scraped.reload_with(&config.replace("URL", &away));
    wait_until("the next one is taken", || !page().contains(refused) && !shown().contains(failed));
}
