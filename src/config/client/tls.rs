//! `tls_config`: whom to trust, who we are, which versions of TLS are spoken.
//!
//! After `TLSConfig` of prometheus/common `config/http_config.go` with its `Validate`. Files are only named here.

use crate::config::client::read::{read_source, refuse_if_given};
use crate::config::client::secret::Source;
use crate::config::text::fields::{Field, Fields};

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `ca`, `ca_file`: whose certificates are accepted; by default those that the system trusts.
    pub ca: Option<Source>,
    /// `cert`, `cert_file`, `key`, `key_file`: who we are.
    pub identity: Option<Identity>,
    /// `server_name`: the name that the certificate must have, if not that of the URL; empty: not given.
    pub server_name: String,
    /// `insecure_skip_verify`.
    pub insecure_skip_verify: bool,
    /// `min_version`.
    pub min_version: Option<TlsVersion>,
    /// `max_version`.
    pub max_version: Option<TlsVersion>,
}

/// A client certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, others that lead to its issuer after it.
    pub cert: Source,
    /// Its private key.
    pub key: Source,
}

/// Versions of TLS. The two oldest are not spoken, but may be named as the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TlsVersion {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl TlsVersion {
    const ALL: [Self; 4] = [Self::Tls10, Self::Tls11, Self::Tls12, Self::Tls13];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS10",
            Self::Tls11 => "TLS11",
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        }
    }
}

/// Of each list at most one may be given.
const EXCLUSIVE: [(&[&str], &str); 3] = [
    (&["ca", "ca_file", "ca_ref"], "ca, ca_file & ca_ref"),
    (&["cert", "cert_file", "cert_ref"], "cert, cert_file & cert_ref"),
    (&["key", "key_file", "key_ref"], "key and key_file"),
];

/// Reads the section.
pub(in crate::config) fn read_tls(field: &Field<'_>) -> TlsConfig {
    let Some(mut fields) = field.fields() else { return TlsConfig::default() };
    let ca = read_source(&mut fields, "ca", "ca_file");
    let cert = read_source(&mut fields, "cert", "cert_file");
    let key = read_source(&mut fields, "key", "key_file");
    for name in ["ca_ref", "cert_ref", "key_ref"] {
        refuse_if_given(fields.take(name));
    }
    let min_version = fields.take("min_version").and_then(|field| read_tls_version(&field));
    let max_version = fields.take("max_version").and_then(|field| read_tls_version(&field));
    if let Some(max) = max_version.filter(|max| *max < TlsVersion::Tls12) {
        field.mistake_below(
            "max_version",
            format!(
                "{} is not spoken, TLS12 is the oldest version that is; allow it or leave this out",
                max.name()
            ),
        );
    }
    if let Some(min) = min_version.filter(|min| *min < TlsVersion::Tls12) {
        let path = field.path();
        field.note(format!(
            "{path}.min_version {}: TLS12 is the oldest version that is spoken, servers with older ones are refused",
            min.name()
        ));
    }
    if let (Some(min), Some(max)) = (min_version, max_version)
        && max < min
    {
        field.mistake(
            "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
        );
    }
    for (names, sentence) in EXCLUSIVE {
        if names.iter().filter(|name| is_given(&fields, name)).count() > 1 {
            field.mistake(format!("at most one of {sentence} must be configured"));
        }
    }
    let any = |names: &[&str]| names.iter().any(|name| is_given(&fields, name));
    match (any(&["cert", "cert_file", "cert_ref"]), any(&["key", "key_file", "key_ref"])) {
        (true, false) => field.mistake(
            "exactly one of key or key_file must be configured when a client certificate is configured",
        ),
        (false, true) => field
            .mistake("exactly one of cert or cert_file must be configured when a client key is configured"),
        _ => {}
    }
    let tls = TlsConfig {
        ca,
        identity: cert.zip(key).map(|(cert, key)| Identity { cert, key }),
        server_name: fields.text("server_name").unwrap_or_default(),
        insecure_skip_verify: fields.bool("insecure_skip_verify").unwrap_or(false),
        min_version,
        max_version,
    };
    fields.finish(|_| false);
    tls
}

fn is_given(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|field| field.is_given())
}

/// `None` of an empty field, and with a mistake of an unknown version.
pub(in crate::config) fn read_tls_version(field: &Field<'_>) -> Option<TlsVersion> {
    let text = field.text().filter(|_| !field.is_null())?;
    let version = TlsVersion::ALL.into_iter().find(|version| version.name() == text);
    if version.is_none() {
        let names = TlsVersion::ALL.map(TlsVersion::name).join(", ");
        field.mistake(format!("unknown TLS version: {text:?}, must be one of {names}"));
    }
    version
}
