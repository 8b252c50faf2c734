//! Whom to trust: the certificates of `ca` and `ca_file`, or those of the system.
//!
//! The system's bundle is looked for where Go's `crypto/x509` looks (`root_linux.go`), read once for all jobs, and
//! again when it has changed.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

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
#[derive(Debug)]
pub(in crate::http) struct Roots {
    pub(in crate::http) store: Arc<RootCertStore>,
    /// The certificates themselves, where a server may show one of them as its own; not kept of the system's.
    pub(in crate::http) exact: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Certificates that somebody chose. What cannot be read as one is passed over, as in Go, unless all are.
    pub(in crate::http) fn parse_own(pem: &[u8]) -> Result<Self, String> {
        let exact: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        Ok(Self { store: store_of(exact.iter().cloned())?, exact })
    }

    fn parse_system(pem: &[u8]) -> Result<Self, String> {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        Ok(Self { store: store_of(certificates)?, exact: Vec::new() })
    }

    /// Those that the system trusts.
    pub(in crate::http) fn of_system() -> Result<Arc<Self>, String> {
        let watched = {
            let mut system = SYSTEM.lock();
            if system.is_none() {
                *system = system_path().map(|path| Arc::new(Watched::new(&path, Self::parse_system)));
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

fn store_of(
    certificates: impl Iterator<Item = CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    let (n_added, _) = store.add_parsable_certificates(certificates);
    if n_added == 0 {
        return Err("holds no certificate".to_owned());
    }
    store.roots.shrink_to_fit();
    Ok(Arc::new(store))
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
