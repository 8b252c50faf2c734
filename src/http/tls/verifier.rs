//! Says whether a peer is who it claims to be: as Go's `Certificate.Verify`, by webpki's chains; and "do not ask".
//!
//! A server may show one of the trusted certificates itself: then its dates, its usage and its name count, and no
//! signature. Where webpki is stricter than Go (an authority's certificate as a server's, policies that are critical)
//! it gets a patched copy, and the signature of the original is verified.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use crate::http::tls::certificate::{
    ANY_USAGE, CLIENT_AUTH, Certificate, SERVER_AUTH, algorithm_words, signature_words,
};
use crate::http::tls::nist::{NIST, NIST_SCHEMES};
use crate::http::tls::roots::{Limits, Roots};
use crate::http::tls::short_rsa::{SHORT_RSA, SHORT_RSA_SCHEMES};
use crate::http::tls::words::NotBuiltIn;

/// What helps where the chain of a certificate cannot be verified.
const OTHER_ISSUER: &str = "have it issued with RSA, ECDSA (P-256, P-384 or P-521) or Ed25519 and SHA-256 or more, or \
                            put the server's own certificate into ca_file";

/// What helps where the server's own key cannot be used.
const OTHER_KEY: &str =
    "give the server a key of RSA with 2048 bits or more, ECDSA with P-256, P-384 or P-521, or Ed25519";

/// What helps where a client's key cannot be used.
const OTHER_CLIENT_KEY: &str =
    "give the client a key of RSA with 2048 bits or more, ECDSA with P-256, P-384 or P-521, or Ed25519";

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Server,
    Client,
}

impl Owner {
    /// The usage that it must be meant for.
    fn usage(self) -> &'static [u8] {
        match self {
            Self::Server => SERVER_AUTH,
            Self::Client => CLIENT_AUTH,
        }
    }
}

/// Verifies against `roots`.
#[derive(Debug)]
pub(in crate::http) struct RootsVerifier {
    roots: Arc<Roots>,
    provider: Arc<CryptoProvider>,
}

impl RootsVerifier {
    pub(in crate::http) fn new(roots: &Arc<Roots>, provider: &Arc<CryptoProvider>) -> Self {
        Self { roots: Arc::clone(roots), provider: Arc::clone(provider) }
    }

    /// Whether a chain leads from `leaf` to one of the roots.
    fn verify_chain(
        &self,
        leaf: &EndEntityCert<'_>,
        mut signed_parts: Vec<SignedPart>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        owner: Owner,
    ) -> Result<(), Error> {
        // What cannot be read or may not sign leads nowhere.
        let mut issuers = Vec::new();
        for der in intermediates {
            if let Some(certificate) = Certificate::read(der).filter(Certificate::may_sign) {
                issuers.push(patched(&certificate, der, false, &mut signed_parts));
            }
        }
        // The first that is meant decides; these take longer keys too.
        let known = SHORT_RSA.iter().chain(&NIST).chain(self.provider.signature_verification_algorithms.all);
        let algorithms: Vec<OfOriginals<'_>> = known
            .map(|algorithm| OfOriginals { algorithm: *algorithm, signed_parts: &signed_parts })
            .collect();
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
            algorithms.iter().map(|algorithm| algorithm as _).collect();
        // webpki does not look at the dates of roots, nor at how long chains below them may be.
        let is_good = |limits: &&Limits| (limits.not_before..=limits.not_after).contains(&now);
        let pairs = self.roots.anchors.iter().zip(&self.roots.limits).filter(|(_, limits)| is_good(limits));
        let (anchors, limits): (Vec<TrustAnchor<'_>>, Vec<&Limits>) =
            pairs.map(|(anchor, limits)| (borrowed(anchor), limits)).unzip();
        let is_short_enough = |path: &VerifiedPath<'_>| {
            let n_between = path.intermediate_certificates().count();
            let idx = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
            match idx.and_then(|idx| limits[idx].max_path) {
                Some(max_path) if n_between > usize::from(max_path) => {
                    Err(webpki::Error::PathLenConstraintViolated)
                }
                _ => Ok(()),
            }
        };
        leaf.verify_for_usage(&algorithms, &anchors, &issuers, now, For(owner), None, Some(&is_short_enough))
            .map(drop)
            .map_err(refusal)
    }

    /// Whether a root vouches for a certificate that `owner` shows, today and for this use; and whether it is that of
    /// `name`.
    pub(super) fn verify_certificate(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        owner: Owner,
        name: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        let certificate = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
        let mut signed_parts = Vec::new();
        let der = patched(&certificate, end_entity, true, &mut signed_parts);
        let leaf = EndEntityCert::try_from(&der).map_err(refusal)?;
        if self.roots.hold(end_entity) {
            let Certificate { not_before, not_after, .. } = certificate;
            if now < not_before {
                return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
            }
            if now > not_after {
                return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
            }
            if !certificate.is_for(owner.usage()) {
                return Err(CertificateError::InvalidPurpose.into());
            }
        } else {
            self.verify_chain(&leaf, signed_parts, intermediates, now, owner)?;
        }
        name.map_or(Ok(()), |name| leaf.verify_is_valid_for_subject_name(name).map_err(refusal))
    }
}

/// Whether `owner` has the key of a certificate.
pub(super) struct Possession<'a> {
    pub(super) provider: &'a CryptoProvider,
    pub(super) owner: Owner,
}

impl Possession<'_> {
    pub(super) fn verify(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        is_tls_13: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = Certificate::read(cert).ok_or(CertificateError::BadEncoding)?;
        let algorithm = if certificate.has_short_rsa_key() {
            let known = SHORT_RSA.iter().zip(SHORT_RSA_SCHEMES);
            known.filter(|(_, scheme)| *scheme == signed.scheme && !is_tls_13).map(|(known, _)| *known).next()
        } else {
            let mapping = self.provider.signature_verification_algorithms.mapping;
            let of_scheme =
                mapping.iter().chain(&NIST_SCHEMES).filter(|(scheme, _)| *scheme == signed.scheme);
            let mut of_scheme = of_scheme.flat_map(|(_, algorithms)| *algorithms);
            // In TLS 1.3 a scheme names its curve.
            let n_meant = if is_tls_13 { 1 } else { usize::MAX };
            let is_of_key = |known: &&&dyn SignatureVerificationAlgorithm| {
                known.public_key_alg_id().as_ref() == certificate.key_algorithm
            };
            of_scheme.by_ref().take(n_meant).find(is_of_key).copied()
        };
        let Some(algorithm) = algorithm else {
            let words = certificate.key_words();
            return Err(match self.owner {
                Owner::Server => not_built_in(format!("the server's key is {words}"), OTHER_KEY),
                Owner::Client => not_built_in(format!("the client's key is {words}"), OTHER_CLIENT_KEY),
            });
        };
        algorithm
            .verify_signature(certificate.key, message, signed.signature())
            .map_err(|InvalidSignature| CertificateError::BadSignature)?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for RootsVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_certificate(end_entity, intermediates, now, Owner::Server, Some(server_name))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Possession { provider: &self.provider, owner: Owner::Server }.verify(message, cert, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Possession { provider: &self.provider, owner: Owner::Server }.verify(message, cert, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        offered(&self.provider)
    }
}

/// What is built in, and last P-521, which takes longest.
pub(super) fn offered(provider: &CryptoProvider) -> Vec<SignatureScheme> {
    let mut schemes = provider.signature_verification_algorithms.supported_schemes();
    schemes.push(SignatureScheme::ECDSA_NISTP521_SHA512);
    schemes
}

/// What somebody has signed, after patching and before.
type SignedPart = (Vec<u8>, Vec<u8>);

fn patched(
    certificate: &Certificate<'_>,
    der: &CertificateDer<'_>,
    is_servers: bool,
    signed_parts: &mut Vec<SignedPart>,
) -> CertificateDer<'static> {
    let patched = certificate.patched(der, is_servers);
    if patched != der.as_ref()
        && let Some(after) = Certificate::read(&patched)
    {
        signed_parts.push((after.signed_part.to_vec(), certificate.signed_part.to_vec()));
    }
    CertificateDer::from(patched)
}

fn borrowed<'a>(anchor: &'a TrustAnchor<'_>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: anchor.subject.as_ref().into(),
        subject_public_key_info: anchor.subject_public_key_info.as_ref().into(),
        name_constraints: anchor.name_constraints.as_ref().map(|constraints| constraints.as_ref().into()),
    }
}

/// Verifies signatures of patched certificates as those of the originals.
#[derive(Debug)]
struct OfOriginals<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    signed_parts: &'a [SignedPart],
}

impl SignatureVerificationAlgorithm for OfOriginals<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let original = self.signed_parts.iter().find(|(patched, _)| patched == message);
        let message = original.map_or(message, |(_, original)| original);
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// Go's `ExtKeyUsageServerAuth` and `ExtKeyUsageClientAuth`; "any" has both in it.
struct For(Owner);

impl ExtendedKeyUsageValidator for For {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let meant = [self.0.usage(), ANY_USAGE].map(|oid| webpki::KeyPurposeId::new(oid).to_decoded_oid());
        let mut present = Vec::new();
        for usage in usages {
            present.push(usage?.to_decoded_oid());
        }
        if present.is_empty() || present.iter().any(|usage| meant.contains(usage)) {
            return Ok(());
        }
        let required = match self.0 {
            Owner::Server => webpki::KeyUsage::server_auth(),
            Owner::Client => webpki::KeyUsage::client_auth(),
        };
        let context = webpki::RequiredEkuNotFoundContext { required, present };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

fn not_built_in(what: String, way_out: &'static str) -> Error {
    CertificateError::Other(OtherError(Arc::new(NotBuiltIn { what, way_out }))).into()
}

/// What webpki says, as rustls says it.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as Cause;
    let error = match error {
        Cause::BadDer | Cause::BadDerTime | Cause::TrailingData(_) => CertificateError::BadEncoding,
        Cause::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Cause::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Cause::InvalidCertValidity => CertificateError::Expired,
        Cause::UnknownIssuer => CertificateError::UnknownIssuer,
        Cause::CertNotValidForName(context) => CertificateError::NotValidForNameContext {
            expected: context.expected,
            presented: context.presented,
        },
        Cause::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Cause::RequiredEkuNotFoundContext(_) | Cause::EmptyEkuExtension => CertificateError::InvalidPurpose,
        Cause::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        Cause::UnsupportedSignatureAlgorithmContext(context) => {
            let words = signature_words(&context.signature_algorithm_id);
            return not_built_in(format!("a certificate is signed by {words}"), OTHER_ISSUER);
        }
        Cause::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            let words = algorithm_words(&context.public_key_algorithm_id, &[]);
            return not_built_in(format!("a certificate is signed by a key of {words}"), OTHER_ISSUER);
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}

/// `insecure_skip_verify`: anybody will do, with a certificate of any age and format.
#[derive(Debug)]
pub(in crate::http) struct NoVerifier {
    pub(in crate::http) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        offered(&self.provider)
    }
}
