//! Targets whose names only the link knows: `.local`, answered by a neighbour.

use support::api::{Active, active};
use support::discovery::mdns::{Neighbour, Responder, link};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

fn neighbour(address: [u8; 4]) -> Neighbour {
    Neighbour {
        service: "_prometheus-http._tcp",
        instance: "attic",
        host: "Attic.local",
        address: address.into(),
        port: 9100,
        texts: &[],
        ttl: 120,
        is_generous: false,
    }
}

#[test]
fn a_neighbour_is_scraped_by_its_name() {
    let _link = link();
    let responder = Responder::start(None);
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let address = targets.address();
    let port = address.rsplit(':').next().expect("a port");
    let config = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s}}\nscrape_configs:\n\
         - {{job_name: by_name, static_configs: [{{targets: ['attic.local:{port}']}}]}}\n"
    );
    let scraped = Scraped::start(&config);
    let is = |what: &dyn Fn(&Active) -> bool| active(&scraped, "by_name").iter().any(what);
    // By the words of the system's resolver, or by the end of the timeout while that waits for its name server.
    wait_until("nobody knows the name", || is(&|it| it.health == "down"));
    responder.say(Some(neighbour([127, 0, 0, 1])));
    wait_until("the neighbour is there", || is(&|it| it.health == "up"));
    // It moves to where nobody listens: the name leads to where it is now.
    drop(targets);
    responder.say(Some(neighbour([127, 0, 0, 2])));
    wait_until("it is asked where it is now", || is(&|it| it.last_error.contains("127.0.0.2")));
}
