//! The objects of a folder, read and checked: what Istio and Kubernetes call the kinds, as plain values.

mod destination_rule;
mod endpoint_slice;
mod gateway;
mod headers;
mod http_match;
mod http_route;
mod kind;
mod mesh_config;
mod names;
mod object;
mod peer_authentication;
mod pod;
mod protocol;
mod resilience;
mod service;
mod sidecar;
mod traffic_policy;
mod virtual_service;

pub(crate) use destination_rule::{DestinationRule, Subset};
pub(crate) use endpoint_slice::{EndpointSlice, SliceEndpoint};
pub(crate) use gateway::{Gateway, Server, ServerHost};
pub(crate) use headers::{HeaderOps, Headers};
pub(crate) use http_match::{HttpMatch, StringMatch};
pub(crate) use http_route::{
    Destination, HttpDestination, HttpRoute, MirrorAmount, Redirect, RedirectPort,
};
pub use kind::{Effect, Kind, kinds};
pub(crate) use mesh_config::MeshConfig;
pub(crate) use names::DOMAIN;
pub use object::{Metadata, ObjectId, Other, Provenance};
pub(crate) use object::{Object, ReadObject, read};
pub(crate) use peer_authentication::PeerAuthentication;
pub(crate) use pod::Pod;
pub(crate) use protocol::Protocol;
pub(crate) use resilience::{Abort, AbortStatus, Cors, Fault, Percent, Retries};
pub(crate) use service::{ClusterIp, Service, ServicePort, TargetPort};
pub(crate) use sidecar::{CaptureMode, Sidecar};
pub(crate) use traffic_policy::{
    ConnectionPool, Keepalive, LoadBalancer, OutlierDetection, TrafficPolicy,
};
pub(crate) use virtual_service::{VirtualService, is_exported};
