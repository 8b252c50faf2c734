//! ECDSA that ring does not verify: by P-521, and with SHA-512 by P-256 and P-384. Go takes all of it.
//!
//! The arithmetic is RustCrypto's, the hashes are ring's.

use std::fmt;

use ecdsa::elliptic_curve::array::ArraySize;
use ecdsa::elliptic_curve::point::AffinePoint;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::{CurveArithmetic, FieldBytes, FieldBytesSize, PublicKey};
use ecdsa::hazmat::verify_prehashed;
use ecdsa::{EcdsaCurve, Signature, SignatureSize};
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::SignatureScheme;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::http::tls::certificate::integers_of_signature;

/// Verifies by the public key, the hash and the signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

const P256_SHA512: &Ecdsa = &Ecdsa::new(verify::<NistP256>, alg_id::ECDSA_P256, Hash::Sha512);
const P384_SHA512: &Ecdsa = &Ecdsa::new(verify::<NistP384>, alg_id::ECDSA_P384, Hash::Sha512);
const P521_SHA256: &Ecdsa = &Ecdsa::new(verify::<NistP521>, alg_id::ECDSA_P521, Hash::Sha256);
const P521_SHA384: &Ecdsa = &Ecdsa::new(verify::<NistP521>, alg_id::ECDSA_P521, Hash::Sha384);
const P521_SHA512: &Ecdsa = &Ecdsa::new(verify::<NistP521>, alg_id::ECDSA_P521, Hash::Sha512);

/// All of them.
pub(super) const NIST: [&dyn SignatureVerificationAlgorithm; 5] =
    [P256_SHA512, P384_SHA512, P521_SHA256, P521_SHA384, P521_SHA512];

/// What they are called in a handshake. TLS 1.3 means the first of a name alone, and of two names ring has that one.
pub(super) const NIST_SCHEMES: [(SignatureScheme, &[&dyn SignatureVerificationAlgorithm]); 3] = [
    (SignatureScheme::ECDSA_NISTP521_SHA512, &[P521_SHA512, P384_SHA512, P256_SHA512]),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &[P521_SHA384]),
    (SignatureScheme::ECDSA_NISTP256_SHA256, &[P521_SHA256]),
];

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

struct Ecdsa {
    verify: Verify,
    public_key_alg_id: AlgorithmIdentifier,
    hash: Hash,
}

impl Ecdsa {
    const fn new(verify: Verify, public_key_alg_id: AlgorithmIdentifier, hash: Hash) -> Self {
        Self { verify, public_key_alg_id, hash }
    }

    fn hash(&self) -> &'static Algorithm {
        match self.hash {
            Hash::Sha256 => &SHA256,
            Hash::Sha384 => &SHA384,
            Hash::Sha512 => &SHA512,
        }
    }
}

impl fmt::Debug for Ecdsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ecdsa").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let hash = digest(self.hash(), message);
        (self.verify)(public_key, hash.as_ref(), signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.public_key_alg_id
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.hash {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}

fn verify<C>(public_key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()>
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ArraySize,
{
    let key = PublicKey::<C>::from_sec1_bytes(public_key).ok()?;
    let (r, s) = integers_of_signature(signature)?;
    let signature = Signature::<C>::from_scalars(padded::<C>(r)?, padded::<C>(s)?).ok()?;
    verify_prehashed(&key.to_projective(), hash, &signature).ok()
}

/// A number as wide as the curve's field; `None` for a larger one.
fn padded<C: EcdsaCurve>(number: &[u8]) -> Option<FieldBytes<C>> {
    let mut field = FieldBytes::<C>::default();
    let start = field.len().checked_sub(number.len())?;
    field[start..].copy_from_slice(number);
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tls::certificate::signature_of_integers;
    use ecdsa::elliptic_curve::SecretKey;
    use ecdsa::hazmat::sign_prehashed;
    use std::collections::BTreeSet;

    /// Signs by a curve and verifies; then with each part changed.
    fn check<C>()
    where
        C: EcdsaCurve + CurveArithmetic,
        AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
        FieldBytesSize<C>: ModulusSize,
        SignatureSize<C>: ArraySize,
    {
        let scalar = |byte: u8| {
            let mut bytes = FieldBytes::<C>::default();
            bytes[1..].fill(byte);
            SecretKey::<C>::from_slice(&bytes).expect("below the order")
        };
        let (key, nonce) = (scalar(7), scalar(3));
        let public = key.public_key().to_sec1_point(false);
        let public = public.as_bytes();
        let verifies = |public: &[u8], hash: &[u8], r: &[u8], s: &[u8]| {
            verify::<C>(public, hash, &signature_of_integers(r, s)).is_some()
        };
        let changed = |bytes: &[u8]| {
            let mut changed = bytes.to_vec();
            changed[20] ^= 1;
            changed
        };
        for hash in [&SHA256, &SHA384, &SHA512] {
            let hash = digest(hash, b"message");
            let hash = hash.as_ref();
            let (key, nonce) = (key.to_nonzero_scalar(), nonce.to_nonzero_scalar());
            let (signature, _) = sign_prehashed::<C>(&key, &nonce, hash).expect("a good nonce");
            let bytes = signature.to_bytes();
            let (r, s) = bytes.split_at(bytes.len() / 2);
            assert!(verifies(public, hash, r, s));
            assert!(!verifies(&changed(public), hash, r, s) && !verifies(&public[1..], hash, r, s));
            assert!(!verifies(public, &changed(hash), r, s) && !verifies(public, hash, s, r));
            assert!(!verifies(public, hash, &changed(r), s) && !verifies(public, hash, r, &changed(s)));
            let (too_long, too_large) = ([&[1], r].concat(), vec![0xff; s.len()]);
            for number in [&[0][..], &too_long, &too_large] {
                assert!(!verifies(public, hash, number, s) && !verifies(public, hash, r, number));
            }
        }
    }

    #[test]
    fn each_curve_verifies_what_it_signed_and_nothing_else() {
        check::<NistP256>();
        check::<NistP384>();
        check::<NistP521>();
    }

    #[test]
    fn none_is_there_twice() {
        let all: BTreeSet<Vec<u8>> = NIST
            .iter()
            .map(|it| [it.public_key_alg_id().as_ref(), it.signature_alg_id().as_ref()].concat())
            .collect();
        assert_eq!(all.len(), NIST.len());
    }
}
