//! An API server of the tests' own: lists in pages, watches, versions, selectors of fields and labels.
//!
//! Objects are JSON as a real server prints it, from `tests/data/discovery/kubernetes`. What it answers can be replaced
//! by anything, for a time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::{Sender, unbounded};
use serde_json::{Value, json};

use crate::tls::endpoint::{Endpoint, Reply, Request, reply};
use crate::wait_until;

/// The node that this machine is: as the kubelet has it, unless the environment says otherwise.
pub fn own_node() -> String {
    let told = ["NODE_NAME", "KUBERNETES_NODE_NAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = || fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_lowercase();
    told.unwrap_or_else(host)
}

/// A file of `tests/data/discovery/kubernetes`; `OWN_NODE` in it is this machine.
pub fn data(name: &str) -> String {
    let dir = crate::data("discovery/kubernetes");
    let text = fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.replace("OWN_NODE", &own_node())
}

/// Objects of a file, each a list.
pub fn objects(name: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&data(name)).expect("JSON");
    list["items"].as_array().expect("items").clone()
}

type Answering = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// One that runs.
pub struct ApiServer {
    /// Where it listens.
    pub endpoint: Endpoint,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// `pods/ns/name` → object.
    objects: BTreeMap<String, Value>,
    watches: Vec<Watch>,
    instead: Option<Arc<Answering>>,
    page_objects: usize,
}

struct Watch {
    query: Query,
    lines: Sender<Vec<u8>>,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// `pods`, `nodes` and so on.
    pub resource: String,
    /// `None` for all of them.
    pub namespace: Option<String>,
    /// Behind the question mark, decoded.
    pub parameters: BTreeMap<String, String>,
}

const APIS: [&str; 5] = [
    "/api/v1/",
    "/apis/apps/v1/",
    "/apis/batch/v1/",
    "/apis/discovery.k8s.io/v1/",
    "/apis/networking.k8s.io/v1/",
];

impl Query {
    fn parse(request: &Request) -> Option<Self> {
        let target = request.head.split(' ').nth(1)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let rest = APIS.iter().find_map(|it| path.strip_prefix(it))?;
        let (namespace, resource) = match rest.strip_prefix("namespaces/") {
            None => (None, rest),
            Some(rest) => rest.split_once('/').map(|(namespace, it)| (Some(namespace.to_owned()), it))?,
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let parameters = pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        Some(Self { resource: resource.to_owned(), namespace, parameters })
    }

    fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    fn is_watch(&self) -> bool {
        matches!(self.get("watch"), "1" | "true")
    }

    fn matches(&self, key: &str, object: &Value) -> bool {
        let is_in = |namespace: &String| object["metadata"]["namespace"] == namespace.as_str();
        let fields = self.get("fieldSelector").split(',').filter(|term| !term.is_empty());
        let labels = self.get("labelSelector").split(',').filter(|term| !term.is_empty());
        key.starts_with(&format!("{}/", self.resource))
            && self.namespace.as_ref().is_none_or(is_in)
            && fields.into_iter().all(|term| {
                let (field, value) = term.split_once('=').expect("a simple selector");
                field.split('.').fold(object, |object, name| &object[name]) == value
            })
            && labels.into_iter().all(|term| {
                let (label, value) = term.split_once('=').expect("a simple selector");
                object["metadata"]["labels"][label] == value
            })
    }
}

fn decoded(text: &str) -> String {
    text.replace('+', " ").replace("%3D", "=").replace("%2C", ",").replace("%2F", "/")
}

fn key_of(resource: &str, object: &Value) -> String {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    format!("{resource}/{}/{}", text("namespace"), text("name"))
}

impl ApiServer {
    /// With these objects: resource → items.
    pub fn start(objects: &[(&str, Vec<Value>)]) -> Self {
        let state =
            Arc::new(Mutex::new(State { version: 1000, page_objects: usize::MAX, ..State::default() }));
        let answering = Arc::clone(&state);
        let server = Self { endpoint: Endpoint::plain(move |request| answer(&answering, request)), state };
        for (resource, items) in objects {
            items.iter().for_each(|object| server.put(resource, object.clone()));
        }
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// A job that watches it; `settings` are further fields, in flow style.
    pub fn job(&self, settings: &str) -> String {
        let server = self.endpoint.at("127.0.0.1");
        format!("- job_name: k\n  kubernetes_sd_configs: [{{api_server: 'http://{server}', {settings}}}]\n")
    }

    /// Adds or changes an object and tells those who watch.
    pub fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let key = key_of(resource, &object);
        let before = state.objects.insert(key.clone(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.tell(&key, kind, &object);
    }

    /// Removes an object and tells those who watch.
    pub fn remove(&self, resource: &str, object: &Value) {
        let mut state = self.state();
        state.version += 1;
        let key = key_of(resource, object);
        let mut object = state.objects.remove(&key).expect("an object");
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.tell(&key, "DELETED", &object);
    }

    /// Removes an object while nobody looks.
    pub fn lose(&self, resource: &str, object: &Value) {
        let mut state = self.state();
        state.version += 1;
        state.objects.remove(&key_of(resource, object)).expect("an object");
    }

    /// Lists come in pages of so many.
    pub fn page_by(&self, n_objects: usize) {
        self.state().page_objects = n_objects;
    }

    /// Sends bytes to all who watch.
    pub fn say(&self, bytes: &str) {
        self.state().watches.iter().for_each(|watch| drop(watch.lines.send(chunk(bytes))));
    }

    /// Ends all watches, as a server does after `timeoutSeconds`.
    pub fn end_watches(&self) {
        for watch in self.state().watches.drain(..) {
            let _ = watch.lines.send(b"0\r\n\r\n".to_vec());
        }
    }

    /// Ends all watches in the middle.
    pub fn break_watches(&self) {
        self.state().watches.clear();
    }

    /// Waits until so many watch.
    pub fn wait_for_watches(&self, n: usize) {
        wait_until("watches", || {
            let mut state = self.state();
            state.watches.retain(|watch| watch.lines.send(Vec::new()).is_ok());
            state.watches.len() >= n
        });
    }

    /// Answers otherwise where `instead` has something to say.
    pub fn instead(&self, instead: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        self.state().instead = Some(Arc::new(instead));
    }

    /// Answers as it should.
    pub fn heal(&self) {
        self.state().instead = None;
    }

    /// Paths with queries so far.
    pub fn asked(&self) -> Vec<String> {
        let requests = self.endpoint.requests();
        requests.iter().filter_map(|request| Some(request.head.split(' ').nth(1)?.to_owned())).collect()
    }

    /// What was asked so far, lists and watches apart.
    pub fn queries(&self, of: Asked) -> Vec<Query> {
        let queries = self.endpoint.requests().into_iter().filter_map(|request| Query::parse(&request));
        queries.filter(|query| query.is_watch() == (of == Asked::Watches)).collect()
    }
}

/// What [`ApiServer::queries`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Lists alone.
    Lists,
    /// Watches alone.
    Watches,
}

impl State {
    fn tell(&self, key: &str, kind: &str, object: &Value) {
        for watch in self.watches.iter().filter(|watch| watch.query.matches(key, object)) {
            let line = event_of(kind, &watch.query.resource, object);
            let _ = watch.lines.send(chunk(&line));
        }
    }
}

/// A line of a watch: unlike the items of a list, its object says what it is.
fn event_of(kind: &str, resource: &str, object: &Value) -> String {
    let mut object = object.clone();
    let (version, list_kind) = kind_of(resource);
    object["apiVersion"] = json!(version);
    object["kind"] = json!(list_kind.strip_suffix("List"));
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// Version and kind of a list.
fn kind_of(resource: &str) -> (&'static str, &'static str) {
    match resource {
        "pods" => ("v1", "PodList"),
        "nodes" => ("v1", "NodeList"),
        "namespaces" => ("v1", "NamespaceList"),
        "replicasets" => ("apps/v1", "ReplicaSetList"),
        "jobs" => ("batch/v1", "JobList"),
        "services" => ("v1", "ServiceList"),
        "endpoints" => ("v1", "EndpointsList"),
        "endpointslices" => ("discovery.k8s.io/v1", "EndpointSliceList"),
        "ingresses" => ("networking.k8s.io/v1", "IngressList"),
        other => panic!("{other}"),
    }
}

/// One chunk of a chunked body; nothing is left out, since that would be its end.
fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn answer(state: &Mutex<State>, request: &Request) -> Reply {
    let instead = state.lock().expect("not poisoned").instead.clone();
    if let Some(reply) = instead.and_then(|instead| instead(request)) {
        return reply;
    }
    let Some(query) = Query::parse(request) else { return reply(404, "", "404 page not found") };
    if query.get("sendInitialEvents") == "true" {
        // Newer clients ask for this first, and know that there are servers that do not have it.
        return status(422, "sendInitialEvents is forbidden for watch");
    }
    let mut state = state.lock().expect("not poisoned");
    if query.is_watch() {
        let (lines, feed) = unbounded();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = lines.send(head.as_bytes().to_vec());
        let since: u64 = query.get("resourceVersion").parse().expect("a version");
        for (key, object) in &state.objects {
            let version =
                object["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse::<u64>().ok());
            if version.is_some_and(|version| version > since) && query.matches(key, object) {
                let line = event_of("MODIFIED", &query.resource, object);
                let _ = lines.send(chunk(&line));
            }
        }
        state.watches.push(Watch { query, lines });
        return Reply::Feed(feed);
    }
    let from: usize = query.get("continue").parse().unwrap_or(0);
    let all: Vec<&Value> =
        state.objects.iter().filter(|(key, object)| query.matches(key, object)).map(|(_, it)| it).collect();
    let page: Vec<&&Value> = all.iter().skip(from).take(state.page_objects).collect();
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if from + page.len() < all.len() {
        metadata["continue"] = json!((from + page.len()).to_string());
        metadata["remainingItemCount"] = json!(all.len() - from - page.len());
    }
    let (version, kind) = kind_of(&query.resource);
    let list = json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": page});
    reply(200, "Content-Type: application/json\r\n", &list.to_string())
}

/// A `Status`, as a server says no.
pub fn status(code: u16, message: &str) -> Reply {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                      "message": message, "reason": "Whatever", "code": code});
    reply(code, "Content-Type: application/json\r\n", &body.to_string())
}
