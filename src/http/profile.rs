//! What all clients with the same settings share: one TLS configuration, one look at each secret file a second.
//!
//! Thousands of targets of a job, and the same job after a reload, have one profile. Profiles are found by their
//! settings and live as long as a client that has them.

use std::env;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::config::client::http_client::HttpClientConfig;
use crate::http::auth::credentials::Credentials;
use crate::http::auth::once::AskOnce;
use crate::http::dial::proxy::Proxies;
use crate::http::tls::material::TlsMaterial;

/// Profiles in use: one for each different set of settings.
static PROFILES: Mutex<Vec<Weak<ClientProfile>>> = Mutex::new(Vec::new());

/// Settings with all that was read and built for them.
#[derive(Debug)]
pub(in crate::http) struct ClientProfile {
    config: Arc<HttpClientConfig>,
    pub(in crate::http) credentials: Credentials,
    pub(in crate::http) tls: TlsMaterial,
    pub(in crate::http) proxies: Proxies,
}

impl ClientProfile {
    /// The profile of `config`; nothing is read yet.
    pub(in crate::http) fn of(config: &Arc<HttpClientConfig>, ask_once: AskOnce) -> Arc<Self> {
        let mut profiles = PROFILES.lock();
        let is_same = |profile: &Arc<Self>| Arc::ptr_eq(&profile.config, config) || profile.config == *config;
        if let Some(profile) = profiles.iter().filter_map(Weak::upgrade).find(is_same) {
            return profile;
        }
        profiles.retain(|profile| profile.strong_count() > 0);
        let profile = Arc::new(Self {
            config: Arc::clone(config),
            credentials: Credentials::new(config, ask_once),
            tls: TlsMaterial::new(&config.tls),
            proxies: Proxies::new(&config.proxy, |name| env::var(name).unwrap_or_default()),
        });
        profiles.push(Arc::downgrade(&profile));
        profile
    }

    /// The settings.
    pub(in crate::http) fn config(&self) -> &HttpClientConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TOKENS: AskOnce = |_| Err("no test asks for a token".to_owned());

    #[test]
    fn equal_settings_share_a_profile_as_long_as_somebody_has_it() {
        let config = || {
            let mut config = HttpClientConfig::default();
            config.tls.server_name = "profile-test".to_owned();
            Arc::new(config)
        };
        let first = ClientProfile::of(&config(), NO_TOKENS);
        assert!(Arc::ptr_eq(&first, &ClientProfile::of(&config(), NO_TOKENS)));
        assert!(!Arc::ptr_eq(&first, &ClientProfile::of(&Arc::default(), NO_TOKENS)));
        drop(first);
        let is_known = |weak: &Weak<ClientProfile>| {
            weak.upgrade().is_some_and(|profile| profile.config.tls.server_name == "profile-test")
        };
        assert!(!PROFILES.lock().iter().any(is_known));
    }
}
