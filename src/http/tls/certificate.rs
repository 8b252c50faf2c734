//! What webpki does not say of a certificate: who may sign, until when an authority is good, of what kind a key is.
//!
//! Reads DER as far as that needs it. Verifies nothing.

use rustls::pki_types::UnixTime;
use std::net::IpAddr;

use crate::calendar::days_from_civil;

/// Tags of DER.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;
const VERSION: u8 = 0xa0;
const PARAMETERS: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Extensions, RFC 5280.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const POLICIES: &[u8] = &[0x55, 0x1d, 32];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];

/// Usages of a key, RFC 5280.
pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
pub(super) const ANY_USAGE: &[u8] = &[0x55, 0x1d, 37, 0];

/// Algorithms and curves.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];

/// One certificate, as far as it is of interest.
#[derive(Clone, Debug)]
pub(super) struct Certificate<'a> {
    /// What its issuer has signed.
    pub(super) signed_part: &'a [u8],
    /// 1 to 3.
    version: u8,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    /// The content of the key's `AlgorithmIdentifier`.
    pub(super) key_algorithm: &'a [u8],
    /// The key itself.
    pub(super) key: &'a [u8],
    is_authority: Option<bool>,
    /// How many certificates may stand between it and a server's.
    pub(super) max_path: Option<u8>,
    may_sign_by_usage: bool,
    /// `None`: for everything.
    usages: Option<Vec<&'a [u8]>>,
    /// Hosts, mail addresses, URIs and addresses that it is for, as text.
    pub(super) names: Vec<String>,
    /// Where it says that it is an authority's, which webpki does not take of a server.
    authority_mark: Option<usize>,
    /// Where it says that its policies are critical, which webpki does not take at all.
    policies_mark: Option<usize>,
}

impl<'a> Certificate<'a> {
    /// `None` for what is no certificate.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut outer = Der(der).take(SEQUENCE)?;
        let before = outer.0;
        let mut part = outer.take(SEQUENCE)?;
        let signed_part = &before[..before.len() - outer.0.len()];
        let version = match part.take_if(VERSION) {
            None => 1,
            Some(mut version) => version.take(INTEGER)?.0.last()?.saturating_add(1),
        };
        part.take(INTEGER)?;
        part.take(SEQUENCE)?;
        part.take(SEQUENCE)?;
        let mut validity = part.take(SEQUENCE)?;
        let (not_before, not_after) = (validity.take_time()?, validity.take_time()?);
        part.take(SEQUENCE)?;
        let mut key_info = part.take(SEQUENCE)?;
        let key_algorithm = key_info.take(SEQUENCE)?.0;
        let (_unused_bits, key) = key_info.take(BIT_STRING)?.0.split_first()?;
        let mut certificate = Self {
            signed_part,
            version,
            not_before,
            not_after,
            key_algorithm,
            key,
            is_authority: None,
            max_path: None,
            may_sign_by_usage: true,
            usages: None,
            names: Vec::new(),
            authority_mark: None,
            policies_mark: None,
        };
        while !part.0.is_empty() {
            match part.take_if(EXTENSIONS) {
                None => drop(part.take_any()?),
                Some(mut extensions) => {
                    let mut list = extensions.take(SEQUENCE)?;
                    while !list.0.is_empty() {
                        certificate.read_extension(der, list.take(SEQUENCE)?)?;
                    }
                }
            }
        }
        Some(certificate)
    }

    fn read_extension(&mut self, der: &[u8], mut extension: Der<'a>) -> Option<()> {
        let place = |content: Der<'_>| content.0.as_ptr().addr() - der.as_ptr().addr();
        let name = extension.take(OID)?.0;
        let critical = extension.take_if(BOOLEAN);
        let mut value = extension.take(OCTET_STRING)?;
        match name {
            KEY_USAGE => {
                // Bit 5, keyCertSign; none at all counts as none given, as in Go.
                let bits = value.take(BIT_STRING)?.0.get(1..)?;
                self.may_sign_by_usage = bits.iter().all(|byte| *byte == 0) || bits.first()? & 0x04 != 0;
            }
            BASIC_CONSTRAINTS => {
                let mut content = value.take(SEQUENCE)?;
                let flag = content.take_if(BOOLEAN);
                self.is_authority = Some(flag.is_some_and(|flag| flag.0 != [0]));
                self.authority_mark = flag.map(place);
                self.max_path = content.take_if(INTEGER).and_then(|length| length.0.last().copied());
            }
            ALTERNATIVE_NAMES => {
                let mut list = value.take(SEQUENCE)?;
                while !list.0.is_empty() {
                    let (tag, name) = list.take_any()?;
                    self.names.extend(name_words(tag, name.0));
                }
            }
            POLICIES => self.policies_mark = critical.map(place),
            EXTENDED_KEY_USAGE => {
                let mut list = value.take(SEQUENCE)?;
                let mut usages = Vec::new();
                while !list.0.is_empty() {
                    usages.push(list.take(OID)?.0);
                }
                self.usages = Some(usages);
            }
            _ => {}
        }
        Some(())
    }

    /// Whether others may be signed by its key: Go's `CheckSignatureFrom`.
    pub(super) fn may_sign(&self) -> bool {
        let is_authority = self.is_authority.unwrap_or(self.version < 3);
        is_authority && self.may_sign_by_usage
    }

    /// Whether its extended key usages have `wanted` among them.
    pub(super) fn is_for(&self, wanted: &[u8]) -> bool {
        let is_meant = |usage: &&[u8]| [wanted, ANY_USAGE].contains(usage);
        self.usages.as_ref().is_none_or(|usages| usages.iter().any(is_meant))
    }

    /// The same certificate as webpki takes it: critical policies are not critical, and an authority is none if it is a
    /// server's. Of the same length; its signature does not fit any more.
    pub(super) fn patched(&self, der: &[u8], is_servers: bool) -> Vec<u8> {
        let mut patched = der.to_vec();
        for idx in self.policies_mark.into_iter().chain(self.authority_mark.filter(|_| is_servers)) {
            patched[idx] = 0;
        }
        patched
    }

    /// What kind of key it has, in words.
    pub(super) fn key_words(&self) -> String {
        algorithm_words(self.key_algorithm, self.key)
    }

    /// Whether the key is of RSA and shorter than 2048 bits.
    pub(super) fn has_short_rsa_key(&self) -> bool {
        Der(self.key_algorithm).take(OID).is_some_and(|name| name.0 == RSA)
            && rsa_bits(self.key).is_some_and(|bits| bits < 2048)
    }
}

/// An alternative name, as Go prints it; `None` for one of another kind.
fn name_words(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        EMAIL | DNS_NAME | URI => std::str::from_utf8(name).ok().map(str::to_owned),
        ADDRESS => match name.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(name).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(name).ok()?).to_canonical().to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// A kind of key: the content of its `AlgorithmIdentifier`, and the public key if it is of RSA.
pub(super) fn algorithm_words(algorithm: &[u8], key: &[u8]) -> String {
    let mut algorithm = Der(algorithm);
    let name = algorithm.take(OID).map(|name| name.0).unwrap_or_default();
    match name {
        RSA => match rsa_bits(key) {
            Some(bits) => format!("RSA with {bits} bits"),
            None => "RSA".to_owned(),
        },
        ECDSA => curve_words(algorithm.take(OID).map(|curve| curve.0).unwrap_or_default()),
        [0x2b, 0x65, 112] => "Ed25519".to_owned(),
        [0x2b, 0x65, 113] => "Ed448".to_owned(),
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1] => "DSA".to_owned(),
        [] => "an unknown kind".to_owned(),
        other => format!("the kind {}", dotted(other)),
    }
}

fn curve_words(curve: &[u8]) -> String {
    match curve {
        P256 => "ECDSA with P-256".to_owned(),
        P384 => "ECDSA with P-384".to_owned(),
        P521 => "ECDSA with P-521".to_owned(),
        [0x2b, 0x81, 4, 0, 10] => "ECDSA with secp256k1".to_owned(),
        other => format!("ECDSA with the curve {}", dotted(other)),
    }
}

/// How a certificate is signed: the content of an `AlgorithmIdentifier`.
pub(super) fn signature_words(algorithm: &[u8]) -> String {
    let name = Der(algorithm).take(OID).map(|name| name.0).unwrap_or_default();
    let of_hash = |hash: u8| match hash {
        1 => "SHA-224",
        2 => "SHA-256",
        3 => "SHA-384",
        4 => "SHA-512",
        _ => "an unknown hash",
    };
    match name {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => "ECDSA and SHA-1".to_owned(),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, hash] => format!("ECDSA and {}", of_hash(*hash)),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4] => "RSA and MD5".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5] => "RSA and SHA-1".to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10] => "RSA-PSS with unusual parameters".to_owned(),
        [0x2b, 0x65, 113] => "Ed448".to_owned(),
        other => format!("the algorithm {}", dotted(other)),
    }
}

/// The kind of a private key: PKCS 8, PKCS 1 or SEC 1.
pub(super) fn private_key_words(der: &[u8]) -> Option<String> {
    let mut key = Der(der).take(SEQUENCE)?;
    key.take(INTEGER)?;
    if let Some(mut algorithm) = key.take_if(SEQUENCE) {
        let content = algorithm.0;
        let is_rsa = algorithm.take(OID)?.0 == RSA;
        let inner = key.take(OCTET_STRING)?.0;
        return if is_rsa { private_key_words(inner) } else { Some(algorithm_words(content, &[])) };
    }
    if let Some(modulus) = key.take_if(INTEGER) {
        return Some(format!("RSA with {} bits", bits_of(modulus.0)));
    }
    key.take(OCTET_STRING)?;
    Some(curve_words(key.take(PARAMETERS)?.take(OID)?.0))
}

/// The number of a private key of P-521, without zeros in front; PKCS 8 or SEC 1.
pub(super) fn p521_private_key(der: &[u8]) -> Option<&[u8]> {
    let mut key = Der(der).take(SEQUENCE)?;
    key.take(INTEGER)?;
    if let Some(mut algorithm) = key.take_if(SEQUENCE) {
        let is_p521 = algorithm.take(OID)?.0 == ECDSA && algorithm.take(OID)?.0 == P521;
        let mut inner = key.take(OCTET_STRING).filter(|_| is_p521)?.take(SEQUENCE)?;
        inner.take(INTEGER)?;
        return Some(without_zeros(inner.take(OCTET_STRING)?.0));
    }
    let number = key.take(OCTET_STRING)?.0;
    let is_p521 = key.take(PARAMETERS)?.take(OID)?.0 == P521;
    is_p521.then(|| without_zeros(number))
}

/// The two numbers of an ECDSA signature, without zeros in front; only as DER has them.
pub(super) fn integers_of_signature(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut whole = Der(der);
    let mut list = whole.take(SEQUENCE)?;
    let mut number = || {
        let bytes = list.take(INTEGER)?.0;
        let is_shortest = match bytes {
            [0, second, ..] => *second >= 0x80,
            [first, ..] => *first < 0x80,
            [] => false,
        };
        is_shortest.then(|| without_zeros(bytes))
    };
    let numbers = (number()?, number()?);
    (list.0.is_empty() && whole.0.is_empty()).then_some(numbers)
}

/// An ECDSA signature of its two numbers.
pub(super) fn signature_of_integers(r: &[u8], s: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    for number in [r, s] {
        let number = without_zeros(number);
        let zero: &[u8] = if number.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
        push_der(&mut list, INTEGER, &[zero, number].concat());
    }
    let mut signature = Vec::new();
    push_der(&mut signature, SEQUENCE, &list);
    signature
}

/// Up to 255 bytes.
fn push_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    let len = u8::try_from(content.len()).unwrap_or_else(|_| unreachable!("BUG: too long for a signature"));
    out.push(tag);
    if len >= 0x80 {
        out.push(0x81);
    }
    out.push(len);
    out.extend_from_slice(content);
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    Some(bits_of(Der(key).take(SEQUENCE)?.take(INTEGER)?.0))
}

fn bits_of(number: &[u8]) -> usize {
    let idx = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let n_zeros = number.get(idx).map_or(0, |byte| usize::try_from(byte.leading_zeros()).unwrap_or(0));
    (number.len() - idx) * 8 - n_zeros
}

/// `1.2.840.10045.2.1`.
fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in oid {
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            match numbers.is_empty() {
                true => numbers.extend([(number / 40).min(2), number - (number / 40).min(2) * 40]),
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn take(&mut self, tag: u8) -> Option<Self> {
        self.take_any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn take_if(&mut self, tag: u8) -> Option<Self> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }

    fn take_any(&mut self) -> Option<(u8, Self)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            let n_bytes = usize::from(first & 0x7f);
            let digits = rest.get(..n_bytes).filter(|digits| (1..=3).contains(&digits.len()))?;
            len = digits.iter().fold(0, |len, digit| (len << 8) | usize::from(*digit));
            rest = &rest[n_bytes..];
        }
        let content = rest.get(..len)?;
        self.0 = &rest[len..];
        Some((tag, Self(content)))
    }

    /// `YYMMDDhhmmssZ`, or with a century.
    fn take_time(&mut self) -> Option<UnixTime> {
        let (tag, content) = self.take_any()?;
        let digits = content.0.strip_suffix(b"Z")?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = |text: &[u8]| text.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => {
                let year = number(&digits[..2]);
                (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
            }
            (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
            _ => return None,
        };
        let days = days_from_civil(year, number(&rest[..2]), number(&rest[2..4]));
        let seconds =
            days * 86_400 + number(&rest[4..6]) * 3600 + number(&rest[6..8]) * 60 + number(&rest[8..10]);
        // What is older than the clock's beginning is as old as that.
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.max(0).unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose};

    fn made(change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["box".to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn who_may_sign_is_known() {
        let check = |want: bool, change: fn(&mut CertificateParams)| {
            let der = made(change);
            assert_eq!(Certificate::read(&der).expect("a certificate").may_sign(), want);
        };
        check(false, |_| {});
        check(false, |params| params.is_ca = IsCa::ExplicitNoCa);
        check(true, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        let with_usage = |params: &mut CertificateParams, usage| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![usage];
        };
        let der = made(|params| with_usage(params, KeyUsagePurpose::DigitalSignature));
        assert!(!Certificate::read(&der).expect("a certificate").may_sign());
        let der = made(|params| with_usage(params, KeyUsagePurpose::KeyCertSign));
        assert!(Certificate::read(&der).expect("a certificate").may_sign());
        let der = made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3)));
        let certificate = Certificate::read(&der).expect("a certificate");
        assert_eq!((certificate.max_path, certificate.key_words().as_str()), (Some(3), "ECDSA with P-256"));
    }

    #[test]
    fn a_patched_one_differs_where_it_is_meant_to() {
        let der = made(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let mut policies =
                CustomExtension::from_oid_content(&[2, 5, 29, 32], vec![0x30, 5, 0x30, 3, 6, 1, 42]);
            policies.set_criticality(true);
            params.custom_extensions.push(policies);
        });
        let certificate = Certificate::read(&der).expect("a certificate");
        for (is_servers, n_changed) in [(true, 2), (false, 1)] {
            let patched = certificate.patched(&der, is_servers);
            let changed = der.iter().zip(&patched).filter(|(before, after)| before != after);
            assert!(changed.clone().all(|pair| pair == (&0xff, &0)), "{is_servers}");
            assert_eq!(changed.count(), n_changed);
            let after = Certificate::read(&patched).expect("a certificate");
            assert_eq!(after.may_sign(), !is_servers);
            assert_eq!(after.signed_part.len(), certificate.signed_part.len());
        }
    }

    #[test]
    fn nonsense_is_no_certificate_and_no_panic() {
        let der = made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
        for len in 0..der.len() {
            assert!(Certificate::read(&der[..len]).is_none());
        }
        for idx in 0..der.len() {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[idx] = byte;
                if let Some(certificate) = Certificate::read(&changed) {
                    assert_eq!(certificate.patched(&changed, true).len(), der.len());
                    let _ = (
                        certificate.key_words(),
                        certificate.may_sign(),
                        certificate.is_for(super::SERVER_AUTH),
                    );
                }
                let _ = private_key_words(&changed);
            }
        }
    }

    #[test]
    fn signatures_are_taken_apart_as_they_are_put_together() {
        for (r, s) in [(&[1][..], &[0x80][..]), (&[0, 0, 0x7f, 1], &[0xff; 66]), (&[1; 66], &[0, 1])] {
            let der = signature_of_integers(r, s);
            assert_eq!(integers_of_signature(&der), Some((without_zeros(r), without_zeros(s))), "{der:?}");
        }
        // Negative, not the shortest, empty, too many, too few, with a rest.
        for der in [
            &[0x30, 6, 2, 1, 0x80, 2, 1, 1][..],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
            &[0x30, 5, 2, 0, 2, 1, 1],
            &[0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1],
            &[0x30, 3, 2, 1, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0],
            &[],
        ] {
            assert_eq!(integers_of_signature(der), None, "{der:?}");
        }
    }

    #[test]
    fn algorithms_have_names() {
        assert_eq!(signature_words(&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]), "ECDSA and SHA-512");
        assert_eq!(signature_words(&[6, 3, 42, 3, 4]), "the algorithm 1.2.3.4");
        assert_eq!(algorithm_words(&[], &[]), "an unknown kind");
        let curve = |last| [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, last];
        assert_eq!(algorithm_words(&curve(35), &[]), "ECDSA with P-521");
        assert_eq!(algorithm_words(&curve(10), &[]), "ECDSA with secp256k1");
        assert_eq!(bits_of(&[0, 0x80, 0]), 16);
        assert_eq!(bits_of(&[]), 0);
    }
}
