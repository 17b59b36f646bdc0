//! Certificate signing requests (RFC 2986).

use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::RefusedCsr;

/// No honest request is longer; RSA with 8,192 bits takes 5 kB.
const MAX_LENGTH: usize = 64 * 1024;

/// The public key of a request whose sender has shown to hold the private one. Names, extensions and everything else
/// that the request asks for is read by nobody.
pub(super) fn public_key(pem: &str) -> Result<SubjectPublicKeyInfo, RefusedCsr> {
    if pem.len() > MAX_LENGTH {
        return Err(RefusedCsr::Malformed("it is too long"));
    }
    let block = Pem::iter_from_buffer(pem.as_bytes())
        .next()
        .and_then(Result::ok)
        .ok_or(RefusedCsr::Malformed("it is not PEM"))?;
    if block.label != "CERTIFICATE REQUEST" && block.label != "NEW CERTIFICATE REQUEST" {
        return Err(RefusedCsr::Malformed("its PEM holds no request"));
    }
    let (rest, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|_| RefusedCsr::Malformed("it is not DER"))?;
    if !rest.is_empty() {
        return Err(RefusedCsr::Malformed("something follows it"));
    }
    request
        .verify_signature()
        .map_err(|_| RefusedCsr::Signature)?;
    let info = &request.certification_request_info.subject_pki;
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| RefusedCsr::Key)
}
