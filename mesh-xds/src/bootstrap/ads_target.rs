//! Where the control plane is.

use std::path::PathBuf;

use mesh_proto::envoy::config::{
    bootstrap::v3::bootstrap::DynamicResources,
    cluster::v3::{Cluster, cluster},
    core::v3::{
        self as core, Address, ApiConfigSource, ConfigSource, GrpcService, Node, address,
        api_config_source::ApiType, config_source::ConfigSourceSpecifier, grpc_service,
        grpc_service::TargetSpecifier, socket_address::PortSpecifier, transport_socket,
    },
    endpoint::v3::lb_endpoint::HostIdentifier,
};

use super::node;
use crate::{ads::BackOff, decode::duration, problems::Problems};

/// An address of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdsAddress {
    /// Host name or IP address, and port; resolved at every attempt.
    Tcp {
        /// Host name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// The control plane and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdsTarget {
    /// Tried in order, the next one after each failure. Empty: inside this process.
    pub addresses: Vec<AdsAddress>,
    /// `:authority` of the stream; empty: the address.
    pub authority: String,
    /// `initial_metadata`: headers of the stream.
    pub metadata: Vec<(String, String)>,
    /// Waits between attempts.
    pub back_off: BackOff,
    /// Largest message taken, in bytes; None: no limit but memory (as istiod's snapshots need).
    pub max_message_size: Option<u32>,
    /// Whether all listeners are wanted (LDS over ADS, like a sidecar).
    pub all_listeners: bool,
    /// Whether all clusters are wanted (CDS over ADS, like a sidecar).
    pub all_clusters: bool,
}

impl AdsTarget {
    pub(super) fn new(addresses: Vec<AdsAddress>) -> Self {
        Self {
            addresses,
            authority: String::new(),
            metadata: Vec::new(),
            back_off: BackOff::default(),
            max_message_size: None,
            all_listeners: true,
            all_clusters: true,
        }
    }

    pub(super) fn in_process(node: &Node) -> Self {
        let mut target = Self::new(Vec::new());
        target.subscribe_as(node);
        target
    }

    /// Subscribes by name if the node asks for gRPC's resources.
    pub(super) fn subscribe_as(&mut self, node: &Node) {
        let by_name = node::wants_grpc_resources(node);
        self.all_listeners &= !by_name;
        self.all_clusters &= !by_name;
    }
}

/// The ADS target of `dynamic_resources`; None: there is none, or it is wrong.
pub(super) fn from_envoy(
    p: &mut Problems,
    dynamic: &DynamicResources,
    clusters: &[Cluster],
) -> Option<AdsTarget> {
    let all_listeners = p.field("lds_config", |p| over_ads(p, dynamic.lds_config.as_ref()));
    let all_clusters = p.field("cds_config", |p| over_ads(p, dynamic.cds_config.as_ref()));
    let Some(source) = &dynamic.ads_config else {
        if all_listeners || all_clusters {
            p.error_at(
                "ads_config",
                "must be set because lds_config or cds_config use ads",
            );
        }
        return None;
    };
    let mut target = p.field("ads_config", |p| ads_config(p, source, clusters))?;
    target.all_listeners = all_listeners;
    target.all_clusters = all_clusters;
    Some(target)
}

fn over_ads(p: &mut Problems, source: Option<&ConfigSource>) -> bool {
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_)) => return true,
        Some(_) => p.error("only ads is supported"),
        None if source.is_some() => p.error("must name a source; only ads is supported"),
        None => {}
    }
    false
}

fn ads_config(
    p: &mut Problems,
    source: &ApiConfigSource,
    clusters: &[Cluster],
) -> Option<AdsTarget> {
    match ApiType::try_from(source.api_type) {
        Ok(ApiType::Grpc) => {}
        Ok(ApiType::DeltaGrpc) => p.field("api_type", |p| {
            p.warn("DELTA_GRPC is not supported yet; GRPC (state of the world) is used");
        }),
        Ok(other) => {
            let name = other.as_str_name();
            p.error_at("api_type", format!("{name} is not supported; use GRPC"));
        }
        Err(_) => p.error_at("api_type", format!("{} is not an ApiType", source.api_type)),
    }
    if source.transport_api_version != core::ApiVersion::V3 as i32 {
        p.error_at("transport_api_version", "must be V3");
    }
    if source.grpc_services.len() > 1 {
        p.field("grpc_services", |p| {
            p.warn("only the first service is used")
        });
    }
    let Some(service) = source.grpc_services.first() else {
        p.error_at("grpc_services", "must name one service");
        return None;
    };
    p.field("grpc_services", |p| {
        p.index(0, |p| grpc_service(p, service, clusters))
    })
}

fn grpc_service(
    p: &mut Problems,
    service: &GrpcService,
    clusters: &[Cluster],
) -> Option<AdsTarget> {
    let mut target = match &service.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => {
            p.field("envoy_grpc", |p| envoy_grpc(p, envoy, clusters))?
        }
        Some(TargetSpecifier::GoogleGrpc(google)) => {
            p.field("google_grpc", |p| google_grpc(p, google))?
        }
        None => {
            p.error("envoy_grpc or google_grpc must be set");
            return None;
        }
    };
    for header in &service.initial_metadata {
        let value = if header.value.is_empty() {
            String::from_utf8_lossy(&header.raw_value).into_owned()
        } else {
            header.value.clone()
        };
        target
            .metadata
            .push((header.key.to_ascii_lowercase(), value));
    }
    if let Some(back_off) = p.field("retry_policy", |p| {
        retry_policy(p, service.retry_policy.as_ref())
    }) {
        target.back_off = back_off;
    }
    Some(target)
}

fn envoy_grpc(
    p: &mut Problems,
    service: &grpc_service::EnvoyGrpc,
    clusters: &[Cluster],
) -> Option<AdsTarget> {
    let name = p.require_text("cluster_name", &service.cluster_name)?;
    let Some(cluster) = clusters.iter().find(|cluster| cluster.name == name) else {
        p.error_at(
            "cluster_name",
            format!("static_resources.clusters has no cluster {name:?}"),
        );
        return None;
    };
    let mut target = p.field("cluster_name", |p| {
        AdsTarget::new(cluster_addresses(p, cluster))
    });
    target.authority = service.authority.clone();
    target.max_message_size = service.max_receive_message_length;
    if let Some(back_off) = p.field("retry_policy", |p| {
        retry_policy(p, service.retry_policy.as_ref())
    }) {
        target.back_off = back_off;
    }
    Some(target)
}

/// A static cluster that speaks gRPC.
#[cfg(feature = "grpc")]
pub(super) fn of_cluster(name: &str, clusters: &[Cluster]) -> Result<AdsTarget, Problems> {
    let Some(cluster) = clusters.iter().find(|cluster| cluster.name == name) else {
        return Err(Problems::of(format!(
            "static_resources.clusters has no cluster {name:?}"
        )));
    };
    let mut p = Problems::default();
    let addresses = cluster_addresses(&mut p, cluster);
    match p.is_ok() {
        true => Ok(AdsTarget::new(addresses)),
        false => Err(p),
    }
}

fn google_grpc(p: &mut Problems, service: &grpc_service::GoogleGrpc) -> Option<AdsTarget> {
    if service.channel_credentials.is_some() || !service.call_credentials.is_empty() {
        p.error_at("channel_credentials", "credentials are not supported yet");
    }
    let address = p.field("target_uri", |p| target_uri(p, &service.target_uri))?;
    Some(AdsTarget::new(vec![address]))
}

/// `HOST:PORT`, `dns:///HOST:PORT`, `ipv4:ADDRESS:PORT`, `unix:PATH` or `unix:///PATH`.
pub(super) fn target_uri(p: &mut Problems, uri: &str) -> Option<AdsAddress> {
    if let Some(path) = uri
        .strip_prefix("unix://")
        .or_else(|| uri.strip_prefix("unix:"))
    {
        if path.is_empty() {
            p.error(format!("{uri:?} has no path"));
            return None;
        }
        return Some(AdsAddress::Unix(path.into()));
    }
    let rest = ["dns:///", "dns:", "passthrough:///", "ipv4:", "ipv6:"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(scheme))
        .unwrap_or(uri);
    let parts = rest
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    let Some((host, port)) = parts else {
        p.error(format!("{uri:?} is not HOST:PORT or unix:PATH"));
        return None;
    };
    let port = p.check(
        port.parse()
            .map_err(|_| format!("{port:?} in {uri:?} is not a port")),
    )?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some(AdsAddress::Tcp { host, port })
}

fn retry_policy(p: &mut Problems, policy: Option<&core::RetryPolicy>) -> Option<BackOff> {
    let strategy = policy?.retry_back_off.as_ref()?;
    p.field("retry_back_off", |p| {
        let default = BackOff::default();
        let base = duration(p, "base_interval", strategy.base_interval.as_ref());
        let max = duration(p, "max_interval", strategy.max_interval.as_ref());
        let base = base.unwrap_or(default.base);
        if max.is_some_and(|max| max < base) {
            p.error_at("max_interval", "must not be less than base_interval");
        }
        Some(BackOff::new(base, max.unwrap_or(default.max)))
    })
}

/// The addresses of the cluster that the control plane is reached by. Its other settings have no effect.
fn cluster_addresses(p: &mut Problems, cluster: &Cluster) -> Vec<AdsAddress> {
    let name = &cluster.name;
    let wants_tls = cluster.transport_socket.iter().chain(
        cluster
            .transport_socket_matches
            .iter()
            .filter_map(|m| m.transport_socket.as_ref()),
    );
    if wants_tls.into_iter().any(is_encrypted) {
        p.error(format!(
            "cluster {name:?} has a transport_socket; TLS to the control plane is not supported yet, \
             use a plaintext port or a Unix socket"
        ));
    }
    let supported = match &cluster.cluster_discovery_type {
        None => true,
        Some(cluster::ClusterDiscoveryType::Type(kind)) => matches!(
            cluster::DiscoveryType::try_from(*kind),
            Ok(cluster::DiscoveryType::Static
                | cluster::DiscoveryType::StrictDns
                | cluster::DiscoveryType::LogicalDns)
        ),
        Some(cluster::ClusterDiscoveryType::ClusterType(_)) => false,
    };
    if !supported {
        p.error(format!(
            "cluster {name:?} must be of type STATIC, STRICT_DNS or LOGICAL_DNS"
        ));
    }
    let assignment = cluster
        .load_assignment
        .iter()
        .flat_map(|assignment| &assignment.endpoints);
    let endpoints = assignment.flat_map(|locality| &locality.lb_endpoints);
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        if let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier {
            addresses.extend(endpoint.address.as_ref().and_then(address_of));
        }
    }
    if addresses.is_empty() {
        p.error(format!(
            "cluster {name:?} has no endpoint with a socket address or a pipe"
        ));
    }
    addresses
}

fn is_encrypted(socket: &core::TransportSocket) -> bool {
    match &socket.config_type {
        Some(transport_socket::ConfigType::TypedConfig(any)) => !any
            .type_url
            .ends_with("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
        None => socket.name != "envoy.transport_sockets.raw_buffer",
    }
}

fn address_of(address: &Address) -> Option<AdsAddress> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => {
            let PortSpecifier::PortValue(port) = socket.port_specifier.as_ref()? else {
                return None;
            };
            let port = u16::try_from(*port).ok()?;
            Some(AdsAddress::Tcp {
                host: socket.address.clone(),
                port,
            })
        }
        address::Address::Pipe(pipe) => Some(AdsAddress::Unix(pipe.path.clone().into())),
        address::Address::EnvoyInternalAddress(_) => None,
    }
}
