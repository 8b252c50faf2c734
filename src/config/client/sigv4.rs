//! `sigv4`: whose keys of Amazon's cloud sign the requests of an endpoint.
//!
//! After `SigV4Config` of prometheus/sigv4. Keys that do not stand here are looked for by `http` where Amazon's SDK looks.

use crate::config::client::read::text_of;
use crate::config::client::secret::Secret;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::Entries;
use crate::config::text::fields::Field;

/// Who signs. What is empty is found by the chain of Amazon's SDK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigV4Config {
    /// `region`.
    pub region: String,
    /// `access_key` and `secret_key`.
    pub keys: Option<(String, Secret)>,
    /// `profile` of the shared files.
    pub profile: String,
    /// `role_arn`: a role that these keys take on.
    pub role_arn: String,
    /// `external_id`, for the role.
    pub external_id: String,
    /// `use_fips_sts_endpoint`: roles are asked for where FIPS 140 is kept to.
    pub use_fips_sts_endpoint: bool,
    /// `service_name`; empty: `aps`.
    pub service_name: String,
}

/// Reads the section. Null is: not given.
pub(in crate::config) fn read_sigv4(field: &Field<'_>) -> Option<SigV4Config> {
    let mut fields = field.fields().filter(|_| !field.is_null())?;
    let mut text = |name: &'static str| text_of(fields.take(name)).unwrap_or_default();
    let (access_key, secret_key) = (text("access_key"), text("secret_key"));
    let mut config = SigV4Config {
        region: text("region"),
        keys: None,
        profile: text("profile"),
        role_arn: text("role_arn"),
        external_id: text("external_id"),
        use_fips_sts_endpoint: false,
        service_name: text("service_name"),
    };
    config.use_fips_sts_endpoint = fields.bool("use_fips_sts_endpoint").unwrap_or(false);
    fields.finish(|_| false);
    if access_key.is_empty() != secret_key.is_empty() {
        field.mistake(
            "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
        );
    }
    if config.role_arn.is_empty() && !config.external_id.is_empty() {
        field.mistake("external_id can only be used with role_arn");
    }
    config.keys = (!access_key.is_empty()).then(|| (access_key, Secret::new(secret_key)));
    Some(config)
}

impl SigV4Config {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add_text("region", &self.region);
        if let Some((access_key, secret_key)) = &self.keys {
            entries.add_text("access_key", access_key);
            entries.add("secret_key", Yaml::text(secret_key.to_string()));
        }
        entries.add_text("profile", &self.profile);
        entries.add_text("role_arn", &self.role_arn);
        entries.add_text("external_id", &self.external_id);
        entries.add_flag("use_fips_sts_endpoint", self.use_fips_sts_endpoint);
        entries.add_text("service_name", &self.service_name);
        entries.into_map()
    }
}
