//! Tokens of Microsoft Entra ID: by a secret or a workload's token as OAuth 2 has it, or by the machine's own identity.
//!
//! After `azidentity` of Azure's SDK for Go: who gives tokens to a machine is said by its environment.

use std::env;
use std::sync::Arc;
use std::time::Instant;

use crate::config::client::azuread::{AzureAdConfig, AzureIdentity};
use crate::config::client::http_client::HttpClientConfig;
use crate::config::client::oauth2::{Grant, OAuth2Config};
use crate::config::client::proxy::{ProxyChoice, ProxyConfig};
use crate::config::client::secret::{SecretUrl, Source};
use crate::http::address::escape::escape;
use crate::http::address::url::Url;
use crate::http::auth::oauth2::{TOKEN_TIMEOUT, query_escaped};
use crate::http::auth::once::{AskOnce, Once};
use crate::http::auth::token_answer::{TokenAnswer, read_answer};
use crate::http::error::Method;

/// Where a virtual machine asks.
const MACHINE_URL: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// What of a scope is not the resource.
const SCOPE_END: &str = "/.default";

/// The same as a client of OAuth 2; `None`: it is none.
pub(in crate::http) fn oauth2_of(config: &AzureAdConfig) -> Option<OAuth2Config> {
    let (client_id, tenant_id, grant) = match &config.identity {
        AzureIdentity::Managed { .. } => return None,
        AzureIdentity::Secret { client_id, client_secret, tenant_id } => {
            let secret = Some(Source::Inline(client_secret.clone()));
            (client_id, tenant_id, Grant::ClientCredentials { typed: String::new(), secret })
        }
        AzureIdentity::Workload { client_id, tenant_id, token_file } => {
            let assertion = Source::File(token_file.clone());
            (client_id, tenant_id, Grant::ClientAssertion { assertion })
        }
    };
    let mut url = format!("{}/", config.cloud.authority());
    escape(&mut url, tenant_id.as_bytes(), |_| false);
    url.push_str("/oauth2/v2.0/token");
    let proxy = ProxyConfig { choice: ProxyChoice::Environment, ..ProxyConfig::default() };
    Some(OAuth2Config {
        client_id: client_id.clone(),
        grant,
        scopes: vec![config.scope().to_owned()],
        token_url: SecretUrl::new(url),
        endpoint_params: Vec::new(),
        client: Arc::new(HttpClientConfig { proxy, ..HttpClientConfig::default() }),
    })
}

/// The identity of the machine that this runs on.
#[derive(Debug)]
pub(in crate::http) struct ManagedIdentity {
    /// Of an assigned one; empty: the system's.
    client_id: String,
    resource: String,
    ask_once: AskOnce,
}

impl ManagedIdentity {
    pub(in crate::http) fn new(config: &AzureAdConfig, ask_once: AskOnce) -> Self {
        let client_id = match &config.identity {
            AzureIdentity::Managed { client_id } => client_id.clone(),
            AzureIdentity::Workload { .. } | AzureIdentity::Secret { .. } => String::new(),
        };
        let scope = config.scope();
        let resource = scope.strip_suffix(SCOPE_END).unwrap_or(scope).to_owned();
        Self { client_id, resource, ask_once }
    }

    /// Asks for a token.
    pub(in crate::http) fn fetch(&self) -> Result<TokenAnswer, String> {
        let env = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let (endpoint, key) = (env("IDENTITY_ENDPOINT"), env("IDENTITY_HEADER"));
        let (base, version, header) = match (&endpoint, &key) {
            // App Service, container apps.
            (Some(endpoint), Some(key)) => {
                (endpoint.as_str(), "2019-08-01", ("X-IDENTITY-HEADER", key.as_str()))
            }
            _ => (MACHINE_URL, "2018-02-01", ("Metadata", "true")),
        };
        let mut url = format!("{base}?api-version={version}&resource={}", query_escaped(&self.resource));
        if !self.client_id.is_empty() {
            url.push_str(&format!("&client_id={}", query_escaped(&self.client_id)));
        }
        let failed = |cause: String| format!("Failed to get access token: managed identity: {cause}");
        let answer = (self.ask_once)(Once {
            method: Method::Get,
            url: Url::parse(&url).map_err(failed)?,
            headers: &[header],
            body: &[],
            config: &Arc::default(),
            deadline: Instant::now() + TOKEN_TIMEOUT,
        });
        answer.and_then(|answer| read_answer(&answer)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::client::azuread::AzureCloud;
    use crate::config::client::secret::Secret;

    #[test]
    fn clouds_have_places_and_scopes_of_their_own() {
        let config = |cloud, scope: &str| AzureAdConfig {
            identity: AzureIdentity::Secret {
                client_id: "c".to_owned(),
                client_secret: Secret::new("s"),
                tenant_id: "a/b.example".to_owned(),
            },
            cloud,
            scope: scope.to_owned(),
        };
        for (cloud, url, scope) in [
            (
                AzureCloud::Public,
                "https://login.microsoftonline.com/a%2Fb.example/oauth2/v2.0/token",
                "https://monitor.azure.com//.default",
            ),
            (
                AzureCloud::Government,
                "https://login.microsoftonline.us/a%2Fb.example/oauth2/v2.0/token",
                "https://monitor.azure.us//.default",
            ),
            (
                AzureCloud::China,
                "https://login.chinacloudapi.cn/a%2Fb.example/oauth2/v2.0/token",
                "https://monitor.azure.cn//.default",
            ),
        ] {
            let oauth2 = oauth2_of(&config(cloud, "")).expect("OAuth 2");
            assert_eq!((oauth2.token_url.shown.as_str(), oauth2.scopes[0].as_str()), (url, scope));
            let identity = ManagedIdentity::new(&config(cloud, ""), |_| Err("not asked".to_owned()));
            assert_eq!(Some(identity.resource.as_str()), scope.strip_suffix("/.default"));
        }
        assert_eq!(oauth2_of(&config(AzureCloud::China, "x")).expect("OAuth 2").scopes, ["x"]);
    }
}
