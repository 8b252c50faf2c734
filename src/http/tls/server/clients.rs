//! Whose clients may come: Go's `ClientAuthType`, and exporter-toolkit's list of names.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoClientAuth;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::config::web::server_tls::{ClientAuth, ServerTlsConfig};
use crate::http::tls::certificate::Certificate;
use crate::http::tls::material::Parts;
use crate::http::tls::verifier::{Owner, Possession, RootsVerifier, offered};

/// What verifies clients as `settings` want it.
pub(super) fn clients_verifier(
    settings: &ServerTlsConfig,
    parts: &Parts,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    let requires = matches!(
        settings.client_auth,
        ClientAuth::RequireAnyClientCert | ClientAuth::RequireAndVerifyClientCert
    );
    match settings.client_auth {
        ClientAuth::NoClientCert => Arc::new(NoClientAuth),
        _ => Arc::new(ClientsVerifier {
            issuers: parts.roots.as_ref().map(|roots| RootsVerifier::new(roots, &provider)),
            // Without a certificate there is no name that could be allowed.
            is_mandatory: requires || settings.client_allowed_sans.is_some(),
            allowed_names: settings.client_allowed_sans.clone(),
            provider,
        }),
    }
}

#[derive(Debug)]
struct ClientsVerifier {
    /// `None`: anyone's certificate will do.
    issuers: Option<RootsVerifier>,
    is_mandatory: bool,
    allowed_names: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ClientsVerifier {
    fn possession(&self) -> Possession<'_> {
        Possession { provider: &self.provider, owner: Owner::Client }
    }
}

impl ClientCertVerifier for ClientsVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients show what they have.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
        if let Some(issuers) = &self.issuers {
            issuers.verify_certificate(end_entity, intermediates, now, Owner::Client, None)?;
        }
        let is_allowed = |names: &Vec<String>| certificate.names.iter().any(|name| names.contains(name));
        if !self.allowed_names.as_ref().is_none_or(is_allowed) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession().verify(message, cert, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession().verify(message, cert, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        offered(&self.provider)
    }
}
