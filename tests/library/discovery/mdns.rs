//! `mdns_sd_configs`: two neighbours on loopback, which come, say little, lie and go.

use support::discovery::Discovery;
use support::discovery::mdns::{Neighbour, Responder, link};

const JOB: &str =
    "- job_name: mdns\n  mdns_sd_configs: [{interfaces: [127.0.0.1], refresh_interval: 200ms, SETTINGS}]\n";

fn attic() -> Neighbour {
    Neighbour {
        service: "_prometheus-http._tcp",
        instance: "Attic sensor",
        host: "Attic.local",
        address: [10, 0, 0, 100].into(),
        port: 9100,
        texts: &["path=/sensor/metrics", "room=attic", "flag"],
        ttl: 120,
        is_generous: true,
    }
}

fn cellar() -> Neighbour {
    Neighbour {
        instance: "cellar",
        host: "cellar.local",
        address: [10, 0, 0, 101].into(),
        port: 9101,
        texts: &[],
        is_generous: false,
        ..attic()
    }
}

const ATTIC: &str = concat!(
    r#"10.0.0.100:9100{__meta_mdns_host="attic.local", __meta_mdns_instance="Attic sensor", __meta_mdns_port="9100", "#,
    r#"__meta_mdns_txt_path="/sensor/metrics", __meta_mdns_txt_room="attic", __metrics_path__="/sensor/metrics", "#,
    r#"__meta_mdns_service="_prometheus-http._tcp"}"#,
);

const CELLAR: &str = concat!(
    r#"10.0.0.101:9101{__meta_mdns_host="cellar.local", __meta_mdns_instance="cellar", __meta_mdns_port="9101", "#,
    r#"__meta_mdns_service="_prometheus-http._tcp"}"#,
);

/// One test: the port of mDNS is there once, and every responder on loopback hears every question.
#[test]
fn neighbours_come_and_go() {
    let _link = link();
    let first = Responder::start(Some(attic()));
    let second = Responder::start(None);
    let discovery = Discovery::start(&JOB.replace(", SETTINGS", ""), &[]);
    discovery.expect(&format!("mdns: {ATTIC}"));
    // A second one, which has to be asked for every record.
    second.say(Some(cellar()));
    discovery.expect(&format!("mdns: {ATTIC} {CELLAR}"));
    // What it said stays good for as long as it said; a record of no duration takes it back.
    first.say(None);
    second.say(Some(Neighbour { port: 9102, ..cellar() }));
    let moved =
        CELLAR.replace("10.0.0.101:9101", "10.0.0.101:9102").replace("port=\"9101\"", "port=\"9102\"");
    discovery.expect(&format!("mdns: {ATTIC} {moved}"));
    first.say(Some(Neighbour { ttl: 0, ..attic() }));
    discovery.expect(&format!("mdns: {moved}"));
    second.say(Some(Neighbour { ttl: 3, ..cellar() }));
    discovery.expect(&format!("mdns: {CELLAR}"));
    first.say(None);
    second.say(None);
    discovery.expect("mdns:");
    // Other services are not looked for.
    first.say(Some(Neighbour { service: "_http._tcp", ..attic() }));
    discovery.reload(&JOB.replace("SETTINGS", "services: [_printer._udp, _http._tcp]"));
    discovery.expect(&format!("mdns: {}", ATTIC.replace("_prometheus-http._tcp", "_http._tcp")));
    discovery.handle.stop();
}
