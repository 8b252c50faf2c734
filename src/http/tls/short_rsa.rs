//! Signatures by RSA keys that are shorter than rustls takes and as long as Go takes: of 1024 bits and more, by PKCS 1.
//!
//! Old devices have such keys, and their authorities. ring verifies them; by PSS, which TLS 1.3 wants, it does not.

use ring::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaParameters, UnparsedPublicKey,
};
use rustls::SignatureScheme;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// By SHA-256 and by SHA-512.
pub(super) const SHORT_RSA: [&dyn SignatureVerificationAlgorithm; 2] = [
    &ShortRsa {
        parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        signature_alg_id: alg_id::RSA_PKCS1_SHA256,
    },
    &ShortRsa {
        parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        signature_alg_id: alg_id::RSA_PKCS1_SHA512,
    },
];

/// What they are called in a handshake, in the same order.
pub(super) const SHORT_RSA_SCHEMES: [SignatureScheme; 2] =
    [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::RSA_PKCS1_SHA512];

#[derive(Debug)]
struct ShortRsa {
    parameters: &'static RsaParameters,
    signature_alg_id: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for ShortRsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = UnparsedPublicKey::new(self.parameters, public_key);
        key.verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature_alg_id
    }
}
