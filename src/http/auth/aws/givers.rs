//! Who gives keys that are good for a while: the machine's metadata (version 2), the agent of a container, and the service
//! of roles (STS).

use std::env;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scraped_engine::sorting::sort;
use serde_json::Value;

use crate::calendar::days_from_civil;
use crate::config::client::http_client::HttpClientConfig;
use crate::config::client::proxy::{ProxyChoice, ProxyConfig};
use crate::config::client::secret::Secret;
use crate::http::address::url::Url;
use crate::http::auth::aws::signing::{Keys, Scope, Unsigned, signed};
use crate::http::auth::lease::Held;
use crate::http::auth::oauth2::query_escaped;
use crate::http::auth::once::{AskOnce, Once};
use crate::http::error::Method;
use crate::http::wire::response::Answer;

/// Elsewhere than in Amazon's cloud nothing answers at this address.
const METADATA_URL: &str = "http://169.254.169.254";
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// The agent of ECS.
const CONTAINER_URL: &str = "http://169.254.170.2";

const STS_TIMEOUT: Duration = Duration::from_secs(30);
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// Of an answer that says no, so much is shown.
const SHOWN_BODY_BYTES: usize = 512;

/// Asks them.
#[derive(Clone, Copy, Debug)]
pub(in crate::http::auth::aws) struct Givers {
    pub(in crate::http::auth::aws) ask_once: AskOnce,
    /// Roles are asked for where FIPS 140 is kept to.
    pub(in crate::http::auth::aws) use_fips: bool,
}

/// A variable that says something.
pub(in crate::http::auth::aws) fn env_text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

impl Givers {
    /// Keys of the role that the machine has.
    pub(in crate::http::auth::aws) fn of_machine(&self) -> Result<Held<Keys>, String> {
        if env_text("AWS_EC2_METADATA_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Err("access disabled to EC2 IMDS via AWS_EC2_METADATA_DISABLED".to_owned());
        }
        let base = env_text("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| METADATA_URL.to_owned());
        let base = base.trim_end_matches('/');
        let ask = |method, path: &str, header: (&str, &str)| {
            let answer = self.ask(method, &format!("{base}{path}"), &[header], b"", METADATA_TIMEOUT)?;
            Ok::<String, String>(String::from_utf8_lossy(&answer.body).trim().to_owned())
        };
        let lifetime = ("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300");
        let token = ask(Method::Put, "/latest/api/token", lifetime)?;
        let header = ("X-Aws-Ec2-Metadata-Token", token.as_str());
        let path = "/latest/meta-data/iam/security-credentials/";
        let roles = ask(Method::Get, path, header)?;
        let role = roles.lines().next().filter(|role| !role.is_empty()).ok_or("no EC2 IMDS role found")?;
        keys_of_json(ask(Method::Get, &format!("{path}{role}"), header)?.as_bytes())
    }

    /// Keys of the container that this runs in; `None`: it runs in none.
    pub(in crate::http::auth::aws) fn of_container(&self) -> Option<Result<Held<Keys>, String>> {
        let relative = env_text("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = relative.map(|path| format!("{CONTAINER_URL}{path}"));
        let url = url.or_else(|| env_text("AWS_CONTAINER_CREDENTIALS_FULL_URI"))?;
        Some(self.container_keys(&url))
    }

    fn container_keys(&self, url: &str) -> Result<Held<Keys>, String> {
        let token = match env_text("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => Some(read(&path)?),
            None => env_text("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        };
        let header = token.as_deref().map(|token| ("Authorization", token));
        let answer = self.ask(Method::Get, url, header.as_slice(), b"", METADATA_TIMEOUT)?;
        keys_of_json(&answer.body)
    }

    /// Keys of a role that these keys take on.
    pub(in crate::http::auth::aws) fn assume(
        &self,
        keys: &Keys,
        region: &str,
        role_arn: &str,
        external_id: &str,
    ) -> Result<Held<Keys>, String> {
        let mut form = self.form("AssumeRole", role_arn, None);
        if !external_id.is_empty() {
            form.push(("ExternalId", external_id.to_owned()));
        }
        self.ask_sts(region, form, Some(keys))
    }

    /// Keys of a role by a token of the cluster that this runs in.
    pub(in crate::http::auth::aws) fn assume_by_token(
        &self,
        token_file: &str,
        region: &str,
        role_arn: &str,
        session: Option<String>,
    ) -> Result<Held<Keys>, String> {
        let mut form = self.form("AssumeRoleWithWebIdentity", role_arn, session);
        form.push(("WebIdentityToken", read(token_file)?));
        self.ask_sts(region, form, None)
    }

    fn form(&self, action: &str, role_arn: &str, session: Option<String>) -> Vec<(&'static str, String)> {
        let session = session.unwrap_or_else(|| format!("scraped-{}", now_s()));
        vec![
            ("Action", action.to_owned()),
            ("RoleArn", role_arn.to_owned()),
            ("RoleSessionName", session),
            ("Version", "2011-06-15".to_owned()),
        ]
    }

    fn ask_sts(
        &self,
        region: &str,
        mut form: Vec<(&'static str, String)>,
        keys: Option<&Keys>,
    ) -> Result<Held<Keys>, String> {
        sort(&mut form);
        let pair = |(name, value): &(&str, String)| format!("{name}={}", query_escaped(value));
        let body = form.iter().map(pair).collect::<Vec<_>>().join("&");
        let fips = if self.use_fips { "-fips" } else { "" };
        let end = if region.starts_with("cn-") { ".cn" } else { "" };
        let given = env_text("AWS_ENDPOINT_URL_STS").or_else(|| env_text("AWS_ENDPOINT_URL"));
        let base = given.unwrap_or_else(|| format!("https://sts{fips}.{region}.amazonaws.com{end}"));
        let url = Url::parse(&format!("{}/", base.trim_end_matches('/')))?.with_clean_path();
        let host = url.site().header().to_owned();
        let lines = keys.map(|keys| {
            let request = Unsigned {
                method: "POST",
                host: &host,
                path_and_query: &url.path_and_query,
                headers: &[FORM],
                body: body.as_bytes(),
            };
            signed(&request, keys, &Scope { region, service: "sts", at_s: now_s() })
        });
        let mut headers = vec![FORM];
        headers.extend(lines.iter().flatten().map(|(name, value)| (*name, value.expose())));
        let answer = self.ask(Method::Post, &url.to_string(), &headers, body.as_bytes(), STS_TIMEOUT)?;
        let text = String::from_utf8_lossy(&answer.body);
        held(
            |name| {
                let (_, rest) = text.split_once(&format!("<{name}>"))?;
                rest.split_once("</").map(|(value, _)| value.trim().to_owned())
            },
            "SessionToken",
        )
    }

    fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, String> {
        // Metadata is on the link.
        let choice = if method == Method::Post { ProxyChoice::Environment } else { ProxyChoice::Direct };
        let proxy = ProxyConfig { choice, ..ProxyConfig::default() };
        let config = Arc::new(HttpClientConfig { proxy, ..HttpClientConfig::default() });
        let deadline = Instant::now() + timeout;
        let answer = (self.ask_once)(Once {
            method,
            url: Url::parse(url)?,
            headers,
            body,
            config: &config,
            deadline,
        })?;
        match answer.status() {
            200 => Ok(answer),
            status => {
                let body = answer.body.get(..SHOWN_BODY_BYTES).unwrap_or(&answer.body);
                Err(format!(
                    "{url} returned HTTP status {status}: {}",
                    String::from_utf8_lossy(body).trim_end()
                ))
            }
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("unable to read {path}: {error}"))?;
    Ok(text.trim().to_owned())
}

/// Seconds since the epoch.
pub(in crate::http::auth::aws) fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn keys_of_json(body: &[u8]) -> Result<Held<Keys>, String> {
    // Its own words may hold a piece of the keys.
    let value: Value =
        serde_json::from_slice(body).map_err(|_| "the answer with keys is not JSON".to_owned())?;
    held(|name| value[name].as_str().map(str::to_owned), "Token")
}

fn held(get: impl Fn(&str) -> Option<String>, token: &str) -> Result<Held<Keys>, String> {
    let text = |name: &str| get(name).filter(|text| !text.is_empty());
    let need = |name: &str| text(name).ok_or_else(|| format!("the answer with keys has no {name}"));
    let keys = Keys {
        access_key: need("AccessKeyId")?,
        secret_key: Secret::new(need("SecretAccessKey")?),
        session_token: text(token).map(Secret::new),
    };
    let left_s = text("Expiration").and_then(|text| unix_s(&text)).map(|at_s| at_s - now_s());
    let good_for = left_s.map(|left_s| Duration::from_secs(u64::try_from(left_s).unwrap_or(0)));
    Ok(Held::good_for(keys, good_for))
}

/// Of `2026-11-30T18:35:00Z`, with or without a fraction.
fn unix_s(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let number = |text: &str| text.parse::<i64>().ok();
    let mut date = date.split('-').map(number);
    let mut time = time.trim_end_matches('Z').split('.').next()?.split(':').map(number);
    let days = days_from_civil(date.next()??, date.next()??, date.next()??);
    Some(days * 86_400 + time.next()?? * 3600 + time.next()?? * 60 + time.next()??)
}

#[cfg(test)]
mod tests {
    use super::unix_s;

    #[test]
    fn times_of_expiry() {
        assert_eq!(unix_s("2015-08-30T12:36:00Z"), Some(1_440_938_160));
        assert_eq!(unix_s("2015-08-30T12:36:00.123Z"), Some(1_440_938_160));
        assert_eq!(unix_s("soon"), None);
    }
}
