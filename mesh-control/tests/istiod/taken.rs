//! Everything that the real istiod sends is taken by our own subscriber, and what it ignores of it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::filter::ConfigType;
use mesh_proto::envoy::config::listener::v3::{Filter, Listener};
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_xds::decode_resource;

use crate::oracle::Istiod;
use crate::support;

/// What our data plane does not do, and no answer, header or standard metric depends on; a part of the message each.
const IGNORED: &[&str] = &[
    "tracing: not supported yet",
    "filter_disabled: not supported yet",
    "connection_keepalive: not supported yet",
    "budget_interval: not supported yet",
    "respect_dns_ttl: not supported yet",
    // older ciphers, which rustls leaves out: no client of the mesh needs them
    "cipher_suites: there is no AES256-GCM-SHA384, AES128-GCM-SHA256; left out",
    // Envoy's own statistics of gRPC, not Istio's
    "gRPC statistics",
    // without mutual TLS nobody offers the protocol in which it would be exchanged
    "Istio's metadata exchange",
    // it changes what TLS offers, and there is no TLS
    "Istio's ALPN override",
    // headers between sidecars, from which metrics take the peer's name; ours have none of it
    "peer metadata exchange",
];

/// What Envoy 1.40 refuses in the same words.
const REFUSED: &[&str] = &[
    // SIMPLE with names, as istiod translates it
    "SAN-based verification of peer certificates without trusted CA is insecure and not allowed",
];

/// What is still to come, and would change an answer or a connection.
const TO_COME: &[&str] = &[
    // the listener's own, of connections
    "access_log: not supported yet",
    "the log is not written",
    "extension_filter: not supported yet",
    "envoy.formatter.req_without_query is not supported yet",
    "request_mirror_policies",
    "hash_policy: not supported yet",
    "max_downstream_connection_duration",
    "weighted_clusters: not supported yet",
    "address.pipe",
    "use a socket_address",
    "grpc_web.v3.GrpcWeb",
    "ProxyProtocolUpstreamTransport",
    "only raw_buffer is",
    // TLS within the PROXY protocol
    "only raw_buffer and tls are",
    // of the proxy's machine, where there is none
    "crl.filename: \"/crl\" cannot be read",
    "original_dst_lb_config.upstream_port_override",
];

/// What was refused or ignored, by field; with the first resource where it was.
#[derive(Debug, Default)]
pub(crate) struct Found(BTreeMap<String, String>);

impl Found {
    fn judge(&mut self, response: &DiscoveryResponse) {
        for any in &response.resources {
            let decoded = decode_resource(any);
            let name = decoded.name.as_deref().unwrap_or("?");
            if let Err(problems) = &decoded.resource {
                for problem in problems.to_string().split("; ") {
                    self.add(name, &format!("refused: {problem}"));
                }
            }
            for warning in &decoded.warnings {
                self.add(name, warning);
            }
        }
    }

    /// Indices make the same problem look different.
    fn add(&mut self, name: &str, problem: &str) {
        let mut known = IGNORED.iter().chain(REFUSED).chain(TO_COME);
        if known.any(|part| problem.contains(part)) {
            return;
        }
        let mut general = String::new();
        let mut index = false;
        for c in problem.chars() {
            match c {
                '[' => index = true,
                ']' => index = false,
                _ if index => continue,
                _ => {}
            }
            general.push(c);
        }
        self.0.entry(general).or_insert_with(|| name.to_owned());
    }

    pub(crate) fn text(&self) -> String {
        self.0
            .iter()
            .map(|(problem, name)| format!("{problem} ({name})\n"))
            .collect()
    }

    pub(crate) async fn node(&mut self, istiod: &Istiod, node: &core::Node) {
        let clusters = istiod.response::<Cluster>(node, &[]).await;
        self.judge(&clusters);
        let eds: Vec<String> = support::decode::<Cluster>(&clusters)
            .into_iter()
            .filter_map(|cluster| Some(cluster.eds_cluster_config?.service_name))
            .collect();
        if !eds.is_empty() {
            self.judge(&istiod.response::<ClusterLoadAssignment>(node, &eds).await);
        }
        let listeners = istiod.response::<Listener>(node, &[]).await;
        self.judge(&listeners);
        let routes: BTreeSet<String> = support::decode::<Listener>(&listeners)
            .iter()
            .flat_map(route_names)
            .collect();
        let routes: Vec<String> = routes.into_iter().collect();
        if !routes.is_empty() {
            self.judge(&istiod.response::<RouteConfiguration>(node, &routes).await);
        }
    }

    pub(crate) async fn folder(&mut self, folder: &Path, flags: &[&str]) {
        let istiod = Istiod::with_flags(folder, flags).await;
        for node in support::nodes_of_pods(folder) {
            self.node(&istiod, &node).await;
        }
    }
}

/// Names of the route configurations that a listener refers to.
fn route_names(listener: &Listener) -> Vec<String> {
    let chains = listener.filter_chains.iter();
    let filters = chains
        .chain(&listener.default_filter_chain)
        .flat_map(|chain| &chain.filters);
    let name = |filter: &Filter| {
        let ConfigType::TypedConfig(any) = filter.config_type.as_ref()? else {
            return None;
        };
        match any
            .to_msg::<HttpConnectionManager>()
            .ok()?
            .route_specifier?
        {
            RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
            _ => None,
        }
    };
    filters.filter_map(name).collect()
}

/// With Istio's own extensions, and with them off.
async fn check(flags: &[&str]) {
    let seed = mesh_testkit::random::Random::seed();
    let cases: u64 = std::env::var("MESH_CASES").map_or(8, |text| text.parse().unwrap());
    println!("MESH_SEED={seed} MESH_CASES={cases}");
    let mut found = Found::default();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/istiod");
    for folder in std::fs::read_dir(data).unwrap() {
        let copy = support::copy_of(&folder.unwrap().path());
        plaintext(copy.path());
        found.folder(copy.path(), flags).await;
    }
    for case in 0..cases {
        let mut random = mesh_testkit::random::Random::new(seed.wrapping_add(case));
        let folder = tempfile::tempdir().unwrap();
        let text = crate::random::folder(&mut random);
        std::fs::write(folder.path().join("all.yaml"), text).unwrap();
        plaintext(folder.path());
        found.folder(folder.path(), flags).await;
    }
    assert!(found.0.is_empty(), "{}", found.text());
}

/// Without identities there is nothing that mutual TLS could use.
fn plaintext(folder: &Path) {
    let mesh = folder.join("mesh.yaml");
    let mut text = std::fs::read_to_string(&mesh).unwrap_or_default();
    text = text.replace("enableAutoMtls: true", "");
    text.push_str("\nenableAutoMtls: false\n");
    std::fs::write(mesh, text).unwrap();
}

#[tokio::test]
#[ignore = "needs istiod: cargo verify"]
async fn everything_for_a_stock_envoy_is_understood() {
    check(&[]).await;
}

#[tokio::test]
#[ignore = "needs istiod: cargo verify"]
async fn everything_with_its_own_extensions_is_understood() {
    check(&["-stock"]).await;
}
