//! Failures of TLS in the words of Go's `crypto/tls` and `crypto/x509`, because those are what people search for.

use std::fmt;

use crate::calendar::civil_from_days;
use rustls::pki_types::{IpAddr as PkiIpAddr, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Something that Go's client can do and this one cannot.
#[derive(Debug)]
pub(super) struct NotBuiltIn {
    /// The fact.
    pub(super) what: String,
    pub(super) way_out: &'static str,
}

impl fmt::Display for NotBuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, way_out } = self;
        write!(f, "{what}, which is not built in; {way_out}")
    }
}

impl std::error::Error for NotBuiltIn {}

/// The sentence for a failure before the server has said anything but that.
pub(in crate::http) fn first_words(error: &Error) -> String {
    match error {
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity) => {
            format!(
                "{}: the server takes nothing of what is built in: keys agreed on by X25519, P-256, P-384 \
                 or P-521, AES-GCM or ChaCha20-Poly1305, a key of RSA, ECDSA with P-256, P-384 or P-521, or Ed25519; not \
                 built in are CBC suites, keys sent by RSA, and DHE; let the server offer one of these, or a TLS proxy \
                 beside it",
                words(error)
            )
        }
        error => words(error),
    }
}

/// The sentence for a failure.
pub(in crate::http) fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => {
            format!("tls: failed to verify certificate: x509: {}", certificate_words(error))
        }
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_words(*alert)),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "tls: server selected unsupported protocol version".to_owned(),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "tls: first record does not look like a TLS handshake".to_owned(),
        Error::NoApplicationProtocol => "remote error: tls: no application protocol".to_owned(),
        Error::DecryptError => "local error: tls: bad record MAC".to_owned(),
        Error::PeerSentOversizedRecord => "local error: tls: record overflow".to_owned(),
        // Their own words are names in Rust.
        Error::PeerIncompatible(_) => "tls: the server wants something that is not built in".to_owned(),
        Error::PeerMisbehaved(_) => "tls: the server does not keep to the protocol".to_owned(),
        Error::InvalidMessage(_) => "tls: error decoding message".to_owned(),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "tls: received unexpected message".to_owned()
        }
        Error::General(words) => format!("tls: {words}"),
        other => format!("tls: {other}"),
    }
}

fn certificate_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::NotValidYet => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "certificate has expired or is not yet valid: current time {} is after {}",
            rfc_3339(*time),
            rfc_3339(*not_after)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "certificate has expired or is not yet valid: current time {} is before {}",
            rfc_3339(*time),
            rfc_3339(*not_before)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => name_words(expected, presented),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => "unhandled critical extension".to_owned(),
        CertificateError::BadEncoding => "malformed certificate".to_owned(),
        CertificateError::BadSignature => "invalid signature".to_owned(),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => chain_words(error),
            None => other.to_string(),
        },
        // Whatever it is, it has no name in Rust here.
        _ => "the certificate cannot be used".to_owned(),
    }
}

/// What is wrong with a chain, of what has no words of rustls' own.
fn chain_words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::NameConstraintViolation => {
            "a root or intermediate certificate is not authorized to sign for this name"
        }
        webpki::Error::PathLenConstraintViolated => "too many intermediates for path length constraint",
        webpki::Error::EndEntityUsedAsCa => "certificate is not authorized to sign other certificates",
        webpki::Error::MaximumPathDepthExceeded
        | webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumSignatureChecksExceeded
        | webpki::Error::MaximumNameConstraintComparisonsExceeded => {
            "the certificates that the server sends are too many to be verified; let it send its chain and no more"
        }
        webpki::Error::UnsupportedCertVersion => "certificate is of another version than 3; have it issued again",
        _ => "malformed certificate",
    }
    .to_owned()
}

/// Go's `HostnameError`.
fn name_words(expected: &ServerName<'_>, presented: &[String]) -> String {
    // As webpki prints them: DnsName("a"), IpAddress(127.0.0.1).
    let of_kind = |kind: &str| -> Vec<&str> {
        let names = presented.iter().filter_map(|name| name.strip_prefix(kind)?.strip_suffix(')'));
        names.map(|name| name.trim_matches('"')).collect()
    };
    let (names, expected) = match expected {
        ServerName::IpAddress(address) => {
            let address = match address {
                PkiIpAddr::V4(address) => std::net::IpAddr::from(*address.as_ref()).to_string(),
                PkiIpAddr::V6(address) => std::net::IpAddr::from(*address.as_ref()).to_string(),
            };
            let names = of_kind("IpAddress(");
            if names.is_empty() {
                return format!(
                    "cannot validate certificate for {address} because it doesn't contain any IP SANs"
                );
            }
            (names, address)
        }
        expected => (of_kind("DnsName("), expected.to_str().into_owned()),
    };
    if names.is_empty() {
        return format!("certificate is not valid for any names, but wanted to match {expected}");
    }
    format!("certificate is valid for {}, not {expected}", names.join(", "))
}

/// Go's `alertText`.
fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::RecordOverflow => "record overflow",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::MissingExtension => "missing extension",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    }
    .to_owned()
}

/// UTC, to the second.
fn rfc_3339(time: UnixTime) -> String {
    let seconds = time.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(i64::try_from(days).unwrap_or(0));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(error: CertificateError, want: &str) {
        assert_eq!(
            words(&Error::InvalidCertificate(error)),
            format!("tls: failed to verify certificate: x509: {want}")
        );
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn not_for(expected: &str, presented: &[&str], want: &str) {
        let expected = ServerName::try_from(expected.to_owned()).expect("a name");
        let presented = presented.iter().map(|name| (*name).to_owned()).collect();
        check(CertificateError::NotValidForNameContext { expected, presented }, want);
    }

    #[test]
    fn the_words_are_those_of_go() {
        check(CertificateError::UnknownIssuer, "certificate signed by unknown authority");
        check(
            CertificateError::ExpiredContext { time: at(951_782_400), not_after: at(946_684_799) },
            "certificate has expired or is not yet valid: current time 2000-02-29T00:00:00Z is after \
             1999-12-31T23:59:59Z",
        );
        check(
            CertificateError::NotValidYetContext { time: at(0), not_before: at(4_102_444_800) },
            "certificate has expired or is not yet valid: current time 1970-01-01T00:00:00Z is before \
             2100-01-01T00:00:00Z",
        );
        not_for(
            "c",
            &["DnsName(\"a\")", "IpAddress(127.0.0.1)", "DnsName(\"b\")"],
            "certificate is valid for a, b, not c",
        );
        not_for("10.0.0.1", &["IpAddress(127.0.0.1)"], "certificate is valid for 127.0.0.1, not 10.0.0.1");
        not_for(
            "10.0.0.1",
            &["DnsName(\"a\")"],
            "cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs",
        );
        not_for("c", &[], "certificate is not valid for any names, but wanted to match c");
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(words(&alert), "remote error: tls: certificate required");
    }
}
