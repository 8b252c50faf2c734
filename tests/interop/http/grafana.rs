//! What Grafana asks of a data source, asked of a box and of a real Prometheus with the same samples: the answers have one shape, or
//! the box refuses with a sentence that Grafana shows or does without.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`).

use super::remote_read::Scene;
use serde_json::Value;
use std::fs;
use support::scraped::{Answer, send};

struct Request {
    method: String,
    path: String,
    parameters: Vec<(String, String)>,
    works: bool,
}

/// Those of `grafana.txt`.
fn requests(scene: &Scene) -> Vec<Request> {
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start_ms, end_ms) = (scene.end_ms - 30_000, scene.end_ms);
    let meant = |value: &str| {
        let value = value.replace("{start}", &seconds(start_ms)).replace("{end}", &seconds(end_ms));
        value.replace("{start_ms}", &start_ms.to_string()).replace("{end_ms}", &end_ms.to_string())
    };
    let text = fs::read_to_string(support::repository().join("tests/data/web/grafana.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let request = |line: &str| {
        let mut parts: Vec<&str> = line.split(" | ").collect();
        let verdict = parts.pop().unwrap();
        assert!(verdict == "works" || verdict.starts_with("refused "), "{line}");
        let (method, path) = parts[0].split_once(' ').unwrap();
        let parameter = |part: &&str| {
            let (name, value) = part.split_once('=').unwrap();
            (name.to_owned(), meant(value))
        };
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            parameters: parts[1..].iter().map(parameter).collect(),
            works: verdict == "works",
        }
    };
    lines.map(request).collect()
}

fn ask(address: &str, request: &Request) -> Answer {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pairs =
        request.parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    let pairs = pairs.collect::<Vec<String>>().join("&");
    let host = format!("Host: {address}\r\n");
    let form = format!("{host}Content-Type: application/x-www-form-urlencoded\r\n");
    let answer = match request.method.as_str() {
        "POST" => send(address, "POST", &request.path, &form, pairs.as_bytes()),
        method => send(address, method, &format!("{}?{pairs}", request.path), &host, b""),
    };
    answer.unwrap_or_else(|| panic!("{address}: no answer to {} {}", request.method, request.path))
}

/// The kinds of JSON in a value; labels and lists by their first member.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let is_free = fields.contains_key("__name__") || fields.values().all(Value::is_array);
            let mut fields: Vec<String> = match is_free {
                // Labels, or a map of names.
                true => fields.values().take(1).map(shape).collect(),
                false => fields.iter().map(|(name, value)| format!("{name}: {}", shape(value))).collect(),
            };
            fields.sort();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(members) => format!("[{}]", members.first().map(shape).unwrap_or_default()),
        Value::String(_) => "text".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

#[test]
fn what_grafana_asks_is_answered_as_by_a_server_or_refused_with_a_sentence() {
    let scene = Scene::play();
    let mut wrong = Vec::new();
    for request in requests(&scene) {
        let Request { method, path, parameters, works } = &request;
        let [theirs, ours] =
            [scene.copy.address(), scene.scraped.address()].map(|address| ask(address, &request));
        let parsed = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
        let (theirs_json, ours_json) = (parsed(&theirs), parsed(&ours));
        let is_right = match works {
            // Metadata is not sent to the copy.
            true if path.ends_with("/metadata") => {
                ours.status == 200 && !ours_json["data"]["requests_total"].is_null()
            }
            true => {
                let is_empty = ours_json["data"].as_array().is_some_and(Vec::is_empty)
                    || ours_json["data"]["result"].as_array().is_some_and(Vec::is_empty);
                (ours.status, shape(&ours_json)) == (theirs.status, shape(&theirs_json)) && !is_empty
            }
            false => ours.status == 422 && ours_json["error"].as_str().is_some_and(|it| !it.is_empty()),
        };
        if !is_right {
            let of = |answer: &Answer| format!("{} {:.300}", answer.status, answer.body);
            wrong.push(format!("{method} {path} {parameters:?}\n  {}\n  {}", of(&theirs), of(&ours)));
        }
    }
    assert!(wrong.is_empty(), "(the server first)\n{}", wrong.join("\n"));
}
