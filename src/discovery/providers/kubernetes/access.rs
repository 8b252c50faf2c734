//! Where the API server is and how it is reached: as the configuration says, as a kubeconfig file says, or as every pod
//! of a cluster is told.
//!
//! Looked at before each request, so that files that change are followed. Opens no connection.

use crate::discovery::providers::kubernetes::api_server::{ApiServer, server_url};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::client::http_client::{Auth, HttpClientConfig};
use crate::config::client::proxy::{ProxyChoice, ProxyConfig};
use crate::config::client::secret::{SecretUrl, Source};
use crate::config::client::tls::TlsConfig;
use crate::config::discovery::kubernetes::KubernetesSdConfig;
use crate::discovery::lists::target_labels::host_port_text;
use crate::discovery::providers::kubernetes::kubeconfig;

/// What a cluster mounts into each pod (client-go's `rest.InClusterConfig`).
const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Who says where the API server is.
#[derive(Clone, Debug)]
pub(in crate::discovery::providers::kubernetes) enum Access {
    /// `api_server` with the HTTP client's settings.
    Given(SecretUrl, Arc<HttpClientConfig>),
    /// `kubeconfig_file`.
    Kubeconfig(PathBuf),
    /// The cluster that this runs in.
    InCluster,
}

impl Access {
    /// The one that is configured.
    pub(in crate::discovery::providers::kubernetes) fn of(config: &KubernetesSdConfig) -> Self {
        match (&config.api_server, &config.kubeconfig_file) {
            (Some(url), _) => Self::Given(url.clone(), Arc::clone(&config.client)),
            (None, Some(path)) => Self::Kubeconfig(path.clone()),
            (None, None) => Self::InCluster,
        }
    }

    /// The server as it is to be reached now.
    ///
    /// # Errors
    /// A sentence: a file that cannot be used, or no cluster around us.
    pub(in crate::discovery::providers::kubernetes) fn api_server(&self) -> Result<ApiServer, String> {
        match self {
            Self::Given(url, client) => {
                let url = server_url(url.full.expose(), "http")
                    .map_err(|sentence| format!("api_server: {sentence}"))?;
                Ok(ApiServer { url, client: Arc::clone(client) })
            }
            Self::Kubeconfig(path) => {
                kubeconfig::read(path).map_err(|sentence| format!("{}: {sentence}", path.display()))
            }
            Self::InCluster => in_cluster(|name| env::var(name).ok(), Path::new(SERVICE_ACCOUNT_DIR)),
        }
    }

    /// The namespace that we run in.
    ///
    /// # Errors
    /// A sentence: the file is not there, or empty.
    pub(in crate::discovery::providers::kubernetes) fn own_namespace() -> Result<String, String> {
        let path = Path::new(SERVICE_ACCOUNT_DIR).join("namespace");
        let name = std::fs::read_to_string(&path).map_err(|error| {
            format!("could not determine the pod's namespace: {}: {error}", path.display())
        })?;
        match name.trim() {
            "" => Err(format!("could not read own namespace name (empty file {})", path.display())),
            name => Ok(name.to_owned()),
        }
    }
}

fn in_cluster(env: impl Fn(&str) -> Option<String>, dir: &Path) -> Result<ApiServer, String> {
    let value = |name: &str| env(name).filter(|value| !value.is_empty());
    let address = value("KUBERNETES_SERVICE_HOST").zip(value("KUBERNETES_SERVICE_PORT"));
    let (host, port) = address.ok_or(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be \
         defined; outside of a cluster give kubeconfig_file or api_server",
    )?;
    let url = server_url(&host_port_text(&host, &port), "https")
        .map_err(|sentence| format!("{host:?} and {port:?} are no address of an API server: {sentence}"))?;
    let token = dir.join("token");
    if !token.exists() {
        return Err(format!(
            "{} is not there; the pod needs a service account with a token",
            token.display()
        ));
    }
    let ca = dir.join("ca.crt");
    let client = HttpClientConfig {
        auth: Some(Auth::Credentials { kind: "Bearer".to_owned(), credentials: Some(Source::File(token)) }),
        tls: TlsConfig { ca: ca.exists().then_some(Source::File(ca)), ..TlsConfig::default() },
        proxy: ProxyConfig { choice: ProxyChoice::Environment, ..ProxyConfig::default() },
        ..HttpClientConfig::default()
    };
    Ok(ApiServer { url, client: Arc::new(client) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn servers_are_urls_or_hosts() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(server_url(text, "https").ok().map(|url| url.to_string()).as_deref(), want, "{text}");
        };
        check("https://10.0.0.1:6443/", Some("https://10.0.0.1:6443"));
        check("http://box/k8s/clusters/c-1/?a#b", Some("http://box/k8s/clusters/c-1"));
        check("kubernetes:443", Some("https://kubernetes:443"));
        check("[::1]:443", Some("https://[::1]:443"));
        check("", None);
        check("https://", None);
    }

    #[test]
    fn pods_are_told_where_their_cluster_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let env = |name: &str| Some(if name.ends_with("HOST") { "fd00::1" } else { "443" }.to_owned());
        let error = in_cluster(env, dir.path()).expect_err("no token");
        assert!(
            error.ends_with("token is not there; the pod needs a service account with a token"),
            "{error}"
        );
        fs::write(dir.path().join("token"), "abc").expect("writable");
        let server = in_cluster(env, dir.path()).expect("a server");
        assert_eq!(server.url.to_string(), "https://[fd00::1]:443");
        assert_eq!(server.client.tls.ca, None);
        fs::write(dir.path().join("ca.crt"), "pem").expect("writable");
        let server = in_cluster(env, dir.path()).expect("a server");
        assert_eq!(server.client.tls.ca, Some(Source::File(dir.path().join("ca.crt"))));
        let error = in_cluster(|_| None, dir.path()).expect_err("no cluster");
        assert!(
            error.starts_with("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and"),
            "{error}"
        );
    }
}
