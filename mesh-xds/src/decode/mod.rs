//! From protobuf to mesh-core's model: pure, every problem at once, each with its field path.
//!
//! A resource is taken or refused as a whole. Fields that are not understood are found by reflection
//! (`supported`): refused where ignoring them could change who is answered or allowed, a warning otherwise.

mod access_log;
mod access_log_filter;
mod any;
mod cluster;
mod consistent_hashing;
mod dns;
mod endpoints;
mod extension;
mod filter_chain;
mod hash_policy;
mod header_operations;
mod health_check;
mod http_connection_manager;
mod http_filter;
mod lb_policy;
mod listener;
mod local_reply;
mod matcher;
mod metadata;
mod metadata_matcher;
mod mirror;
mod origin;
mod outlier_detection;
mod rate_limit;
mod retry;
mod route;
mod route_action;
mod route_match;
mod route_rewrite;
mod scalar;
mod secret;
mod secret_source;
mod subset;
mod substitution_format;
pub(crate) mod supported;
mod supported_fields;
mod tls;
mod transport_socket;
mod upstream_http;
mod upstream_socket;

#[cfg(test)]
mod tests;

pub use origin::origin;
pub(crate) use scalar::{duration, socket_address};

use std::{fmt, sync::Arc};

use mesh_core::model::{
    ClusterConfig, ClusterLoadAssignment, ListenerConfig, RouteConfiguration, Secret,
};
use mesh_proto::envoy::{
    config::{cluster::v3 as cds, endpoint::v3 as eds, listener::v3 as lds, route::v3 as rds},
    extensions::transport_sockets::tls::v3 as tls_proto,
    service::discovery::v3::Resource as Wrapper,
};
use prost::{Message, Name};
use prost_types::Any;

use crate::{ResourceKind, problems::Problems};

/// A resource in mesh-core's terms.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resource {
    /// `Listener`.
    Listener(Arc<ListenerConfig>),
    /// `RouteConfiguration`.
    Route(Arc<RouteConfiguration>),
    /// `Cluster`.
    Cluster(Arc<ClusterConfig>),
    /// `ClusterLoadAssignment`.
    Endpoints(Arc<ClusterLoadAssignment>),
    /// `Secret`.
    Secret {
        /// Its name.
        name: Arc<str>,
        /// What it is.
        secret: Secret,
    },
}

impl Resource {
    /// Its name in the stream.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Listener(listener) => &listener.name,
            Self::Route(routes) => &routes.name,
            Self::Cluster(cluster) => &cluster.name,
            Self::Endpoints(endpoints) => &endpoints.cluster_name,
            Self::Secret { name, .. } => name,
        }
    }

    /// Its type.
    pub fn kind(&self) -> ResourceKind {
        match self {
            Self::Listener(_) => ResourceKind::Listener,
            Self::Route(_) => ResourceKind::Route,
            Self::Cluster(_) => ResourceKind::Cluster,
            Self::Endpoints(_) => ResourceKind::Endpoints,
            Self::Secret { .. } => ResourceKind::Secret,
        }
    }
}

/// One resource of a response, taken apart.
#[derive(Clone)]
#[non_exhaustive]
pub struct Decoded {
    /// Its name; None where not even that could be read.
    pub name: Option<Arc<str>>,
    /// The resource, or why it is refused.
    pub resource: Result<Resource, Problems>,
    /// What in it has no effect.
    pub warnings: Vec<String>,
    /// The message as received, without the wrapper.
    pub raw: Any,
}

/// Without the message, which may hold a private key.
impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoded")
            .field("name", &self.name)
            .field("resource", &self.resource)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Decodes one resource of any of the subscribed types, also inside `envoy.service.discovery.v3.Resource`.
///
/// # Errors
/// [`Decoded::resource`] holds them.
pub fn decode_resource(any: &Any) -> Decoded {
    if any.type_url == Wrapper::type_url() {
        return decode_wrapped(any);
    }
    match ResourceKind::from_type_url(&any.type_url) {
        Some(ResourceKind::Listener) => decode(
            any,
            |m: &lds::Listener| &m.name,
            |p, m| Some(Resource::Listener(Arc::new(listener::listener(p, m)?))),
        ),
        Some(ResourceKind::Route) => decode(
            any,
            |m: &rds::RouteConfiguration| &m.name,
            |p, m| Some(Resource::Route(Arc::new(route::route_configuration(p, m)?))),
        ),
        Some(ResourceKind::Cluster) => decode(
            any,
            |m: &cds::Cluster| &m.name,
            |p, m| Some(Resource::Cluster(Arc::new(cluster::cluster(p, m)?))),
        ),
        Some(ResourceKind::Endpoints) => decode(
            any,
            |m: &eds::ClusterLoadAssignment| &m.cluster_name,
            |p, m| {
                Some(Resource::Endpoints(Arc::new(endpoints::load_assignment(
                    p, m,
                )?)))
            },
        ),
        Some(ResourceKind::Secret) => decode(
            any,
            |m: &tls_proto::Secret| &m.name,
            |p, m| {
                let secret = secret::secret(p, m)?;
                let name = m.name.as_str().into();
                Some(Resource::Secret { name, secret })
            },
        ),
        None => unreadable(
            any,
            format!("type {:?} is not one that is subscribed to", any.type_url),
        ),
    }
}

/// The message inside `envoy.service.discovery.v3.Resource`, or the message itself.
pub(crate) fn unwrapped(any: &Any) -> Any {
    if any.type_url != Wrapper::type_url() {
        return any.clone();
    }
    let wrapper = Wrapper::decode(any.value.as_slice()).ok();
    wrapper
        .and_then(|wrapper| wrapper.resource)
        .unwrap_or_else(|| any.clone())
}

fn decode_wrapped(any: &Any) -> Decoded {
    match Wrapper::decode(any.value.as_slice()) {
        Ok(Wrapper {
            resource: Some(inner),
            ..
        }) if inner.type_url != Wrapper::type_url() => decode_resource(&inner),
        Ok(_) => unreadable(any, "the wrapper holds no resource"),
        Err(error) => unreadable(any, format!("cannot be read: {error}")),
    }
}

fn decode<M: Message + Name + Default>(
    any: &Any,
    name: impl Fn(&M) -> &String,
    into: impl FnOnce(&mut Problems, &M) -> Option<Resource>,
) -> Decoded {
    let message = match M::decode(any.value.as_slice()) {
        Ok(message) => message,
        Err(error) => return unreadable(any, format!("cannot be read: {error}")),
    };
    let mut p = Problems::default();
    supported::check(&mut p, &M::full_name(), &any.value);
    let resource = into(&mut p, &message);
    let name = name(&message);
    if name.is_empty() && p.is_ok() {
        p.error_at("name", "must not be empty");
    }
    let warnings = p.warnings().iter().map(ToString::to_string).collect();
    Decoded {
        name: (!name.is_empty()).then(|| name.as_str().into()),
        resource: resource.filter(|_| p.is_ok()).ok_or(p),
        warnings,
        raw: any.clone(),
    }
}

fn unreadable(any: &Any, message: impl Into<String>) -> Decoded {
    Decoded {
        name: None,
        resource: Err(Problems::of(message)),
        warnings: Vec::new(),
        raw: any.clone(),
    }
}

/// `RouteConfiguration`, which here needs no name. Fields that are not understood are not looked for.
#[cfg(feature = "route-check")]
pub(crate) fn route_configuration(
    p: &mut Problems,
    value: &rds::RouteConfiguration,
) -> Option<RouteConfiguration> {
    route::route_configuration(p, value)
}

/// `HeaderMatcher`.
#[cfg(feature = "route-check")]
pub(crate) fn header_matcher(
    p: &mut Problems,
    value: &rds::HeaderMatcher,
) -> Option<mesh_core::matcher::HeaderMatcher> {
    matcher::header(p, value)
}

/// A listener of a bootstrap.
pub(crate) fn listener(p: &mut Problems, value: &lds::Listener) -> Option<ListenerConfig> {
    supported::check(p, &lds::Listener::full_name(), &value.encode_to_vec());
    listener::listener(p, value)
}

/// A cluster of a bootstrap.
pub(crate) fn cluster(p: &mut Problems, value: &cds::Cluster) -> Option<ClusterConfig> {
    supported::check(p, &cds::Cluster::full_name(), &value.encode_to_vec());
    cluster::cluster(p, value)
}

/// A secret of a bootstrap.
pub(crate) fn secret(p: &mut Problems, value: &tls_proto::Secret) -> Option<Secret> {
    supported::check(p, &tls_proto::Secret::full_name(), &value.encode_to_vec());
    secret::secret(p, value)
}
