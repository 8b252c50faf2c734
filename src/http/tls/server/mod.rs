//! TLS of the web server: what its connections share, and what each one carries.
//!
//! `clients` says whose clients may come; `session` carries one connection's bytes. Nothing here waits.

mod clients;
pub mod session;

use std::sync::Arc;

use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, ServerConfig};

use crate::config::client::tls::TlsVersion;
use crate::config::web::server_tls::{ClientAuth, Curve, ServerTlsConfig};
use crate::http::tls::material::{
    Built, Chain, Key, Material, PROTOCOL, Parts, certified_key, parse_chain, parse_key, versions,
};
use crate::http::tls::provider::PROVIDER;
use crate::http::tls::roots::Roots;
use crate::http::tls::server::clients::clients_verifier;

/// TLS as a web configuration wants it, built again when a file that it names changes.
#[derive(Debug)]
pub struct ServerTls {
    settings: ServerTlsConfig,
    chain: Material<Chain>,
    key: Material<Key>,
    client_ca: Option<Material<Roots>>,
    built: Option<Built<ServerConfig>>,
}

/// What new connections begin with.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<ServerConfig>);

impl ServerTls {
    /// Nothing is read yet.
    pub fn new(settings: &ServerTlsConfig) -> Self {
        Self {
            chain: Material::new(&settings.identity.cert, parse_chain),
            key: Material::new(&settings.identity.key, parse_key),
            client_ca: settings.client_ca.as_ref().map(|ca| Material::new(ca, Roots::parse)),
            settings: settings.clone(),
            built: None,
        }
    }

    /// What is built of the newest files that were good together. Looks at the files, at most once a second.
    ///
    /// # Errors
    /// A sentence: none of them have been good so far.
    pub fn acceptor(&mut self) -> Result<Acceptor, String> {
        let parts = self.parts()?;
        let settings = &self.settings;
        Built::renew(&mut self.built, parts, |parts| build(settings, parts)).map(Acceptor)
    }

    fn parts(&self) -> Result<Parts, String> {
        let chain =
            self.chain.current().map_err(|cause| format!("failed to read the certificate: {cause}"))?;
        let key = self.key.current().map_err(|cause| format!("failed to read the key: {cause}"))?;
        let roots = match &self.client_ca {
            _ if !verifies_issuer(self.settings.client_auth) => None,
            Some(ca) => Some(ca.current().map_err(|cause| format!("failed to read client_ca: {cause}"))?),
            None => Some(Roots::of_system()?),
        };
        Ok(Parts { roots, identity: Some((chain, key)) })
    }
}

fn verifies_issuer(client_auth: ClientAuth) -> bool {
    matches!(client_auth, ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert)
}

fn build(settings: &ServerTlsConfig, parts: &Parts) -> Result<ServerConfig, String> {
    let Some((chain, key)) = &parts.identity else { return Err("tls: no certificate".to_owned()) };
    let certified =
        certified_key(chain, key).map_err(|cause| format!("failed to load X509KeyPair: {cause}"))?;
    let mut provider = (**PROVIDER).clone();
    if !settings.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let suite_is_listed = |suite: CipherSuite| {
                suite.as_str().is_some_and(|name| settings.cipher_suites.contains(&name))
            };
            suite.version().version == ProtocolVersion::TLSv1_3 || suite_is_listed(suite.suite())
        });
    }
    if !settings.curves.is_empty() {
        let listed: Vec<NamedGroup> = settings.curves.iter().map(|curve| group(*curve)).collect();
        provider.kx_groups.retain(|it| listed.contains(&it.name()));
    }
    // Without a suite of TLS 1.2 only TLS 1.3 is left.
    let has_old_suite =
        provider.cipher_suites.iter().any(|suite| suite.version().version == ProtocolVersion::TLSv1_2);
    let min_version = if has_old_suite { settings.min_version } else { TlsVersion::Tls13 };
    let provider = Arc::new(provider);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(Some(min_version), Some(settings.max_version)))
        .map_err(|error| format!("tls: {error}"))?
        .with_client_cert_verifier(clients_verifier(settings, parts, provider))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.ignore_client_order = settings.prefer_server_cipher_suites;
    // A resumed connection would outlive the certificate and the client's right to come.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn group(curve: Curve) -> NamedGroup {
    match curve {
        Curve::P256 => NamedGroup::secp256r1,
        Curve::P384 => NamedGroup::secp384r1,
        Curve::P521 => NamedGroup::secp521r1,
        Curve::X25519 => NamedGroup::X25519,
    }
}
