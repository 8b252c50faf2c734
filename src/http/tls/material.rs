//! What the TLS connections of a job share, built from its settings and built again when a file of theirs changes.
//!
//! A new certificate whose key has not been written yet does not replace the pair before it. Nothing here connects.

use crate::http::tls::provider::PROVIDER;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::config::client::secret::Source;
use crate::config::client::tls::{TlsConfig, TlsVersion};
use crate::http::tls::certificate::private_key_words;
use crate::http::tls::p521_key::P521Key;
use crate::http::tls::roots::Roots;
use crate::http::tls::verifier::{NoVerifier, RootsVerifier};
use crate::http::watched::Watched;

/// Nothing but HTTP/1.1 is spoken here.
pub(super) const PROTOCOL: &[u8] = b"http/1.1";

pub(super) type Chain = Vec<CertificateDer<'static>>;
pub(super) type Key = PrivateKeyDer<'static>;

/// TLS of one job.
#[derive(Debug)]
pub(in crate::http) struct TlsMaterial {
    settings: TlsConfig,
    ca: Option<Material<Roots>>,
    identity: Option<(Material<Chain>, Material<Key>)>,
    built: Mutex<Option<Built<ClientConfig>>>,
}

/// A text of the configuration, parsed, or a file.
#[derive(Debug)]
pub(super) enum Material<T> {
    Inline(Result<Arc<T>, String>),
    File(Watched<T>),
}

/// What a configuration is built of; equal if nothing has changed.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) roots: Option<Arc<Roots>>,
    pub(super) identity: Option<(Arc<Chain>, Arc<Key>)>,
}

/// What was built, and of what.
#[derive(Debug)]
pub(super) struct Built<T> {
    parts: Parts,
    outcome: Result<Arc<T>, String>,
}

impl<T> Built<T> {
    /// What `parts` give. The same `Arc` as before if they are those that `built` was built of; what was good stays in
    /// use until what replaces it is good.
    pub(super) fn renew(
        built: &mut Option<Self>,
        parts: Parts,
        build: impl FnOnce(&Parts) -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        if let Some(before) = built.as_ref().filter(|before| before.parts == parts) {
            return before.outcome.clone();
        }
        let before = built.take().and_then(|before| before.outcome.ok());
        let outcome = match (build(&parts), before) {
            (Err(failure), Some(before)) => {
                log::warn!("{failure}; the certificates before stay in use");
                Ok(before)
            }
            (outcome, _) => outcome.map(Arc::new),
        };
        built.insert(Self { parts, outcome }).outcome.clone()
    }
}

impl TlsMaterial {
    /// TLS as `settings` want it; nothing is read yet.
    pub(in crate::http) fn new(settings: &TlsConfig) -> Self {
        Self {
            ca: settings.ca.as_ref().map(|ca| Material::new(ca, Roots::parse)),
            identity: settings.identity.as_ref().map(|identity| {
                (Material::new(&identity.cert, parse_chain), Material::new(&identity.key, parse_key))
            }),
            settings: settings.clone(),
            built: Mutex::new(None),
        }
    }

    /// The newest configuration. The same `Arc` as before means that nothing changed; connections of another one are
    /// of no use any more.
    pub(in crate::http) fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        let parts = self.parts()?;
        Built::renew(&mut self.built.lock(), parts, |parts| self.build(parts))
    }

    fn parts(&self) -> Result<Parts, String> {
        let roots = match &self.ca {
            _ if self.settings.insecure_skip_verify => None,
            Some(ca) => {
                Some(ca.current().map_err(|cause| format!("unable to use specified CA cert: {cause}"))?)
            }
            None => Some(Roots::of_system()?),
        };
        let identity = match &self.identity {
            None => None,
            Some((chain, key)) => {
                let chain = chain
                    .current()
                    .map_err(|cause| format!("unable to use specified client cert: {cause}"))?;
                let key =
                    key.current().map_err(|cause| format!("unable to use specified client key: {cause}"))?;
                Some((chain, key))
            }
        };
        Ok(Parts { roots, identity })
    }

    fn build(&self, parts: &Parts) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(versions(self.settings.min_version, self.settings.max_version))
            .map_err(|error| format!("tls: {error}"))?
            .dangerous();
        let builder = match &parts.roots {
            None => {
                let provider = Arc::clone(&PROVIDER);
                builder.with_custom_certificate_verifier(Arc::new(NoVerifier { provider }))
            }
            Some(roots) => {
                builder.with_custom_certificate_verifier(Arc::new(RootsVerifier::new(roots, &PROVIDER)))
            }
        };
        let mut config = match &parts.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let certified = certified_key(chain, key).map_err(|cause| {
                    let (cert, key) = self.identity_words();
                    format!("unable to use specified client cert ({cert}) & key ({key}): {cause}")
                })?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Connections are kept, so tickets would only hold memory; and a resumed one would show the certificate of
        // before a rotation.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn identity_words(&self) -> (String, String) {
        let words = |source: &Source| match source {
            Source::Inline(_) => "inline".to_owned(),
            Source::File(path) => format!("file {}", path.display()),
        };
        let identity = self.settings.identity.as_ref();
        identity.map(|identity| (words(&identity.cert), words(&identity.key))).unwrap_or_default()
    }
}

impl<T> Material<T> {
    pub(super) fn new(source: &Source, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        match source {
            Source::Inline(text) => Self::Inline(parse(text.expose().as_bytes()).map(Arc::new)),
            Source::File(path) => Self::File(Watched::new(Path::new(path), parse)),
        }
    }

    pub(super) fn current(&self) -> Result<Arc<T>, String> {
        match self {
            Self::Inline(parsed) => {
                parsed.clone().map_err(|cause| format!("the one in the configuration {cause}"))
            }
            Self::File(watched) => watched.current(),
        }
    }
}

impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        let roots = match (&self.roots, &other.roots) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let identity = match (&self.identity, &other.identity) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.0, &b.0) && Arc::ptr_eq(&a.1, &b.1),
            (a, b) => a.is_none() && b.is_none(),
        };
        roots && identity
    }
}

/// What is spoken from one version to another.
pub(super) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    match (min, max) {
        (Some(TlsVersion::Tls13), _) => &BOTH[1..],
        (_, Some(TlsVersion::Tls12)) => &BOTH[..1],
        _ => &BOTH,
    }
}

pub(super) fn parse_chain(pem: &[u8]) -> Result<Chain, String> {
    let chain: Chain = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err("tls: failed to find any PEM data in certificate input".to_owned());
    }
    Ok(chain)
}

pub(super) fn parse_key(pem: &[u8]) -> Result<Key, String> {
    // The parser's own words may hold a piece of what it could not read.
    Key::from_pem_slice(pem).map_err(|_| {
        let has = |words: &str| memmem::find(pem, words.as_bytes()).is_some();
        if has("ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
            return "tls: the private key is encrypted, and there is no key for its password; decrypt it with \
                    `openssl pkey`, and let only the user of this process read it"
                .to_owned();
        }
        "tls: failed to find any PEM data in key input".to_owned()
    })
}

/// A pair that fits. rustls' own check refuses certificates of version 1, which `openssl x509 -req` makes and servers
/// take; a key's public half stands in its certificate as it is, whatever the version.
pub(super) fn certified_key(chain: &Chain, key: &Key) -> Result<CertifiedKey, String> {
    let loaded: Result<Arc<dyn SigningKey>, _> = match P521Key::read(key) {
        Some(key) => Ok(Arc::new(key)),
        None => PROVIDER.key_provider.load_private_key(key.clone_key()),
    };
    let key = loaded.map_err(|_| match private_key_words(key.secret_der()) {
        None => "tls: failed to parse private key".to_owned(),
        Some(words) => format!(
            "tls: failed to parse private key: one of {words} cannot be used; built in are RSA with 2048 to 4096 \
             bits, ECDSA with P-256, P-384 or P-521, and Ed25519"
        ),
    })?;
    if let (Some(public), Some(certificate)) = (key.public_key(), chain.first())
        && memmem::find(certificate, &public).is_none()
    {
        return Err("tls: private key does not match public key".to_owned());
    }
    Ok(CertifiedKey::new(chain.clone(), key))
}
