//! Chromium without a window, driven by its DevTools protocol over a pair of pipes: what a page shows, what is pressed and
//! typed, what it complains of and whom it asks.
//!
//! Only what a page does itself counts: a browser has conversations of its own, which are nobody's business here.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};
use support::PATIENCE;
use tempfile::TempDir;

/// The protocol goes over descriptors 3 and 4.
const WITH_PIPES: &str = "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null";

const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-pipe",
];

/// How a page is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) name: &'static str,
    pub(super) width: u32,
    height: u32,
    is_phone: bool,
    is_dark: bool,
}

pub(super) const WIDE: Look =
    Look { name: "wide", width: 1400, height: 1000, is_phone: false, is_dark: false };
pub(super) const PHONE: Look =
    Look { name: "phone", width: 390, height: 844, is_phone: true, is_dark: false };
pub(super) const DARK: Look = Look { name: "dark", is_dark: true, ..WIDE };

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    n_commands: u64,
    session: String,
    /// What the page has complained of since it was opened.
    complaints: Vec<String>,
    /// The URLs that it has asked for since it was opened.
    asked: Vec<String>,
    n_loads: usize,
    _profile: TempDir,
}

impl Browser {
    /// `None` if it is not installed.
    pub(super) fn find() -> Option<Self> {
        let is_there = Command::new("chromium").arg("--version").output().is_ok_and(|it| it.status.success());
        if !is_there {
            println!("chromium is not installed: no page was looked at in a browser");
            return None;
        }
        let profile = TempDir::with_prefix("scraped-test-").expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", WITH_PIPES, "sh"])
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("piped");
        let replies = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = unbounded();
        let reading = move || {
            for message in replies.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("devtools".to_owned()).spawn(reading).expect("a thread");
        let mut browser = Self {
            child,
            commands,
            messages,
            n_commands: 0,
            session: String::new(),
            complaints: Vec::new(),
            asked: Vec::new(),
            n_loads: 0,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attached);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a page and waits until all of it is there.
    pub(super) fn open(&mut self, url: &str) {
        assert_eq!(self.try_open(url), None, "{url}");
    }

    /// The same; gives the reason if there is no page.
    pub(super) fn try_open(&mut self, url: &str) -> Option<String> {
        self.complaints.clear();
        self.asked.clear();
        let n_before = self.n_loads;
        let answer = self.call("Page.navigate", json!({"url": url}));
        // The browser shows a page of its own then.
        self.wait_for_load(n_before);
        answer["errorText"].as_str().map(str::to_owned)
    }

    /// From now on certificates of unknown authorities are good.
    pub(super) fn trust_everyone(&mut self) {
        self.call("Security.setIgnoreCertificateErrors", json!({"ignore": true}));
    }

    /// Sets the size of the window and the colours that the user likes.
    pub(super) fn look(&mut self, look: Look) {
        let size = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.is_phone});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if look.is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// What an expression is.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The page as it stands, with what a script has made of it.
    pub(super) fn html(&mut self) -> String {
        self.evaluate("document.documentElement.outerHTML").as_str().expect("text").to_owned()
    }

    /// What a person reads.
    pub(super) fn text(&mut self) -> String {
        self.evaluate("document.body.innerText").as_str().expect("text").to_owned()
    }

    /// Presses the mouse on an element that leads to another page, and waits for that.
    pub(super) fn press(&mut self, selector: &str) {
        let n_before = self.n_loads;
        let found = format!(
            "(() => {{ const it = document.querySelector({}); it.scrollIntoView({{block: 'center'}}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2] }})()",
            json!(selector)
        );
        let place = self.evaluate(&found);
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
        self.wait_for_load(n_before);
    }

    /// Types into a field.
    pub(super) fn type_into(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({}).focus()", json!(selector)));
        self.call("Input.insertText", json!({"text": text}));
    }

    /// The whole page as a picture, as PNG.
    pub(super) fn picture(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64")
    }

    /// What the page has complained of since it was opened: errors of scripts, what could not be loaded or is not allowed.
    pub(super) fn complaints(&mut self) -> &[String] {
        // All that came before its answer has been read.
        self.evaluate("0");
        &self.complaints
    }

    /// The URLs that the page has asked for since it was opened.
    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }

    fn wait_for_load(&mut self, n_before: usize) {
        while self.n_loads == n_before {
            let message = self.messages.recv_timeout(PATIENCE).expect("the page loads");
            self.note(&message);
        }
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.n_commands += 1;
        let mut command = json!({"id": self.n_commands, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser listens");
        loop {
            let mut message = self.messages.recv_timeout(PATIENCE).expect("the browser answers");
            if message["id"] == json!(self.n_commands) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => self.n_loads += 1,
            "Network.requestWillBeSent" => {
                self.asked.push(parameters["request"]["url"].as_str().expect("a URL").to_owned());
            }
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => {
                self.complaints.push(parameters.to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
