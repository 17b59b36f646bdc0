//! What went wrong in a handshake, in Envoy's words (its transport failure reason).
//!
//! BoringSSL's codes and names are written where rustls's error tells which it would be; what rustls knows less of is
//! named after its own error.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::verifier::Refusal;

/// BoringSSL's library of TLS errors, as the codes have it.
const SSL: u32 = 16 << 24;

/// The reason of a failed handshake; empty: the peer went away.
pub(super) fn reason(error: &io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|e| e.downcast_ref::<Error>()) else {
        return String::new();
    };
    let (code, name, words) = match error {
        Error::InvalidCertificate(error) => (125, "CERTIFICATE_VERIFY_FAILED", Some(words(error))),
        Error::AlertReceived(alert) => {
            let (number, name) = alert_name(*alert);
            (1000 + u32::from(number), name, None)
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            (247, "WRONG_VERSION_NUMBER", None)
        }
        Error::PeerIncompatible(_) => (240, "UNSUPPORTED_PROTOCOL", None),
        Error::NoApplicationProtocol => (307, "NO_APPLICATION_PROTOCOL", None),
        Error::NoCertificatesPresented => (192, "PEER_DID_NOT_RETURN_A_CERTIFICATE", None),
        Error::DecryptError => (130, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC", None),
        other => return format!("TLS_error:{other}:TLS_error_end"),
    };
    let words = words.map(|words| format!(":{words}")).unwrap_or_default();
    let code = SSL + code;
    format!("TLS_error:|{code}:SSL routines:OPENSSL_internal:{name}{words}:TLS_error_end")
}

fn words(error: &CertificateError) -> String {
    use CertificateError as E;
    let words = match error {
        E::Other(other) => match other.0.downcast_ref::<Refusal>() {
            Some(refusal) => return refusal.0.clone(),
            None => "unspecified certificate verification error",
        },
        E::Expired | E::ExpiredContext { .. } => "certificate has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "certificate is not yet valid",
        E::UnknownIssuer => "unable to get local issuer certificate",
        E::Revoked => "certificate revoked",
        E::UnknownRevocationStatus => "unable to get certificate CRL",
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => "CRL has expired",
        E::BadSignature => "certificate signature failure",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "unsuitable certificate purpose",
        E::BadEncoding => "certificate cannot be read",
        _ => "unspecified certificate verification error",
    };
    format!(
        "verify cert failed: X509_verify_cert: certificate verification error at depth 0: {words}"
    )
}

/// The number, and BoringSSL's name for having received it.
fn alert_name(alert: AlertDescription) -> (u8, &'static str) {
    use AlertDescription as A;
    let name = match alert {
        A::CloseNotify => "SSLV3_ALERT_CLOSE_NOTIFY",
        A::UnexpectedMessage => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        A::BadRecordMac => "SSLV3_ALERT_BAD_RECORD_MAC",
        A::HandshakeFailure => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        A::NoCertificate => "SSLV3_ALERT_NO_CERTIFICATE",
        A::BadCertificate => "SSLV3_ALERT_BAD_CERTIFICATE",
        A::UnsupportedCertificate => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        A::CertificateRevoked => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        A::CertificateExpired => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        A::CertificateUnknown => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        A::IllegalParameter => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        A::UnknownCA => "TLSV1_ALERT_UNKNOWN_CA",
        A::AccessDenied => "TLSV1_ALERT_ACCESS_DENIED",
        A::DecodeError => "TLSV1_ALERT_DECODE_ERROR",
        A::DecryptError => "TLSV1_ALERT_DECRYPT_ERROR",
        A::ProtocolVersion => "TLSV1_ALERT_PROTOCOL_VERSION",
        A::InsufficientSecurity => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        A::InternalError => "TLSV1_ALERT_INTERNAL_ERROR",
        A::UnsupportedExtension => "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
        A::UnrecognisedName => "TLSV1_ALERT_UNRECOGNIZED_NAME",
        A::CertificateRequired => "TLSV1_ALERT_CERTIFICATE_REQUIRED",
        A::NoApplicationProtocol => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        _ => "UNKNOWN_ALERT_TYPE",
    };
    (u8::from(alert), name)
}
