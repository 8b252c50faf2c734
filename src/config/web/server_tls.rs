//! `tls_server_config`: the server's certificate, whose clients may come, which versions and ciphers are spoken.

use crate::config::client::read::text_of;
use crate::config::client::secret::{Secret, Source};
use crate::config::client::tls::{Identity, TlsVersion, read_tls_version};
use crate::config::text::fields::{Field, Fields};

/// TLS of the web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsConfig {
    /// `cert`, `cert_file`, `key`, `key_file`.
    pub identity: Identity,
    /// `client_ca`, `client_ca_file`: who may issue clients' certificates; `None`: those that the system trusts.
    pub client_ca: Option<Source>,
    /// `client_auth_type`.
    pub client_auth: ClientAuth,
    /// `client_allowed_sans`: a client's certificate must have one of these names.
    pub client_allowed_sans: Option<Vec<String>>,
    /// `min_version`, TLS12 or TLS13.
    pub min_version: TlsVersion,
    /// `max_version`, TLS12 or TLS13.
    pub max_version: TlsVersion,
    /// `cipher_suites` that are built in; empty: all. As in Go they say nothing about TLS 1.3.
    pub cipher_suites: Vec<&'static str>,
    /// `prefer_server_cipher_suites`.
    pub prefer_server_cipher_suites: bool,
    /// `curve_preferences`; empty: all.
    pub curves: Vec<Curve>,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    NoClientCert,
    /// One may be shown, and anyone's will do.
    RequestClientCert,
    /// One must be shown, and anyone's will do.
    RequireAnyClientCert,
    /// One that is shown must be of a known issuer.
    VerifyClientCertIfGiven,
    /// One must be shown, of a known issuer.
    RequireAndVerifyClientCert,
}

/// What keys are agreed on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Curve {
    P256,
    P384,
    P521,
    X25519,
}

const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::NoClientCert),
    ("RequestClientCert", ClientAuth::RequestClientCert),
    ("RequireClientCert", ClientAuth::RequireAnyClientCert),
    ("RequireAnyClientCert", ClientAuth::RequireAnyClientCert),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyClientCertIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerifyClientCert),
];

const CURVES: [(&str, Curve); 4] = [
    ("CurveP256", Curve::P256),
    ("CurveP384", Curve::P384),
    ("CurveP521", Curve::P521),
    ("X25519", Curve::X25519),
];

/// Go's `tls.CipherSuites()` of TLS 1.2 that are built in.
const TLS12_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Of these two HTTP/2 wants one.
const HTTP2_SUITES: [&str; 2] = [TLS12_SUITES[1], TLS12_SUITES[0]];

/// Go's of TLS 1.3, which are always offered.
const TLS13_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Go's that are not built in.
const CBC_SUITES: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Reads the section; `None` if nothing in it asks for TLS.
pub(super) fn read_server_tls(field: &Field<'_>) -> Option<ServerTlsConfig> {
    let mut fields = field.fields()?;
    let cert = read_source(&mut fields, "cert", "cert_file");
    let key_file = fields.secret_file("key_file").map(Source::File);
    let key_text = text_of(fields.take("key")).map(|text| Source::Inline(Secret::new(text)));
    let key = key_file.or(key_text);
    let client_ca = read_source(&mut fields, "client_ca", "client_ca_file");
    let auth_text = text_of(fields.take("client_auth_type"));
    let client_auth = auth_text.as_deref().map(|text| read_client_auth(field, text)).unwrap_or_default();
    let sans = fields.take("client_allowed_sans").filter(|sans| !sans.is_null());
    let client_allowed_sans = sans.map(|sans| sans.texts());
    let min_version = read_version(&mut fields, "min_version").unwrap_or(TlsVersion::Tls12);
    let max_version = read_version(&mut fields, "max_version").unwrap_or(TlsVersion::Tls13);
    if max_version < min_version {
        field.mistake("max_version is older than min_version, so that no client could connect");
    }
    let suites = fields.take("cipher_suites");
    let cipher_suites = suites.map(|suites| read_cipher_suites(&suites, max_version)).unwrap_or_default();
    let prefer_server_cipher_suites = fields.bool("prefer_server_cipher_suites").unwrap_or(true);
    let curves = fields.items("curve_preferences").iter().filter_map(read_curve).collect();
    fields.finish(|_| false);

    let is_enabled = cert.is_some() || key.is_some() || client_ca.is_some() || auth_text.is_some();
    if !is_enabled {
        return None;
    }
    if cert.is_none() {
        field.mistake("missing one of cert or cert_file");
    }
    if key.is_none() {
        field.mistake("missing one of key or key_file");
    }
    if client_ca.is_some() && client_auth == ClientAuth::NoClientCert {
        field.mistake("client CA's have been configured without a Client Auth Policy; set client_auth_type");
    }
    Some(ServerTlsConfig {
        identity: cert.zip(key).map(|(cert, key)| Identity { cert, key })?,
        client_ca,
        client_auth,
        client_allowed_sans,
        min_version,
        max_version,
        cipher_suites,
        prefer_server_cipher_suites,
        curves,
    })
}

/// A browser that speaks HTTP/2 would be refused: exporter-toolkit does not start with such a list, in these words.
pub(super) fn check_http2(field: &Field<'_>, tls: &ServerTlsConfig) {
    let is_limited = !tls.cipher_suites.is_empty() && tls.min_version < TlsVersion::Tls13;
    if is_limited && !HTTP2_SUITES.iter().any(|suite| tls.cipher_suites.contains(suite)) {
        let [rsa, ecdsa] = HTTP2_SUITES;
        field.mistake_below(
            "cipher_suites",
            format!(
                "http2: TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher (need at least one of \
                 {rsa} or {ecdsa}); add one, or set http2 in http_server_config to false"
            ),
        );
    }
}

/// Of a file and a text the file counts.
fn read_source(fields: &mut Fields<'_>, inline: &'static str, file: &'static str) -> Option<Source> {
    let text = text_of(fields.take(inline)).map(|text| Source::Inline(Secret::new(text)));
    let path = fields.file(file).filter(|path| !path.as_os_str().is_empty());
    path.map(Source::File).or(text)
}

fn read_client_auth(field: &Field<'_>, text: &str) -> ClientAuth {
    let known = CLIENT_AUTH.iter().find(|(name, _)| *name == text);
    if known.is_none() {
        let names = CLIENT_AUTH.map(|(name, _)| name).join(", ");
        field.mistake_below("client_auth_type", format!("invalid ClientAuth: {text}; it is one of {names}"));
    }
    known.map(|(_, auth)| *auth).unwrap_or_default()
}

fn read_version(fields: &mut Fields<'_>, name: &'static str) -> Option<TlsVersion> {
    let field = fields.take(name)?;
    let version = read_tls_version(&field)?;
    if version < TlsVersion::Tls12 {
        field.mistake(format!("{} is not built in; built in are TLS12 and TLS13", version.name()));
        return None;
    }
    Some(version)
}

fn read_cipher_suites(field: &Field<'_>, max_version: TlsVersion) -> Vec<&'static str> {
    let (mut built_in, mut others, mut n_unknown) = (Vec::new(), Vec::new(), 0);
    for item in field.items() {
        let Some(name) = item.text() else { continue };
        let known = |suites: &[&'static str]| suites.iter().find(|suite| **suite == name).copied();
        if let Some(suite) = known(&TLS12_SUITES).or_else(|| known(&TLS13_SUITES)) {
            built_in.push(suite);
        } else if let Some(suite) = known(&CBC_SUITES) {
            others.push(suite);
        } else {
            n_unknown += 1;
            item.mistake(format!("unknown cipher: {name}"));
        }
    }
    let has_suite_for_max = max_version > TlsVersion::Tls12
        || built_in.is_empty()
        || built_in.iter().any(|suite| TLS12_SUITES.contains(suite));
    let is_nothing_left = built_in.is_empty() && !others.is_empty();
    if n_unknown == 0 && (is_nothing_left || !has_suite_for_max) {
        let names = TLS12_SUITES.join(", ");
        field.mistake(format!("none of these cipher suites is built in for TLS12; built in are {names}"));
    } else if !others.is_empty() {
        field.note(format!("{} is not built in and not offered: {}", field.path(), others.join(", ")));
    }
    built_in
}

fn read_curve(field: &Field<'_>) -> Option<Curve> {
    let text = field.text()?;
    let known = CURVES.iter().find(|(name, _)| *name == text);
    if known.is_none() {
        field.mistake(format!(
            "unknown curve: {text}; it is one of {}",
            CURVES.map(|(name, _)| name).join(", ")
        ));
    }
    known.map(|(_, curve)| *curve)
}
