//! `sigv4`: requests signed with keys of Amazon's cloud, found where its SDK looks, in its order.

pub(in crate::http::auth::aws) mod givers;
pub(in crate::http::auth::aws) mod shared_files;
pub mod signing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::client::secret::Secret;
use crate::config::client::sigv4::SigV4Config;
use crate::http::auth::aws::givers::{Givers, env_text, now_s};
use crate::http::auth::aws::shared_files::{Profile, profile};
use crate::http::auth::aws::signing::{Keys, Scope, Unsigned, signed};
use crate::http::auth::lease::{Held, Lease};
use crate::http::auth::once::AskOnce;
use crate::http::error::HttpErrorKind;
use crate::http::wire::exchange::Exchange;

/// Amazon's managed Prometheus.
const SERVICE: &str = "aps";

/// Files and the environment say nothing of an end; they are looked at again after this.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);

/// Profiles that name each other as their source.
const MAX_SOURCES: usize = 5;

/// Signs the requests of one set of settings.
#[derive(Debug)]
pub(in crate::http) struct Signer {
    config: Arc<SigV4Config>,
    givers: Givers,
    lease: Arc<Lease<Account>>,
}

/// Who signs, for where.
#[derive(Clone, Debug)]
struct Account {
    keys: Keys,
    region: String,
}

impl Signer {
    /// Nothing is looked for yet.
    pub(in crate::http) fn new(config: &Arc<SigV4Config>, ask_once: AskOnce) -> Self {
        let givers = Givers { ask_once, use_fips: config.use_fips_sts_endpoint };
        Self { config: Arc::clone(config), givers, lease: Lease::new("could not get SigV4 credentials") }
    }

    /// The lines that sign `request`. Waits for keys until `deadline` at most.
    pub(in crate::http) fn lines(
        &self,
        request: &Unsigned<'_>,
        deadline: Instant,
        exchange: &Exchange,
    ) -> Result<Vec<(&'static str, Secret)>, HttpErrorKind> {
        let (config, givers) = (Arc::clone(&self.config), self.givers);
        let fetch = move || find(&config, givers);
        let account = self.lease.get(deadline, exchange, |_| true, fetch)?;
        let service = if self.config.service_name.is_empty() { SERVICE } else { &self.config.service_name };
        let scope = Scope { region: &account.region, service, at_s: now_s() };
        Ok(signed(request, &account.keys, &scope))
    }
}

/// `config.LoadDefaultConfig` of the SDK, as prometheus/sigv4 asks for it.
fn find(config: &SigV4Config, givers: Givers) -> Result<Held<Account>, String> {
    let name = [config.profile.as_str()].into_iter().find(|it| !it.is_empty()).map(str::to_owned);
    let name = name.or_else(|| env_text("AWS_PROFILE")).or_else(|| env_text("AWS_DEFAULT_PROFILE"));
    let known = profile(name.as_deref().unwrap_or("default"), env_text)?;
    if let (Some(name), None) = (&name, &known) {
        return Err(format!("could not create new AWS session: failed to get shared config profile, {name}"));
    }
    let known = known.unwrap_or_default();
    let given = [config.region.as_str()].into_iter().find(|it| !it.is_empty()).map(str::to_owned);
    let region = given
        .or_else(|| env_text("AWS_REGION"))
        .or_else(|| env_text("AWS_DEFAULT_REGION"))
        .or_else(|| known.get("region").cloned())
        .ok_or("region not configured in sigv4 or in default credentials chain")?;
    let chain = Chain { givers, region: &region };
    let keys = match &config.keys {
        Some((access_key, secret_key)) => chain.fixed(access_key, secret_key, None),
        None if !config.profile.is_empty() => chain.of_profile(&known, 0),
        None => chain.of_environment().unwrap_or_else(|| chain.of_profile(&known, 0)),
    };
    let keys = keys.map_err(|cause| format!("could not get SigV4 credentials: {cause}"))?;
    let keys = match config.role_arn.as_str() {
        "" => keys,
        role => givers
            .assume(&keys.value, &region, role, &config.external_id)
            .map_err(|cause| format!("error retrieving credentials: {cause}"))?,
    };
    Ok(keys.map(|keys| Account { keys, region }))
}

/// Where keys are looked for.
struct Chain<'a> {
    givers: Givers,
    region: &'a str,
}

impl Chain<'_> {
    fn fixed(
        &self,
        access_key: &str,
        secret_key: &Secret,
        session_token: Option<Secret>,
    ) -> Result<Held<Keys>, String> {
        let keys = Keys { access_key: access_key.to_owned(), secret_key: secret_key.clone(), session_token };
        Ok(Held::good_for(keys, Some(LOOK_INTERVAL)))
    }

    /// `None`: it says nothing.
    fn of_environment(&self) -> Option<Result<Held<Keys>, String>> {
        let first = |names: [&str; 2]| names.into_iter().find_map(env_text);
        let access_key = first(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]);
        if let Some((access_key, secret_key)) =
            access_key.zip(first(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]))
        {
            let token = env_text("AWS_SESSION_TOKEN").map(Secret::new);
            return Some(self.fixed(&access_key, &Secret::new(secret_key), token));
        }
        let token_file = env_text("AWS_WEB_IDENTITY_TOKEN_FILE")?;
        let role = env_text("AWS_ROLE_ARN").unwrap_or_default();
        Some(self.givers.assume_by_token(&token_file, self.region, &role, env_text("AWS_ROLE_SESSION_NAME")))
    }

    fn of_profile(&self, known: &Profile, n_sources: usize) -> Result<Held<Keys>, String> {
        let get = |name: &str| known.get(name).filter(|text| !text.is_empty());
        let keys = get("aws_access_key_id").zip(get("aws_secret_access_key"));
        let fixed = || {
            keys.map(|(access_key, secret_key)| {
                let token = get("aws_session_token").map(|token| Secret::new(token.as_str()));
                self.fixed(access_key, &Secret::new(secret_key.as_str()), token)
            })
        };
        let role = get("role_arn");
        let base = match (get("source_profile"), get("credential_source"), get("web_identity_token_file")) {
            (Some(_), ..) if n_sources == MAX_SOURCES => {
                return Err("source_profile goes round in a circle".to_owned());
            }
            (Some(name), ..) if role.is_some() => {
                let source = profile(name, env_text)?;
                self.of_profile(&source.ok_or(format!("source_profile {name} is not there"))?, n_sources + 1)?
            }
            (None, Some(source), _) if role.is_some() => match source.as_str() {
                "Environment" => self.of_environment().ok_or("the environment has no keys")??,
                "EcsContainer" => self.givers.of_container().ok_or("no container around us gives keys")??,
                _ => self.givers.of_machine()?,
            },
            (None, None, Some(file)) if role.is_some() => {
                let (role, session) = (role.map_or("", String::as_str), get("role_session_name").cloned());
                return self.givers.assume_by_token(file, self.region, role, session);
            }
            _ => match fixed() {
                Some(keys) => keys?,
                None if needs_sdk(known) => return Err(NEEDS_SDK.to_owned()),
                None => match self.givers.of_container() {
                    Some(keys) => keys?,
                    None => self.givers.of_machine().map_err(|cause| format!("{NOTHING_FOUND}: {cause}"))?,
                },
            },
        };
        match role {
            None => Ok(base),
            Some(role) => {
                let external_id = get("external_id").map_or("", String::as_str);
                self.givers.assume(&base.value, self.region, role, external_id)
            }
        }
    }
}

fn needs_sdk(known: &Profile) -> bool {
    known.keys().any(|key| key.starts_with("sso_") || key == "credential_process")
}

const NEEDS_SDK: &str = "the profile has its keys from a login (sso_…) or a program (credential_process), which takes \
                         Amazon's own tools; let those write aws_access_key_id and aws_secret_access_key into the \
                         shared credentials file, or give access_key and secret_key";

const NOTHING_FOUND: &str = "neither access_key and secret_key, nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a \
                             profile, a container or the machine's metadata has keys";
