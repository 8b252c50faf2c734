//! Signatures by an RSA key: what OAuth 2 assertions need of the library that TLS has.

use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::http::tls::provider::PROVIDER;

/// The hash of an RSA signature with PKCS 1 padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RsaHash {
    Sha256,
    Sha384,
    Sha512,
}

/// Signs `message` with the key in `pem`. The error says nothing of the key.
pub(in crate::http) fn sign_by_rsa(pem: &[u8], hash: RsaHash, message: &[u8]) -> Result<Vec<u8>, String> {
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key".to_owned())?;
    let loaded = PROVIDER.key_provider.load_private_key(key);
    let scheme = match hash {
        RsaHash::Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
        RsaHash::Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
        RsaHash::Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
    };
    let signer = loaded.ok().and_then(|key| key.choose_scheme(&[scheme]));
    let signer = signer.ok_or_else(|| "key is not a valid RSA private key".to_owned())?;
    signer.sign(message).map_err(|_| "the key cannot sign".to_owned())
}
