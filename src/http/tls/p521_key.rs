//! P-521 of this side, which ring does not have: keys that are agreed on, and client certificates' signatures.

use std::fmt;
use std::sync::Arc;

use ecdsa::hazmat::sign_prehashed;
use p521::elliptic_curve::sec1::ToSec1Point;
use p521::{NistP521, PublicKey, SecretKey};
use ring::digest::{SHA512, digest};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, NamedGroup, PeerMisbehaved, SignatureAlgorithm, SignatureScheme};

use crate::http::tls::certificate::{p521_private_key, signature_of_integers};
use crate::http::tls::random::random;

/// A number below the curve's order, 521 bits.
const SCALAR_BYTES: usize = 66;

/// How an uncompressed point begins, and TLS knows no others.
const UNCOMPRESSED: u8 = 4;

/// Keys agreed on by P-521.
pub(super) const P521_GROUP: &dyn SupportedKxGroup = &P521Group;

#[derive(Debug)]
struct P521Group;

impl SupportedKxGroup for P521Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = random_scalar()?;
        let public = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
        Ok(Box::new(Agreement { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

struct Agreement {
    secret: SecretKey,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Agreement {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // Also looks whether the point is on the curve.
        let peer = Some(peer).filter(|peer| peer.first() == Some(&UNCOMPRESSED));
        let peer = peer.and_then(|peer| PublicKey::from_sec1_bytes(peer).ok());
        let peer = peer.ok_or(PeerMisbehaved::InvalidKeyShare)?;
        let shared = p521::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        let shared: &[u8] = shared.raw_secret_bytes();
        Ok(SharedSecret::from(shared))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

/// Every one of them as likely as any other.
fn random_scalar() -> Result<SecretKey, Error> {
    loop {
        let mut bytes = random::<SCALAR_BYTES>().map_err(Error::General)?;
        bytes[0] &= 1;
        // Too large: once in 2^260.
        if let Ok(scalar) = SecretKey::from_slice(&bytes) {
            return Ok(scalar);
        }
    }
}

/// The key of a client certificate.
pub(super) struct P521Key(Arc<SecretKey>);

impl P521Key {
    /// `None` if it is of another kind.
    pub(super) fn read(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let number = p521_private_key(der.secret_der())?;
        let mut padded = [0; SCALAR_BYTES];
        let start = SCALAR_BYTES.checked_sub(number.len())?;
        padded[start..].copy_from_slice(number);
        SecretKey::from_slice(&padded).ok().map(|key| Self(Arc::new(key)))
    }
}

impl fmt::Debug for P521Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P521Key")
    }
}

impl SigningKey for P521Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ECDSA_NISTP521_SHA512);
        is_offered.then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = self.0.public_key().to_sec1_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P521, point.as_bytes()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P521Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let hash = digest(&SHA512, message);
        loop {
            let nonce = random_scalar()?;
            let key = self.0.to_nonzero_scalar();
            let signed = sign_prehashed::<NistP521>(&key, &nonce.to_nonzero_scalar(), hash.as_ref());
            // It fails for a nonce that no one draws.
            if let Ok((signature, _)) = signed {
                let bytes = signature.to_bytes();
                let (r, s) = bytes.split_at(SCALAR_BYTES);
                return Ok(signature_of_integers(r, s));
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}

#[cfg(test)]
mod tests {
    use super::{P521_GROUP, P521Key};
    use crate::http::tls::nist::NIST;
    use rustls::pki_types::alg_id;
    use rustls::sign::Signer;
    use std::sync::Arc;

    #[test]
    fn both_sides_agree_on_a_key_and_on_nothing_off_the_curve() {
        for _ in 0..3 {
            let [a, b] = [(); 2].map(|()| P521_GROUP.start().expect("random numbers"));
            let (of_a, of_b) = (a.pub_key().to_vec(), b.pub_key().to_vec());
            let (a, b) = (a.complete(&of_b).expect("a point"), b.complete(&of_a).expect("a point"));
            assert_eq!((a.secret_bytes(), a.secret_bytes().len()), (b.secret_bytes(), 66));
        }
        let good = P521_GROUP.start().expect("random numbers").pub_key().to_vec();
        let mut off = good.clone();
        off[132] ^= 1;
        let mut compressed = good[..67].to_vec();
        compressed[0] = 2;
        for point in [&off[..], &compressed, &good[..132], &[], &[0], &[4]] {
            assert!(P521_GROUP.start().expect("random numbers").complete(point).is_err());
        }
    }

    #[test]
    fn what_is_signed_is_verified_and_nothing_else() {
        let key = P521Key(Arc::new(super::random_scalar().expect("random numbers")));
        let public = p521_point(&key);
        let verifies = |message: &[u8], signature: &[u8]| {
            let of_key = NIST.iter().filter(|it| {
                it.public_key_alg_id() == alg_id::ECDSA_P521 && it.signature_alg_id() == alg_id::ECDSA_SHA512
            });
            of_key.map(|it| it.verify_signature(&public, message, signature)).any(|it| it.is_ok())
        };
        // Numbers with and without a zero in front.
        for round in 0..20 {
            let message = format!("message {round}");
            let signature = key.sign(message.as_bytes()).expect("random numbers");
            assert!(verifies(message.as_bytes(), &signature));
            assert!(!verifies(b"another", &signature));
            for idx in 0..signature.len() {
                if (idx + round) % 17 == 0 {
                    let mut changed = signature.clone();
                    changed[idx] ^= 1;
                    assert!(!verifies(message.as_bytes(), &changed), "{idx}");
                    assert!(!verifies(message.as_bytes(), &signature[..idx]));
                }
            }
            let mut longer = signature.clone();
            longer.push(0);
            assert!(!verifies(message.as_bytes(), &longer));
        }
    }

    fn p521_point(key: &P521Key) -> Vec<u8> {
        use p521::elliptic_curve::sec1::ToSec1Point;
        key.0.public_key().to_sec1_point(false).as_bytes().to_vec()
    }
}
