//! What sources of targets complain of stands on the page of targets for as long as it is so.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has to fail")]

mod support;
mod tls_support;

use support::scraped::Scraped;
use support::wait_until;
use tls_support::endpoint::{Endpoint, reply};

const JSON: &str = "Content-Type: application/json\r\n";

const HEADING: &str = "Failing sources";

#[test]
fn a_source_that_fails_is_shown_until_it_answers_or_is_gone() {
    let endpoint = Endpoint::plain(|_| reply(503, "", "closed <for> lunch"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let file = "- job_name: file\n  file_sd_configs: [{files: [sd.yml], refresh_interval: 1s}]\n";
    let config = format!(
        "scrape_configs:\n- job_name: asked\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n{file}"
    );
    let scraped = Scraped::start(&config);
    scraped.write("sd.yml", "- targets: [a:1\n");
    let page = || scraped.get("/targets").body;
    let http = "<td data-label=Source>http of job &quot;asked&quot;";
    wait_until("both are shown", || {
        let page = page();
        page.contains(HEADING)
            && page.contains(http)
            && page.contains("server returned HTTP status 503")
            && page.contains("<td data-label=Source>file_sd: ")
    });
    endpoint.answer(|_| reply(200, JSON, "[]"));
    wait_until("one answers", || !page().contains(http));
    assert!(page().contains(HEADING));
    scraped.write("sd.yml", "- targets: ['127.0.0.1:1']\n");
    wait_until("the file is mended", || !page().contains(HEADING));
    // A provider takes its complaint with it.
    endpoint.answer(|_| reply(503, "", ""));
    wait_until("it fails again", || page().contains(http));
    scraped.reload_with(&format!("scrape_configs:\n{file}"));
    wait_until("it is gone", || !page().contains(HEADING));
}
