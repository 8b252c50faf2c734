//! `azuread`: who asks Microsoft Entra ID for the tokens of an endpoint.
//!
//! After `storage/remote/azuread/azuread.go`. Tokens themselves are the business of `http`.

use std::env;
use std::path::PathBuf;

use crate::config::client::read::text_of;
use crate::config::client::secret::Secret;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, path_text};
use crate::config::text::fields::{Field, Fields};

/// Where Azure's webhook puts the token of a workload, unless the environment says otherwise.
const WORKLOAD_TOKEN_PATH: &str = "/var/run/secrets/azure/tokens/azure-identity-token";

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureAdConfig {
    /// The one way that is given.
    pub identity: AzureIdentity,
    /// `cloud`.
    pub cloud: AzureCloud,
    /// `scope`; empty: that of the cloud's monitor.
    pub scope: String,
}

/// How a client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureIdentity {
    /// `managed_identity`: the machine's own.
    Managed {
        /// Of an identity that is assigned to it; empty: the one of the system.
        client_id: String,
    },
    /// `workload_identity`: by a token of the cluster that it runs in.
    Workload {
        /// `client_id`.
        client_id: String,
        /// `tenant_id`.
        tenant_id: String,
        /// `token_file_path`, or else where the environment says, or Azure's webhook puts it.
        token_file: PathBuf,
    },
    /// `oauth`: by a secret.
    Secret {
        /// `client_id`.
        client_id: String,
        /// `client_secret`.
        client_secret: Secret,
        /// `tenant_id`.
        tenant_id: String,
    },
}

/// `cloud`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AzureCloud {
    #[default]
    Public,
    Government,
    China,
}

impl AzureCloud {
    const ALL: [Self; 3] = [Self::Public, Self::Government, Self::China];

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "AzurePublic",
            Self::Government => "AzureGovernment",
            Self::China => "AzureChina",
        }
    }

    /// Where tokens are asked for.
    pub fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::Government => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        }
    }

    /// The scope of its monitor.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Public => "https://monitor.azure.com//.default",
            Self::Government => "https://monitor.azure.us//.default",
            Self::China => "https://monitor.azure.cn//.default",
        }
    }
}

/// Reads the section. Null is: not given.
pub(in crate::config) fn read_azuread(field: &Field<'_>) -> Option<AzureAdConfig> {
    let mut fields = field.fields().filter(|_| !field.is_null())?;
    let cloud_name = text_of(fields.take("cloud"));
    let cloud = AzureCloud::ALL.into_iter().find(|it| Some(it.name()) == cloud_name.as_deref());
    if cloud.is_none() && cloud_name.is_some() {
        field.mistake("must provide a cloud in the Azure AD config");
    }
    let scope = text_of(fields.take("scope")).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_:/.-".contains(c);
    if !scope.chars().all(is_plain) {
        field.mistake("the provided scope contains invalid characters");
    }
    let ways = ["managed_identity", "workload_identity", "oauth", "certificate", "sdk"];
    let given: Vec<Field<'_>> = ways.into_iter().filter_map(|way| fields.take(way)).collect();
    let given: Vec<Field<'_>> = given.into_iter().filter(|way| !way.is_null()).collect();
    fields.finish(|_| false);
    if given.len() > 1 {
        field.mistake("cannot provide multiple authentication methods in the Azure AD config");
    }
    let Some(way) = given.first() else {
        field.mistake(
            "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth, Azure Certificate or Azure \
             SDK in the Azure AD config",
        );
        return None;
    };
    Some(AzureAdConfig { identity: read_identity(field, way)?, cloud: cloud.unwrap_or_default(), scope })
}

fn read_identity(owner: &Field<'_>, way: &Field<'_>) -> Option<AzureIdentity> {
    match way.name() {
        "managed_identity" => {
            let mut fields = way.fields()?;
            let client_id = text_of(fields.take("client_id")).unwrap_or_default();
            fields.finish(|_| false);
            if !client_id.is_empty() && !is_uuid(&client_id) {
                owner.mistake("the provided Azure Managed Identity client_id is invalid");
            }
            Some(AzureIdentity::Managed { client_id })
        }
        "workload_identity" => {
            let mut fields = way.fields()?;
            let [client_id, tenant_id] =
                required(owner, &mut fields, "Azure Workload Identity", ["client_id", "tenant_id"]);
            let by_env = || env::var("AZURE_FEDERATED_TOKEN_FILE").ok().filter(|path| !path.is_empty());
            let token_file = text_of(fields.take("token_file_path")).or_else(by_env);
            let token_file = PathBuf::from(token_file.as_deref().unwrap_or(WORKLOAD_TOKEN_PATH));
            fields.finish(|_| false);
            for (name, id) in [("client_id", &client_id), ("tenant_id", &tenant_id)] {
                check_uuid(owner, "Azure Workload Identity", name, id);
            }
            Some(AzureIdentity::Workload { client_id, tenant_id, token_file })
        }
        "oauth" => {
            let mut fields = way.fields()?;
            let names = ["client_id", "client_secret", "tenant_id"];
            let [client_id, client_secret, tenant_id] = required(owner, &mut fields, "Azure OAuth", names);
            fields.finish(|_| false);
            check_uuid(owner, "Azure OAuth", "client_id", &client_id);
            Some(AzureIdentity::Secret { client_id, client_secret: Secret::new(client_secret), tenant_id })
        }
        name => {
            way.mistake(format!(
                "{name} needs Azure's own library, which is not built in; give oauth with a client_secret, \
                 managed_identity or workload_identity"
            ));
            None
        }
    }
}

fn required<const N: usize>(
    owner: &Field<'_>,
    fields: &mut Fields<'_>,
    what: &str,
    names: [&'static str; N],
) -> [String; N] {
    names.map(|name| {
        let text = text_of(fields.take(name)).unwrap_or_default();
        if text.is_empty() {
            owner.mistake(format!("must provide an {what} {name} in the Azure AD config"));
        }
        text
    })
}

fn check_uuid(owner: &Field<'_>, what: &str, name: &str, id: &str) {
    if !id.is_empty() && !is_uuid(id) {
        owner.mistake(format!("the provided {what} {name} is invalid"));
    }
}

/// What Go's `uuid.Parse` takes.
fn is_uuid(text: &str) -> bool {
    let bare = match text.len() {
        45 if text.get(..9).is_some_and(|it| it.eq_ignore_ascii_case("urn:uuid:")) => &text[9..],
        38 => text.get(1..37).unwrap_or_default(),
        _ => text,
    };
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match bare.len() {
        32 => text.len() == 32 && is_hex(bare),
        36 => {
            let lengths = bare.split('-').map(|part| if is_hex(part) { part.len() } else { 0 });
            lengths.eq([8, 4, 4, 4, 12])
        }
        _ => false,
    }
}

impl AzureAdConfig {
    /// What a token is asked for.
    pub fn scope(&self) -> &str {
        if self.scope.is_empty() { self.cloud.scope() } else { &self.scope }
    }

    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        let mut own = Entries::default();
        let way = match &self.identity {
            AzureIdentity::Managed { client_id } => {
                own.add_text("client_id", client_id);
                "managed_identity"
            }
            AzureIdentity::Workload { client_id, tenant_id, token_file } => {
                own.add_text("client_id", client_id);
                own.add_text("tenant_id", tenant_id);
                own.add("token_file_path", path_text(token_file));
                "workload_identity"
            }
            AzureIdentity::Secret { client_id, client_secret, tenant_id } => {
                own.add_text("client_id", client_id);
                own.add("client_secret", Yaml::text(client_secret.to_string()));
                own.add_text("tenant_id", tenant_id);
                "oauth"
            }
        };
        entries.add(way, own.into_map());
        entries.add("cloud", Yaml::text(self.cloud.name()));
        entries.add_text("scope", &self.scope);
        entries.into_map()
    }
}

#[cfg(test)]
mod tests {
    use super::is_uuid;

    #[test]
    fn identities() {
        let bare = "00000000-a12b-3cd4-e56f-000000000000";
        for good in [bare.to_owned(), format!("urn:uuid:{bare}"), format!("{{{bare}}}"), "0".repeat(32)] {
            assert!(is_uuid(&good), "{good}");
        }
        for bad in ["", "bad", "00000000a-12b-3cd4-e56f-000000000000", "00000000-a12b-3cd4-e56f-00000000000g"]
        {
            assert!(!is_uuid(bad), "{bad}");
        }
    }
}
