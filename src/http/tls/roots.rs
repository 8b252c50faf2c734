//! Whom to trust: the certificates of `ca` and `ca_file`, or those of the system.
//!
//! The system's bundle is looked for where Go's `crypto/x509` looks (`root_linux.go`), read once for all jobs, and
//! again when it has changed.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN as HASH_BYTES, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::anchor_from_trusted_cert;

use crate::http::tls::certificate::Certificate;
use crate::http::watched::Watched;

/// Files of certificates, the first that is there counts.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Directories of certificates, for systems without such a file (OpenWrt's `ca-certificates`).
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// The system's, once somebody needed them.
static SYSTEM: Mutex<Option<Arc<Watched<Roots>>>> = Mutex::new(None);

/// Certificates that others are verified against.
#[derive(Debug, Default)]
pub(in crate::http) struct Roots {
    /// Of those that may sign.
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// When the anchor of the same index is good, and how long chains below it may be.
    pub(super) limits: Vec<Limits>,
    /// Of all of them: a server may show one of them as its own.
    hashes: Vec<[u8; HASH_BYTES]>,
}

/// What webpki does not keep of an anchor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    /// Certificates between it and a server's.
    pub(super) max_path: Option<u8>,
}

impl Roots {
    /// What cannot be read as a certificate is passed over, as in Go, unless all are.
    pub(in crate::http) fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut roots = Self::default();
        for der in CertificateDer::pem_slice_iter(pem).filter_map(Result::ok) {
            let Some(certificate) = Certificate::read(&der) else { continue };
            // Directories have links to the same ones.
            let hash = hash_of(&der);
            if roots.hashes.contains(&hash) {
                continue;
            }
            roots.hashes.push(hash);
            if let Some(anchor) = anchor_from_trusted_cert(&der).ok().filter(|_| certificate.may_sign()) {
                roots.anchors.push(anchor.to_owned());
                let Certificate { not_before, not_after, max_path, .. } = certificate;
                roots.limits.push(Limits { not_before, not_after, max_path });
            }
        }
        if roots.hashes.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        roots.anchors.shrink_to_fit();
        Ok(roots)
    }

    /// Whether this very certificate is one of them.
    pub(super) fn hold(&self, der: &[u8]) -> bool {
        self.hashes.contains(&hash_of(der))
    }

    /// Those that the system trusts.
    pub(in crate::http) fn of_system() -> Result<Arc<Self>, String> {
        let watched = {
            let mut system = SYSTEM.lock();
            if system.is_none() {
                *system = system_path().map(|path| Arc::new(Watched::new(&path, Self::parse)));
            }
            system.clone()
        };
        match watched {
            Some(watched) => watched.current(),
            None => Err(format!(
                "tls: no certificates of authorities found on this system (looked for {} and others); install them, or \
                 set ca_file in tls_config or SSL_CERT_FILE in the environment",
                BUNDLES[0]
            )),
        }
    }
}

fn hash_of(der: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest(&SHA256, der).as_ref());
    hash
}

fn system_path() -> Option<PathBuf> {
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) {
            return Some(PathBuf::from(path));
        }
    }
    let bundles = BUNDLES.iter().map(Path::new).filter(|path| path.is_file());
    let directories = DIRECTORIES
        .iter()
        .map(Path::new)
        .filter(|path| path.read_dir().is_ok_and(|mut entries| entries.next().is_some()));
    bundles.chain(directories).next().map(Path::to_owned)
}
