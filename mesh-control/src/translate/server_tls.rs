//! What gateways end TLS with, as istiod's `BuildListenerTLSContext` makes it.

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as tls;
use tls::certificate_validation_context::TrustChainVerification;
use tls::common_tls_context::ValidationContextType;
use tls::tls_parameters::TlsProtocol;

use super::address::any;
use super::tls::{
    DEFAULT, HTTP, ROOT, accepts, combined, crl_file, exact_all, of_agent, of_secret, socket,
};
use crate::model::{ServerTls, ServerTlsMode, TlsVersion};

/// Of a server that ends TLS.
pub(super) fn of_server(rule: &ServerTls) -> core::TransportSocket {
    let mode = rule.mode;
    let mut common = tls::CommonTlsContext {
        alpn_protocols: HTTP.map(str::to_owned).into(),
        ..Default::default()
    };
    let requires = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::IstioMutual);
    let validates = requires || mode == ServerTlsMode::OptionalMutual;
    match rule.credential_names.first() {
        Some(first) if mode != ServerTlsMode::IstioMutual => {
            let names = rule.credential_names.iter();
            common.tls_certificate_sds_secret_configs = names.map(|name| of_secret(name)).collect();
            common.validation_context_type = with_secrets(rule, first, validates);
        }
        _ => with_files(rule, validates, &mut common),
    }
    if mode != ServerTlsMode::IstioMutual {
        common.tls_params = parameters(rule);
    }
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(requires),
        ..Default::default()
    };
    socket("envoy.transport_sockets.tls", any(&context))
}

/// Clients are checked with the Secret's own roots (`ApplyCredentialSDSToServerCommonTLSContext`).
fn with_secrets(rule: &ServerTls, name: &str, validates: bool) -> Option<ValidationContextType> {
    let names = exact_all(&rule.subject_alt_names);
    if validates {
        let context = tls::CertificateValidationContext {
            verify_certificate_spki: rule.certificate_spki.clone(),
            verify_certificate_hash: rule.certificate_hash.clone(),
            trust_chain_verification: trust(rule),
            ..accepts(names)
        };
        let roots = of_secret(&format!("{name}-cacert"));
        return Some(combined(context, roots));
    }
    (!names.is_empty()).then(|| ValidationContextType::ValidationContext(accepts(names)))
}

/// Files are served by the proxy's agent, the workload's own identity as well (`ApplyToCommonTLSContext`).
fn with_files(rule: &ServerTls, validates: bool, common: &mut tls::CommonTlsContext) {
    let is_own = rule.mode == ServerTlsMode::IstioMutual;
    let mut names: Vec<String> = match is_own {
        true => Vec::new(),
        false => {
            let files = rule.certificates.iter();
            files
                .map(|(certificate, key)| format!("file-cert:{certificate}~{key}"))
                .collect()
        }
    };
    if names.is_empty() {
        names.push(DEFAULT.to_owned());
    }
    common.tls_certificate_sds_secret_configs = names.iter().map(|name| of_agent(name)).collect();
    if validates {
        let context = tls::CertificateValidationContext {
            crl: crl_file(&rule.ca_crl),
            trust_chain_verification: trust(rule),
            ..accepts(exact_all(&rule.subject_alt_names))
        };
        let roots = match rule.ca_certificates.as_str() {
            path if !path.is_empty() && !is_own => of_agent(&format!("file-root:{path}")),
            _ => of_agent(ROOT),
        };
        common.validation_context_type = Some(combined(context, roots));
    }
}

fn trust(rule: &ServerTls) -> i32 {
    match rule.insecure_skip_verify {
        true => TrustChainVerification::AcceptUntrusted.into(),
        false => TrustChainVerification::VerifyTrustChain.into(),
    }
}

/// `None`: nothing is said.
fn parameters(rule: &ServerTls) -> Option<tls::TlsParameters> {
    let version = |version| match version {
        TlsVersion::Auto => TlsProtocol::TlsAuto,
        TlsVersion::V10 => TlsProtocol::TlSv10,
        TlsVersion::V11 => TlsProtocol::TlSv11,
        TlsVersion::V12 => TlsProtocol::TlSv12,
        TlsVersion::V13 => TlsProtocol::TlSv13,
    };
    let parameters = tls::TlsParameters {
        tls_minimum_protocol_version: version(rule.min_version).into(),
        tls_maximum_protocol_version: version(rule.max_version).into(),
        cipher_suites: rule.cipher_suites.clone(),
        ..Default::default()
    };
    (parameters != tls::TlsParameters::default()).then_some(parameters)
}
