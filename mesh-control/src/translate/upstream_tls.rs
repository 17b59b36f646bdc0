//! How a cluster's connections are secured: as its rule says, else by what its endpoints offer.

use std::collections::BTreeSet;

use mesh_proto::envoy::config::cluster::v3 as xds;
use prost_types::Struct;
use xds::cluster::{ClusterDiscoveryType, DiscoveryType, TransportSocketMatch};

use super::scope::Scope;
use super::traffic_policy::{HttpOptions, Target};
use super::{NodeKind, endpoints, mutual_tls, tls};
use crate::model::{ClientTls, ClientTlsMode, MtlsMode, TrafficPolicy};
use crate::registry::{Origin, Resolution, Service, TLS_DISABLED};

pub(super) fn apply(
    scope: &Scope,
    of: &Target<'_>,
    cluster: &mut xds::Cluster,
    http: &mut HttpOptions,
    policy: &TrafficPolicy,
) {
    let accounts = accounts(scope, of.service);
    let Some((tls, is_detected)) = settings(scope, of, policy, &accounts) else {
        return;
    };
    if is_withheld(scope, of, &tls) {
        return;
    }
    if tls.is_originated() {
        let sni = tls.sni.is_empty();
        let names = sni && tls.subject_alt_names.is_empty() && !tls.insecure_skip_verify;
        http.set_auto(sni, names);
    }
    let entry_names: &[String] = match of.service.origin {
        Origin::Entry => &accounts,
        Origin::Kubernetes => &[],
    };
    let socket = tls::Upstream {
        tls: &tls,
        http2: http.is_http2(),
        entry_names,
    }
    .socket();
    let original = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    if !is_detected || cluster.cluster_discovery_type == Some(original) {
        cluster.transport_socket = socket;
        return;
    }
    let matched = |name: &str, fields, socket| TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(fields),
        transport_socket: socket,
    };
    cluster.transport_socket_matches = vec![
        matched(
            "tlsMode-istio",
            endpoints::tls_mode(mutual_tls::ISTIO),
            socket,
        ),
        matched(
            "tlsMode-disabled",
            Struct::default(),
            Some(tls::raw_buffer()),
        ),
    ];
}

/// What is to be done, and whether the rule did not say it.
fn settings(
    scope: &Scope,
    of: &Target<'_>,
    policy: &TrafficPolicy,
    accounts: &[String],
) -> Option<(ClientTls, bool)> {
    let sni = format!("outbound_.{}_.{}_.{}", of.port, of.subset, of.service.host);
    if let Some(given) = &policy.tls {
        let mut tls = given.clone();
        if tls.mode == ClientTlsMode::IstioMutual {
            tls = ClientTls {
                sni: match given.sni.as_str() {
                    "" => sni,
                    given => given.to_owned(),
                },
                subject_alt_names: match given.subject_alt_names.is_empty() {
                    true => accounts.to_vec(),
                    false => given.subject_alt_names.clone(),
                },
                ..istio_mutual()
            };
        }
        return Some((tls, false));
    }
    if of.service.is_external || !scope.config.mesh.auto_mtls || !is_offered(scope, of) {
        return None;
    }
    let tls = ClientTls {
        sni,
        subject_alt_names: accounts.to_vec(),
        ..istio_mutual()
    };
    Some((tls, true))
}

fn istio_mutual() -> ClientTls {
    ClientTls {
        mode: ClientTlsMode::IstioMutual,
        client_certificate: String::new(),
        private_key: String::new(),
        ca_certificates: String::new(),
        ca_crl: String::new(),
        credential_name: String::new(),
        subject_alt_names: Vec::new(),
        sni: String::new(),
        insecure_skip_verify: false,
    }
}

/// Whether some endpoint may take mutual TLS; all must where the proxy does not choose among them.
fn is_offered(scope: &Scope, of: &Target<'_>) -> bool {
    let service = of.service;
    if service.resolution == Resolution::Passthrough || of.is_passthrough {
        let Some(port) = service.port(of.port) else {
            return false;
        };
        let mut any = false;
        for endpoint in service.endpoints_by_port(port) {
            any = true;
            if *endpoint.tls_mode == *TLS_DISABLED {
                return false;
            }
        }
        if !any {
            return false;
        }
    }
    mutual_tls::of_namespace(&scope.config, &service.namespace) != MtlsMode::Disable
}

/// A Secret is not for every sidecar: only a rule that selects workloads gives it to them.
fn is_withheld(scope: &Scope, of: &Target<'_>, tls: &ClientTls) -> bool {
    let is_secret =
        !tls.credential_name.is_empty() && !tls.credential_name.starts_with("configmap://");
    is_secret
        && scope.node.kind == NodeKind::Sidecar
        && of.rule.is_none_or(|rule| rule.workload_labels.is_none())
        && tls.is_originated()
}

/// Who serves it: identities in all trust domains of the mesh, and names that its entry gives.
fn accounts(scope: &Scope, service: &Service) -> Vec<String> {
    let mesh = &scope.config.mesh;
    let mut all = BTreeSet::new();
    for endpoint in service.endpoints.iter().filter(|e| !e.identity.is_empty()) {
        for domain in mesh.trust_domains() {
            all.insert(format!("spiffe://{domain}/{}", endpoint.identity));
        }
    }
    for name in &service.subject_alt_names {
        all.insert(name.clone());
        let identity = name
            .strip_prefix("spiffe://")
            .and_then(|n| n.split_once('/'));
        if let Some((_, identity)) = identity {
            let aliases = mesh.trust_domain_aliases.iter();
            all.extend(aliases.map(|domain| format!("spiffe://{domain}/{identity}")));
        }
    }
    all.into_iter().collect()
}
