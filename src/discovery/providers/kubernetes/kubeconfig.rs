//! Kubeconfig files (client-go's `tools/clientcmd`): the server and the user of the current context.
//!
//! Read as a whole each time. What would need a program to be started is refused.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::client::http_client::{Auth, HttpClientConfig};
use crate::config::client::proxy::{ProxyChoice, ProxyConfig, SCHEMES};
use crate::config::client::secret::{Secret, SecretUrl, Source};
use crate::config::client::tls::{Identity, TlsConfig};
use crate::config::text::node::{Node, Scalar, Value};
use crate::config::text::yaml::parse_bytes;
use crate::discovery::providers::kubernetes::api_server::{ApiServer, server_url};
use crate::http::address::url::Url;

/// One has some KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Ways to say who we are that are not taken.
const REFUSED: [(&str, &str); 3] = [
    ("exec", "no program is run for credentials; use a token, tokenFile or a client certificate"),
    ("auth-provider", "it was removed from Kubernetes; use a token, tokenFile or a client certificate"),
    ("as", "users are not impersonated; use credentials of that user"),
];

/// The server of the current context in the file `path`.
///
/// # Errors
/// A sentence without the path: why it cannot be read, or what is missing in it. Never shows a secret.
pub(in crate::discovery::providers::kubernetes) fn read(path: &Path) -> Result<ApiServer, String> {
    let document = parse_bytes(&read_bytes(path)?).map_err(|error| error.to_string())?;
    let file = Item { node: &document, dir: path.parent().unwrap_or(Path::new("")) };
    let current = file.text("current-context").ok_or("it has no current-context")?;
    let context = file.named("contexts", "context", current)?;
    let cluster_name =
        context.text("cluster").ok_or_else(|| format!("context {current:?} has no cluster"))?;
    let cluster = file.named("clusters", "cluster", cluster_name)?;
    let server = cluster.text("server").ok_or_else(|| format!("cluster {cluster_name:?} has no server"))?;
    let (mut tls, proxy) = (cluster_tls(cluster)?, cluster_proxy(cluster)?);
    let mut auth = None;
    if let Some(name) = context.text("user") {
        let user = file.named("users", "user", name)?;
        for (key, sentence) in REFUSED {
            if user.get(key).is_some() {
                return Err(format!("user {name:?} has {key:?}: {sentence}"));
            }
        }
        tls.identity = identity(user)?;
        auth = user_auth(user);
    }
    // A host alone is asked by TLS if there is anything about it.
    let scheme = if tls == TlsConfig::default() { "http" } else { "https" };
    let url = server_url(server, scheme).map_err(|sentence| format!("server: {sentence}"))?;
    Ok(ApiServer {
        url,
        client: Arc::new(HttpClientConfig { auth, tls, proxy, ..HttpClientConfig::default() }),
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        // To open a pipe may take for ever.
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is too large for a kubeconfig file (limit: {MAX_FILE_BYTES} bytes)"));
    }
    Ok(bytes)
}

fn cluster_tls(cluster: Item<'_>) -> Result<TlsConfig, String> {
    Ok(TlsConfig {
        ca: cluster.data_or_file("certificate-authority-data", "certificate-authority")?,
        server_name: cluster.text("tls-server-name").unwrap_or_default().to_owned(),
        insecure_skip_verify: cluster.flag("insecure-skip-tls-verify").unwrap_or(false),
        ..TlsConfig::default()
    })
}

fn cluster_proxy(cluster: Item<'_>) -> Result<ProxyConfig, String> {
    let choice = match cluster.text("proxy-url") {
        None => ProxyChoice::Environment,
        Some(url) => {
            let parsed = Url::parse(url).ok().filter(|url| SCHEMES.contains(&url.scheme.as_str()));
            let shown = parsed.ok_or("proxy-url is not the URL of a proxy")?.to_string();
            ProxyChoice::Url(SecretUrl { full: Secret::new(url), shown })
        }
    };
    Ok(ProxyConfig { choice, ..ProxyConfig::default() })
}

fn identity(user: Item<'_>) -> Result<Option<Identity>, String> {
    let cert = user.data_or_file("client-certificate-data", "client-certificate")?;
    let key = user.data_or_file("client-key-data", "client-key")?;
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
        (Some(_), None) => Err("client-certificate has no client-key beside it".to_owned()),
        (None, Some(_)) => Err("client-key has no client-certificate beside it".to_owned()),
    }
}

fn user_auth(user: Item<'_>) -> Option<Auth> {
    if let Some(token) = user.file("tokenFile").or_else(|| user.inline("token")) {
        return Some(Auth::Credentials { kind: "Bearer".to_owned(), credentials: Some(token) });
    }
    let (username, password) = (user.inline("username"), user.inline("password"));
    (username.is_some() || password.is_some()).then_some(Auth::Basic { username, password })
}

/// A value in a kubeconfig file, and the directory that its paths are taken from.
#[derive(Clone, Copy)]
struct Item<'a> {
    node: &'a Node,
    dir: &'a Path,
}

impl<'a> Item<'a> {
    /// The value of a key that says something.
    fn get(self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        (entry.node.value != Value::Null).then_some(Self { node: &entry.node, ..self })
    }

    fn text(self, key: &str) -> Option<&'a str> {
        match &self.get(key)?.node.value {
            Value::Scalar(Scalar { text, .. }) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn flag(self, key: &str) -> Option<bool> {
        if let Value::Scalar(scalar) = &self.get(key)?.node.value { scalar.as_bool() } else { None }
    }

    fn inline(self, key: &str) -> Option<Source> {
        self.text(key).map(|text| Source::Inline(Secret::new(text)))
    }

    fn file(self, key: &str) -> Option<Source> {
        self.text(key).map(|path| Source::File(self.dir.join(path)))
    }

    /// Inline and in base64, which counts more, or in a file.
    fn data_or_file(self, data: &str, file: &str) -> Result<Option<Source>, String> {
        let Some(encoded) = self.text(data) else { return Ok(self.file(file)) };
        let packed: String = encoded.split_ascii_whitespace().collect();
        let decoded = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pem = decoded.ok_or_else(|| format!("{data} is not PEM in base64"))?;
        Ok(Some(Source::Inline(Secret::new(pem))))
    }

    /// The entry `name` of a list of named things.
    fn named(self, list: &str, kind: &str, name: &str) -> Result<Self, String> {
        let items = match self.get(list).map(|list| &list.node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        let mut items = items.iter().map(|node| Self { node, ..self });
        let item = items.find(|item| item.text("name") == Some(name));
        item.and_then(|item| item.get(kind)).ok_or_else(|| format!("it has no {kind} {name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K3S: &str = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Y2E=
    server: https://127.0.0.1:6443
  name: default
- cluster: {server: 'https://other', insecure-skip-tls-verify: true, tls-server-name: kube, proxy-url: 'socks5://p:1'}
  name: other
contexts:
- context: {cluster: default, user: default}
  name: default
- context: {cluster: other, user: token}
  name: other
- context: {cluster: default, user: exec}
  name: exec
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
- name: token
  user: {tokenFile: secrets/token, token: hunter2}
- name: exec
  user: {exec: {command: aws}}
";

    fn read_text(content: &str) -> Result<ApiServer, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("k3s.yaml");
        fs::write(&path, content).expect("writable");
        let directory = format!("{}/", dir.path().display());
        let server = read(&path).map_err(|sentence| sentence.replace(&directory, ""))?;
        assert!(!format!("{server:?}").contains("hunter2"));
        Ok(server)
    }

    #[test]
    fn the_file_that_k3s_writes() {
        let server = read_text(K3S).expect("a server");
        assert_eq!(server.url.to_string(), "https://127.0.0.1:6443");
        let inline = |text: &str| Source::Inline(Secret::new(text));
        assert_eq!(server.client.tls.ca, Some(inline("ca")));
        assert_eq!(server.client.tls.identity, Some(Identity { cert: inline("cert"), key: inline("key") }));
        assert_eq!((&server.client.auth, server.client.tls.insecure_skip_verify), (&None, false));
    }

    #[test]
    fn other_users_and_clusters() {
        let server =
            read_text(&K3S.replace("current-context: default", "current-context: other")).expect("good");
        assert_eq!(server.client.tls.server_name, "kube");
        assert!(server.client.tls.insecure_skip_verify);
        assert!(matches!(&server.client.proxy.choice, ProxyChoice::Url(url) if url.shown == "socks5://p:1"));
        match &server.client.auth {
            Some(Auth::Credentials { kind, credentials: Some(Source::File(path)) }) => {
                assert!(kind == "Bearer" && path.ends_with("secrets/token"), "{path:?}");
            }
            other => panic!("{other:?}"),
        }
        let basic = K3S
            .replace("client-certificate-data: Y2VydA==", "username: u")
            .replace("client-key-data: a2V5", "password: hunter2");
        assert!(matches!(read_text(&basic).expect("good").client.auth, Some(Auth::Basic { .. })));
    }

    #[test]
    fn what_cannot_be_used_has_a_sentence() {
        let check = |content: &str, want: &str| match read_text(content) {
            Ok(server) => panic!("{server:?}"),
            Err(sentence) => assert_eq!(sentence, want),
        };
        check("", "it has no current-context");
        check("[", "line 2: not valid YAML: did not find expected node content");
        check(&K3S.replace("current-context: default", "current-context: x"), "it has no context \"x\"");
        check(&K3S.replace("name: default\n  user:", "name: no\n  user:"), "it has no user \"default\"");
        check(&K3S.replace("a2V5", "a%"), "client-key-data is not PEM in base64");
        check(
            &K3S.replace("    client-key-data: a2V5\n", ""),
            "client-certificate has no client-key beside it",
        );
        check(&K3S.replace("https://127.0.0.1:6443", "https://"), "server: \"https://\" names no host");
        check(
            &K3S.replace("current-context: default", "current-context: exec"),
            "user \"exec\" has \"exec\": no program is run for credentials; use a token, tokenFile or a client \
             certificate",
        );
        assert_eq!(read(Path::new("/")).expect_err("no file"), "not a regular file");
    }
}
