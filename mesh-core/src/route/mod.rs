//! Routes, compiled: lookup by virtual host and match, and what the matched route does to a request.

mod format;

pub use format::{FormatContext, HeaderFormat, InvalidFormat};

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, StatusCode, request};

use crate::{
    filter::{FilterChain, RouteFilters},
    head::StreamView,
    local_reply::LocalReply,
    model::{Forward, Route, RouteConfiguration, VirtualHost},
    regex::Scratch,
    snapshot::ClusterIndex,
};

/// A route configuration, compiled for one filter chain: domains hashed, paths indexed, filter overrides merged,
/// cluster names resolved to slots. First match wins, at any size.
#[derive(Debug)]
pub struct RouteTable {
    config: Arc<RouteConfiguration>,
}

/// A route of a [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIndex {
    /// The virtual host's place.
    pub virtual_host: u32,
    /// The route's place in it.
    pub route: u32,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// This route.
    Route(RouteIndex),
    /// The virtual host requires TLS and the request came without: 301 to https.
    RedirectToHttps,
    /// No virtual host, or none of its routes matches: 404, NR.
    NoRoute,
}

/// Finds a cluster's slot by name while a table is compiled.
pub trait ClusterSlots {
    /// The slot of the name. A name that no cluster has (yet) has a slot too: it is empty.
    fn slot(&self, name: &Arc<str>) -> ClusterIndex;
}

impl RouteTable {
    /// Compiles a configuration.
    pub fn compile(
        config: Arc<RouteConfiguration>,
        filters: &FilterChain,
        slots: &dyn ClusterSlots,
    ) -> Self {
        let _ = (filters, slots);
        Self { config }
    }

    /// The configuration that it was compiled from.
    pub fn config(&self) -> &Arc<RouteConfiguration> {
        &self.config
    }

    /// The route for a stream. No allocation; flat in the number of virtual hosts, and of exact and prefix routes.
    pub fn find(&self, view: &StreamView<'_>, scratch: &mut Scratch) -> Found {
        let _ = (view, scratch);
        todo!()
    }

    /// A route by its place, as returned by [`Self::find`] of the same table.
    pub fn route(&self, at: RouteIndex) -> Option<&CompiledRoute> {
        let _ = at;
        todo!()
    }

    /// The virtual host of a route.
    pub fn virtual_host(&self, at: RouteIndex) -> Option<&VirtualHost> {
        self.config.virtual_hosts.get(at.virtual_host as usize)
    }

    /// Applies response header operations: weighted cluster, route, virtual host, route configuration, in Envoy's
    /// order (`most_specific_header_mutations_wins`).
    pub fn finalize_response(
        &self,
        at: RouteIndex,
        selected: Option<&SelectedCluster>,
        headers: &mut HeaderMap,
        cx: &FormatContext<'_>,
    ) {
        let _ = (at, selected, headers, cx);
        todo!()
    }

    /// Applies what the route does to a request, once, before the first host selection (Envoy
    /// `finalizeRequestHeaders`): header operations of all levels, host and path rewrite, `x-envoy-original-*`.
    /// `parts.uri` is in absolute form; its authority is the request's `:authority`.
    ///
    /// # Errors
    /// The rewritten path or host is not valid in a URI: a 400 reply.
    pub fn finalize_request(
        &self,
        at: RouteIndex,
        selected: Option<&SelectedCluster>,
        parts: &mut request::Parts,
        cx: &FormatContext<'_>,
        suppress_envoy_headers: bool,
    ) -> Result<(), Box<LocalReply>> {
        let _ = (at, selected, parts, cx, suppress_envoy_headers);
        todo!()
    }
}

/// A route with everything resolved.
#[derive(Debug)]
pub struct CompiledRoute {
    config: Arc<Route>,
    filters: RouteFilters,
}

/// The cluster drawn for a stream; retries stay in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectedCluster {
    /// The slot; may be empty (NC).
    pub cluster: ClusterIndex,
    /// Which entry of `weighted_clusters`.
    pub weighted: Option<u32>,
}

impl CompiledRoute {
    /// The configuration.
    pub fn config(&self) -> &Arc<Route> {
        &self.config
    }

    /// The forwarding action, if the route forwards.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.config.action {
            crate::model::RouteAction::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The retry policy in force: the route's, else the virtual host's.
    pub fn retry_policy(&self) -> Option<&Arc<crate::model::RetryPolicy>> {
        todo!()
    }

    /// Merged per-filter configuration, by position in the chain.
    pub fn filters(&self) -> &RouteFilters {
        &self.filters
    }

    /// Draws the cluster: the stream's random number modulo the sum of weights. None: `cluster_header` names no
    /// cluster that exists. `by_name` looks a name up at run time.
    pub fn select_cluster(
        &self,
        view: &StreamView<'_>,
        by_name: &dyn Fn(&str) -> Option<ClusterIndex>,
    ) -> Option<SelectedCluster> {
        let _ = (view, by_name);
        todo!()
    }

    /// The reply of a redirect or direct response; None for other actions. `view`: the request as it came.
    pub fn reply(&self, view: &StreamView<'_>) -> Option<LocalReply> {
        let _ = view;
        todo!()
    }
}

/// The redirect that [`Found::RedirectToHttps`] asks for.
pub fn https_redirect(view: &StreamView<'_>) -> LocalReply {
    let _ = view;
    todo!()
}

/// `auto_host_rewrite`, when an endpoint is known.
pub fn auto_host(hostname: &str, address: SocketAddr) -> Option<http::uri::Authority> {
    let _ = (hostname, address);
    todo!()
}

/// The reply for a cluster that does not exist.
pub fn cluster_not_found(status: StatusCode) -> LocalReply {
    LocalReply::failure(
        status,
        "",
        Some(crate::flags::ResponseFlag::NoClusterFound),
        "cluster_not_found",
    )
}
