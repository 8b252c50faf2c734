//! What tests of the HTTP client's settings share: certificates made on the fly, and a small server, with TLS or without.
//!
//! Plain threads over real sockets on loopback. No key is ever committed: each run makes its own.

pub mod asker;
pub mod endpoint;
pub mod proxy;
pub mod setup;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// Until some years ago.
    Past,
    /// From some decades on.
    Future,
}

/// Somebody who issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    /// The same.
    pub der: CertificateDer<'static>,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
    /// The certificate.
    pub cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    /// A new one with a key of its own.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for `names`, of hosts and addresses.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = params(names, validity);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair::new(&certificate, &key)
    }
}

impl Pair {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            cert: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// One that `openssl req -x509` makes: signed by itself, and marked as an authority's.
    pub fn self_signed(names: &[&str], validity: Validity) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(names, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::new(&params.self_signed(&key).expect("a certificate"), &key)
    }

    /// The key for rustls.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

fn params(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    let (from, to) = match validity {
        Validity::Now => (2020, 2120),
        Validity::Past => (2010, 2020),
        Validity::Future => (2090, 2120),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}
