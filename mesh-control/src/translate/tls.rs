//! TLS contexts with secrets from SDS, as istiod's `pilot/pkg/security` and `core/cluster_tls.go` make them.

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use mesh_proto::envoy::extensions::transport_sockets::tls::v3 as tls;
use mesh_proto::envoy::r#type::matcher::v3 as matcher;
use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use tls::tls_parameters::TlsProtocol;

use super::address::{ads, any, zero};
use crate::model::{ClientTls, ClientTlsMode, MeshConfig};

/// The workload's own certificate, and what it trusts.
pub(super) const DEFAULT: &str = "default";
pub(super) const ROOT: &str = "ROOTCA";
/// Where the bootstrap of a proxy says that these come from.
const SDS_CLUSTER: &str = "sds-grpc";
/// What servers offer at the least, without the prefix `istio`, which tells mutual TLS from the application's own.
pub(super) const HTTP: [&str; 2] = ["h2", "http/1.1"];
const SERVER_CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// What a sidecar terminates mutual TLS of the mesh with.
pub(super) fn inbound(mesh: &MeshConfig) -> core::TransportSocket {
    let domains = mesh.trust_domains().fold(Vec::new(), |mut all, domain| {
        if !domain.is_empty() && !all.contains(&domain) {
            all.push(domain);
        }
        all
    });
    let peers = domains
        .into_iter()
        .map(|domain| prefix(format!("spiffe://{domain}/")));
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            alpn_protocols: HTTP.map(str::to_owned).into(),
            tls_params: Some(tls::TlsParameters {
                cipher_suites: SERVER_CIPHERS.map(str::to_owned).into(),
                ..versions()
            }),
            tls_certificate_sds_secret_configs: vec![of_agent(DEFAULT)],
            validation_context_type: Some(validated(peers.collect(), of_agent(ROOT))),
            ..Default::default()
        }),
        require_client_certificate: Some(true),
        ..Default::default()
    };
    socket("envoy.transport_sockets.tls", any(&context))
}

/// What connections to a service are secured with.
pub(super) struct Upstream<'a> {
    pub(super) tls: &'a ClientTls,
    pub(super) http2: bool,
    /// Names that a service outside of the mesh has, if the rule gives none.
    pub(super) entry_names: &'a [String],
}

impl Upstream<'_> {
    /// `None`: plaintext.
    pub(super) fn socket(&self) -> Option<core::TransportSocket> {
        let common = match self.tls.mode {
            ClientTlsMode::Disable => return None,
            ClientTlsMode::IstioMutual => self.istio_mutual(),
            ClientTlsMode::Simple => self.originated(false),
            ClientTlsMode::Mutual => self.originated(true),
        };
        let context = tls::UpstreamTlsContext {
            common_tls_context: Some(common),
            sni: self.tls.sni.clone(),
            ..Default::default()
        };
        Some(socket("envoy.transport_sockets.tls", any(&context)))
    }

    fn istio_mutual(&self) -> tls::CommonTlsContext {
        let alpn: &[&str] = match self.http2 {
            true => &["istio", "h2"],
            false => &["istio"],
        };
        let names = exact_all(&self.tls.subject_alt_names);
        tls::CommonTlsContext {
            tls_params: Some(versions()),
            tls_certificate_sds_secret_configs: vec![of_agent(DEFAULT)],
            validation_context_type: Some(validated(names, of_agent(ROOT))),
            alpn_protocols: alpn.iter().map(|p| (*p).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn originated(&self, mutual: bool) -> tls::CommonTlsContext {
        let rule = self.tls;
        let names = exact_all(match rule.subject_alt_names.is_empty() {
            true => self.entry_names,
            false => &rule.subject_alt_names,
        });
        let mut common = tls::CommonTlsContext {
            tls_params: Some(versions()),
            alpn_protocols: self.http2.then(|| "h2".to_owned()).into_iter().collect(),
            ..Default::default()
        };
        if !rule.credential_name.is_empty() {
            if mutual {
                common.tls_certificate_sds_secret_configs = vec![of_secret(&rule.credential_name)];
            }
            if !rule.insecure_skip_verify {
                let root = of_secret(&format!("{}-cacert", rule.credential_name));
                common.validation_context_type = Some(validated(names, root));
            }
            return common;
        }
        if mutual {
            let name = format!("file-cert:{}~{}", rule.client_certificate, rule.private_key);
            common.tls_certificate_sds_secret_configs = vec![of_agent(&name)];
        }
        common.validation_context_type = Some(match rule.insecure_skip_verify {
            true => ValidationContextType::ValidationContext(Default::default()),
            false => {
                let root = match rule.ca_certificates.as_str() {
                    "" => "system",
                    path => path,
                };
                combined(
                    tls::CertificateValidationContext {
                        crl: crl_file(&rule.ca_crl),
                        ..accepts(names)
                    },
                    of_agent(&format!("file-root:{root}")),
                )
            }
        });
        common
    }
}

pub(super) fn socket(name: &str, config: prost_types::Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

pub(super) fn raw_buffer() -> core::TransportSocket {
    socket(
        "envoy.transport_sockets.raw_buffer",
        any(&RawBuffer::default()),
    )
}

fn versions() -> tls::TlsParameters {
    tls::TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..Default::default()
    }
}

/// A file with revocation lists, if there is one.
pub(super) fn crl_file(path: &str) -> Option<core::DataSource> {
    (!path.is_empty()).then(|| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    })
}

#[allow(deprecated, reason = "istiod sets this field, not its successor")]
pub(super) fn accepts(names: Vec<matcher::StringMatcher>) -> tls::CertificateValidationContext {
    tls::CertificateValidationContext {
        match_subject_alt_names: names,
        ..Default::default()
    }
}

fn validated(
    names: Vec<matcher::StringMatcher>,
    root: tls::SdsSecretConfig,
) -> ValidationContextType {
    combined(accepts(names), root)
}

pub(super) fn combined(
    default: tls::CertificateValidationContext,
    root: tls::SdsSecretConfig,
) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(default),
        validation_context_sds_secret_config: Some(root),
        ..Default::default()
    })
}

pub(super) fn exact_all(names: &[String]) -> Vec<matcher::StringMatcher> {
    let exact = |name: &String| matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(name.clone())),
        ..Default::default()
    };
    names.iter().map(exact).collect()
}

fn prefix(text: String) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Prefix(text)),
        ..Default::default()
    }
}

/// A secret that the proxy's agent serves: its own, or files.
pub(super) fn of_agent(name: &str) -> tls::SdsSecretConfig {
    let service = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
            core::grpc_service::EnvoyGrpc {
                cluster_name: SDS_CLUSTER.to_owned(),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        set_node_on_first_message_only: true,
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![service],
        ..Default::default()
    };
    let waits = name == DEFAULT || name == ROOT;
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(core::ConfigSource {
            config_source_specifier: Some(
                core::config_source::ConfigSourceSpecifier::ApiConfigSource(source),
            ),
            resource_api_version: core::ApiVersion::V3.into(),
            // without its identity a proxy does nothing
            initial_fetch_timeout: waits.then(zero),
            ..Default::default()
        }),
    }
}

/// A Kubernetes Secret, which the control plane serves. A proxy may lack the right to it, so nothing waits for it.
pub(super) fn of_secret(name: &str) -> tls::SdsSecretConfig {
    let resource = match name {
        "builtin://" => return of_agent(DEFAULT),
        "builtin://-cacert" => return of_agent(ROOT),
        name if name.contains("://") => name.to_owned(),
        name => format!("kubernetes://{name}"),
    };
    tls::SdsSecretConfig {
        name: resource,
        sds_config: Some(core::ConfigSource {
            initial_fetch_timeout: None,
            ..ads()
        }),
    }
}
