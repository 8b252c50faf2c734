//! The button "scrape now": one ordinary scrape, its outcome on the page, and a reason where there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::scraped::{Answer, Scraped, send};
use support::tls::endpoint::{Endpoint, Reply, reply};
use support::wait_until;

/// Far from every slot.
const INTERVAL: &str = "300d";

/// What a browser sends when the button is pressed.
fn press(scraped: &Scraped, form: &str, headers: &str) -> Answer {
    let address = scraped.address();
    let headers = format!("Host: {address}\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\n");
    send(address, "POST", "/targets/scrape", &headers, form.as_bytes()).expect("an answer")
}

/// What the only button of the page sends.
fn form_of(page: &str) -> String {
    let (_, behind) = page.split_once("<button name=target value=").expect("a button");
    let (hash, _) = behind.split_once('>').expect("its end");
    format!("job=box&target={hash}")
}

#[test]
fn one_press_is_one_scrape_and_leads_to_what_came_of_it() {
    let hangs = Arc::new(AtomicBool::new(false));
    let endpoint = Endpoint::plain({
        let hangs = Arc::clone(&hangs);
        move |_| match hangs.load(Ordering::Relaxed) {
            true => Reply::Hang,
            false => reply(200, "Content-Type: text/plain\r\n", "a 1\nb 2\nc 3\n"),
        }
    });
    let config = format!(
        "global: {{scrape_interval: {INTERVAL}, scrape_timeout: 3s}}\nscrape_configs:\n\
         - {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        endpoint.at("127.0.0.1")
    );
    let scraped = Scraped::start_with(&config, &["--no-scrape.on-start"]);
    wait_until("the target is listed", || scraped.get("/targets").body.contains("<button name=target"));
    let page = scraped.get("/targets").body;
    assert!(page.contains("<b class=unknown>unknown</b>"), "{page}");
    assert!(page.contains("<form method=post action=targets/scrape>"), "{page}");
    let form = form_of(&page);

    // Nothing but a press of this page's own button is one.
    assert_eq!(scraped.ask("GET", &format!("/targets/scrape?{form}")).status, 405);
    let elsewhere = press(&scraped, &form, "Origin: http://evil.example\r\n");
    assert_eq!(elsewhere.status, 403, "{elsewhere:?}");
    let nothing = press(&scraped, "", "");
    assert_eq!(nothing.status, 400, "{nothing:?}");
    for unknown in ["job=&target=1", "job=box&target=1", "job=nosuch&target=1", "job=box&target=%3Cb%3E"] {
        let answer = press(&scraped, unknown, "");
        assert_eq!(answer.status, 404, "{unknown}: {answer:?}");
        assert_eq!(answer.body, "this target is not scraped any more\n");
    }
    assert_eq!(endpoint.requests().len(), 0);

    let own = format!("Origin: http://{}\r\n", scraped.address());
    let pressed = press(&scraped, &form, &own);
    assert_eq!(pressed.status, 303, "{pressed:?}");
    let location = pressed.head.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a place");
    let page = scraped.get(location).body;
    for part in ["<b class=up>up</b> for ", ", 3 samples", ">1 stored<"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(endpoint.requests().len(), 1);
    let appended = |scraped: &Scraped| {
        let page = scraped.get("/metrics").body;
        let line = page
            .lines()
            .find(|line| line.starts_with("prometheus_agent_samples_appended_total{type=\"float\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).expect("a number")
    };
    assert!(appended(&scraped) >= 8.0, "three samples and the report: {}", appended(&scraped));

    // A second press while the target hangs.
    hangs.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let first = scope.spawn(|| press(&scraped, &form, &own));
        wait_until("it is asked", || endpoint.requests().len() == 2 || first.is_finished());
        // A press that is not taken is answered at once.
        assert!(!first.is_finished(), "{:?}", first.join());
        let second = press(&scraped, &form, &own);
        assert_eq!(second.status, 409, "{second:?}");
        assert!(second.body.starts_with("this target is being scraped already, for "), "{second:?}");
        let first = first.join().expect("an answer");
        assert_eq!(first.status, 303, "{first:?}");
    });
    let page = scraped.get(location).body;
    assert!(page.contains("<b class=down>down</b> for ") && page.contains("deadline exceeded"), "{page}");
    assert_eq!(endpoint.requests().len(), 2);
    assert!(scraped.stop().success());
}
