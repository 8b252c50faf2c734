//! Whom to trust: the certificates of `ca` and `ca_file`, or those of the system.
//!
//! The system's are looked for where Go's `crypto/x509` looks (`root_linux.go`, `root_unix.go`): a bundle, and directories
//! beside it. They are read once for all jobs, and again when something has changed.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

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

/// Directories of certificates; all of them count, whether there is a bundle or not.
const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// The system's, once somebody needed them.
static SYSTEM: LazyLock<Watched<Roots>> = LazyLock::new(|| {
    let (files, directories) = system_places(|variable| env::var_os(variable));
    Watched::store(files, directories, Roots::parse_system)
});

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
        SYSTEM.current()
    }

    fn parse_system(pem: &[u8]) -> Result<Self, String> {
        Self::parse(pem).map_err(|_| {
            "tls: no certificates of authorities found there; install them, or set ca_file in tls_config, or SSL_CERT_FILE \
             or SSL_CERT_DIR in the environment"
                .to_owned()
        })
    }
}

fn hash_of(der: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest(&SHA256, der).as_ref());
    hash
}

/// Files, of which the first one that can be read counts, and directories, which all count.
fn system_places(variable: impl Fn(&str) -> Option<OsString>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let set = |name| variable(name).filter(|value: &OsString| !value.is_empty());
    let files = match set("SSL_CERT_FILE") {
        Some(file) => vec![PathBuf::from(file)],
        None => BUNDLES.iter().map(PathBuf::from).collect(),
    };
    let directories = match set("SSL_CERT_DIR") {
        Some(list) => env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => DIRECTORIES.iter().map(PathBuf::from).collect(),
    };
    (files, directories)
}

#[cfg(test)]
mod tests {
    use super::{BUNDLES, DIRECTORIES, Roots, system_places};
    use crate::http::watched::Watched;
    use rcgen::{CertificateParams, KeyPair};
    use std::fs;
    use std::path::PathBuf;

    #[test]
    fn places_are_those_of_go() {
        let check = |file: Option<&str>, directories: Option<&str>, want: (&[&str], &[&str])| {
            let got = system_places(|name| match name {
                "SSL_CERT_FILE" => file.map(Into::into),
                _ => directories.map(Into::into),
            });
            let want =
                (want.0.iter().map(PathBuf::from).collect(), want.1.iter().map(PathBuf::from).collect());
            assert_eq!(got, want);
        };
        check(None, None, (&BUNDLES, &DIRECTORIES));
        check(Some(""), Some(""), (&BUNDLES, &DIRECTORIES));
        check(Some("/a.pem"), None, (&["/a.pem"], &DIRECTORIES));
        check(None, Some("/a:/b"), (&BUNDLES, &["/a", "/b"]));
        check(Some("/a.pem"), Some("/b"), (&["/a.pem"], &["/b"]));
    }

    #[test]
    fn the_first_file_and_all_directories_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let made: Vec<(Vec<u8>, String)> = (0..5)
            .map(|_| {
                let params = CertificateParams::new(vec!["box".to_owned()]).expect("a name");
                let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
                (made.der().to_vec(), made.pem())
            })
            .collect();
        for (name, idx) in
            [("first.pem", 0), ("second.pem", 1), ("a/2.pem", 2), ("b/3.pem", 3), ("b/again.pem", 0)]
        {
            fs::create_dir_all(path(name).parent().expect("below")).expect("a directory");
            fs::write(path(name), &made[idx].1).expect("writable");
        }
        fs::write(path("b/README"), "no certificate").expect("writable");
        std::os::unix::fs::symlink("nowhere", path("b/link.pem")).expect("a link");
        let held = |files: &[&str], directories: &[&str]| {
            let places = |names: &[&str]| names.iter().map(|name| path(name)).collect();
            let store = Watched::store(places(files), places(directories), Roots::parse_system);
            let roots = store.current()?;
            Ok(made.iter().map(|(der, _)| u8::from(roots.hold(der))).collect())
        };
        let check = |files: &[&str], directories: &[&str], want: [u8; 5]| {
            let got: Result<Vec<u8>, String> = held(files, directories);
            assert_eq!(got.as_deref(), Ok(&want[..]), "{files:?} {directories:?}");
        };
        check(&["first.pem", "second.pem"], &[], [1, 0, 0, 0, 0]);
        check(&["none.pem", "second.pem"], &["a"], [0, 1, 1, 0, 0]);
        check(&["first.pem"], &["a", "none", "b"], [1, 0, 1, 1, 0]);
        check(&["none.pem"], &["b"], [1, 0, 0, 1, 0]);
        let nothing = held(&["none.pem"], &["none"]).expect_err("nothing is there");
        assert!(nothing.ends_with("or SSL_CERT_FILE or SSL_CERT_DIR in the environment"), "{nothing}");
        // What comes later is seen.
        let store = Watched::store(vec![path("first.pem")], vec![path("late")], Roots::parse_system);
        assert!(!store.current().expect("one").hold(&made[4].0));
        fs::create_dir(path("late")).expect("a directory");
        fs::write(path("late/4.pem"), &made[4].1).expect("writable");
        let start = std::time::Instant::now();
        while !store.current().expect("two").hold(&made[4].0) {
            assert!(start.elapsed().as_secs() < 60, "never seen");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
