//! The objects of a folder, read and checked: what Istio and Kubernetes call the kinds, as plain values.

mod access_log;
mod authorization_policy;
mod client_tls;
mod connection_pool;
mod delegate;
mod destination_rule;
mod endpoint_slice;
mod envoy_filter;
mod gateway;
mod gateway_api;
mod headers;
mod http_match;
mod http_route;
mod ingress;
mod kind;
mod l4_route;
mod load_balancer;
mod mesh_config;
mod mirror;
pub(crate) mod names;
mod node;
mod object;
mod outlier_detection;
mod peer_authentication;
mod pod;
mod policy_target;
mod protocol;
mod request_authentication;
mod resilience;
mod server_tls;
mod service;
mod service_entry;
mod sidecar;
mod traffic_policy;
mod virtual_service;
mod workload_entry;

pub(crate) use access_log::{
    AccessLogging, FileAccessLog, LogFormat, Provider, Telemetry, WorkloadMode,
};
pub(crate) use authorization_policy::{
    AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, Operation, Source,
    Values,
};
pub(crate) use client_tls::{ClientTls, ClientTlsMode};
pub(crate) use connection_pool::{ConnectionPool, Keepalive};
pub(crate) use delegate::merged;
pub(crate) use destination_rule::{DestinationRule, Subset};
pub(crate) use endpoint_slice::{EndpointSlice, SliceEndpoint};
pub(crate) use envoy_filter::{
    ApplyTo, ChainMatch, ClusterMatch, EnvoyFilter, ListenerMatch, Patch, PatchContext,
    PatchOperation, RouteKind, RouteMatch,
};
pub(crate) use gateway::{Gateway, Server, ServerHost};
pub(crate) use gateway_api::{
    AllowedNamespaces, ApiGateway, ApiRoute, GROUP as GATEWAY_API, GatewayClass, Listener, Parent,
    ReferenceGrant, RouteKind as ApiRouteKind, RouteRule, Target,
};
pub(crate) use headers::{HeaderOps, Headers};
pub(crate) use http_match::{HttpMatch, StringMatch, check_regex, claim, quoted, regex_problem};
pub(crate) use http_route::{
    Body, Destination, DirectResponse, HttpDestination, HttpRoute, Redirect, RedirectPort, Rewrite,
};
pub(crate) use ingress::{BackendPort, Ingress, IngressPath, PathType};
pub use kind::{Effect, Kind, kinds};
pub(crate) use l4_route::{L4Destination, L4Match, L4Route};
pub(crate) use load_balancer::{
    ConsistentHash, Distribute, HashAlgorithm, HashKey, LoadBalancer, LocalityLb, SimpleLb, Warmup,
    ZoneAwareLb,
};
pub(crate) use mesh_config::{IngressControllerMode, MeshConfig, PathNormalization};
pub(crate) use mirror::{Mirror, MirrorAmount};
pub(crate) use names::DOMAIN;
pub(crate) use node::KubernetesNode;
pub use object::{Metadata, ObjectId, Other, Provenance};
pub(crate) use object::{Object, ReadObject, read};
pub(crate) use outlier_detection::OutlierDetection;
pub(crate) use peer_authentication::{MtlsMode, PeerAuthentication};
pub(crate) use pod::Pod;
pub(crate) use policy_target::PolicyTarget;
pub(crate) use protocol::Protocol;
pub(crate) use request_authentication::{JwksSource, JwtRule, RemoteJwks, RequestAuthentication};
pub(crate) use resilience::{Abort, AbortStatus, Cors, Fault, Percent, RETRY_POLICIES, Retries};
pub(crate) use server_tls::{ServerTls, ServerTlsMode, TlsVersion};
pub(crate) use service::{ClusterIp, Service, TargetPort, TrafficDistribution};
pub(crate) use service_entry::{EntryPort, EntryResolution, ServiceEntry};
pub(crate) use sidecar::{CaptureMode, EgressHost, IngressEndpoint, IngressListener, Sidecar};
pub(crate) use traffic_policy::{RetryBudget, TrafficPolicy};
pub(crate) use virtual_service::{VirtualService, is_exported};
pub(crate) use workload_entry::{Workload, WorkloadEntry, WorkloadGroup};
