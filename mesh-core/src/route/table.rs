//! The compiled route table and its look-up.

use std::sync::Arc;

use http::{HeaderMap, Method, request};

use super::{
    FormatContext,
    domain::DomainIndex,
    headers::{self, Target},
    path_index::{Candidate, PathIndex, path_matches},
    redirect, rewrite,
    select::{SelectedCluster, Selection},
};
use crate::{
    filter::{FilterChain, RouteFilters},
    head::{RequestHead, StreamView},
    local_reply::LocalReply,
    model::{
        ClusterSpecifier, FilterOverrides, Forward, HeaderMutations, HeaderOperations, PathRewrite,
        RequireTls, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
        WeightedCluster,
    },
    regex::Scratch,
    snapshot::ClusterIndex,
};

/// A route configuration, compiled for one filter chain: domains hashed, paths indexed, filter overrides merged,
/// cluster names resolved to slots. First match wins, at any size.
#[derive(Debug)]
pub struct RouteTable {
    config: Arc<RouteConfiguration>,
    domains: DomainIndex,
    /// By place in `virtual_hosts`.
    hosts: Box<[Host]>,
}

#[derive(Debug)]
struct Host {
    require_tls: RequireTls,
    paths: PathIndex,
    /// By place in `routes`.
    routes: Box<[CompiledRoute]>,
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
        let hosts = config
            .virtual_hosts
            .iter()
            .map(|host| Host {
                require_tls: host.require_tls,
                paths: PathIndex::new(host.routes.iter().map(|route| &**route)),
                routes: host
                    .routes
                    .iter()
                    .map(|route| CompiledRoute::new(route, host, &config, filters, slots))
                    .collect(),
            })
            .collect();
        Self {
            domains: DomainIndex::new(&config),
            hosts,
            config,
        }
    }

    /// The configuration that it was compiled from.
    pub fn config(&self) -> &Arc<RouteConfiguration> {
        &self.config
    }

    /// The route for a stream. No allocation; flat in the number of virtual hosts, and of exact and prefix routes.
    pub fn find(&self, view: &StreamView<'_>, scratch: &mut Scratch) -> Found {
        let Some(virtual_host) = self.domains.find(view.head.authority, scratch) else {
            return Found::NoRoute;
        };
        let Some(host) = self.hosts.get(virtual_host as usize) else {
            return Found::NoRoute;
        };
        if host.require_tls != RequireTls::None
            && redirect::requires_redirect(host.require_tls, view)
        {
            return Found::RedirectToHttps;
        }
        let found = host
            .paths
            .find(view.head.path, scratch, |at, candidate, scratch| {
                host.routes
                    .get(at as usize)
                    .is_some_and(|route| route.matches(candidate, view, scratch))
            });
        match found {
            Some(route) => Found::Route(RouteIndex {
                virtual_host,
                route,
            }),
            None => Found::NoRoute,
        }
    }

    /// A route by its place, as returned by [`Self::find`] of the same table.
    pub fn route(&self, at: RouteIndex) -> Option<&CompiledRoute> {
        let host = self.hosts.get(at.virtual_host as usize)?;
        host.routes.get(at.route as usize)
    }

    /// The virtual host of a route.
    pub fn virtual_host(&self, at: RouteIndex) -> Option<&VirtualHost> {
        self.config.virtual_hosts.get(at.virtual_host as usize)
    }

    /// Applies response header operations: weighted cluster, route, virtual host, route configuration, in Envoy's
    /// order (`most_specific_header_mutations_wins`). `cx.response` is not read: operators see `headers` as they are
    /// at each level.
    pub fn finalize_response(
        &self,
        at: RouteIndex,
        selected: Option<&SelectedCluster>,
        headers: &mut HeaderMap,
        cx: &FormatContext<'_>,
    ) {
        let Some(route) = self.route(at) else { return };
        let mut target = ResponseTarget { headers, cx: *cx };
        if let Some(entry) = route.weighted_entry(selected) {
            headers::apply(&entry.headers.response, &mut target);
        }
        for level in self.levels(at, route) {
            headers::apply(&level.response, &mut target);
        }
    }

    /// Applies what the route does to a request, once, before the first host selection (Envoy
    /// `finalizeRequestHeaders`): header operations of all levels, host and path rewrite, `x-envoy-original-*`.
    /// `parts.uri` is in absolute form; its authority is the request's `:authority`. `cx.head` is not read: operators
    /// see `parts` as they are at each level ([`FormatContext::without_request`]).
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
        let Some(route) = self.route(at) else {
            return Ok(());
        };
        if let Some(entry) = route.weighted_entry(selected) {
            apply_request(&entry.headers.request, parts, cx);
            if let Some(host) = &entry.host_rewrite_literal
                && !host.is_empty()
            {
                rewrite::set_authority(parts, rewrite::parse_authority(host)?)?;
            }
        }
        for level in self.levels(at, route) {
            apply_request(&level.request, parts, cx);
        }
        match route.forward() {
            Some(forward) => rewrite::apply(
                forward,
                &route.config.matcher.path,
                parts,
                suppress_envoy_headers,
            ),
            None => Ok(()),
        }
    }

    /// The levels below the weighted cluster in the order of application: a later one wins.
    fn levels<'t>(&'t self, at: RouteIndex, route: &'t CompiledRoute) -> [&'t HeaderOperations; 3] {
        let config = &self.config.headers;
        let host = self.virtual_host(at).map_or(config, |host| &host.headers);
        let route = &route.config.headers;
        if self.config.most_specific_header_mutations_wins {
            [config, host, route]
        } else {
            [route, host, config]
        }
    }
}

fn apply_request(mutations: &HeaderMutations, parts: &mut request::Parts, cx: &FormatContext<'_>) {
    headers::apply(mutations, &mut RequestTarget { parts, cx: *cx });
}

struct RequestTarget<'p, 'c> {
    parts: &'p mut request::Parts,
    cx: FormatContext<'c>,
}

impl Target for RequestTarget<'_, '_> {
    fn headers(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    fn context(&self) -> FormatContext<'_> {
        FormatContext {
            head: RequestHead::of(self.parts),
            protocol: self.cx.protocol.or(Some(self.parts.version)),
            ..self.cx
        }
    }
}

struct ResponseTarget<'h, 'c> {
    headers: &'h mut HeaderMap,
    cx: FormatContext<'c>,
}

impl Target for ResponseTarget<'_, '_> {
    fn headers(&mut self) -> &mut HeaderMap {
        self.headers
    }

    fn context(&self) -> FormatContext<'_> {
        FormatContext {
            response: Some(self.headers),
            ..self.cx
        }
    }
}

/// A route with everything resolved.
#[derive(Debug)]
pub struct CompiledRoute {
    config: Arc<Route>,
    retry_policy: Option<Arc<RetryPolicy>>,
    selection: Option<Selection>,
    filters: RouteFilters,
    /// By place in `weighted_clusters`; empty if no entry has overrides.
    weighted_filters: Box<[RouteFilters]>,
    response_reads_request: bool,
    /// The match asks for more than a path.
    conditional: bool,
}

impl CompiledRoute {
    fn new(
        route: &Arc<Route>,
        host: &VirtualHost,
        config: &RouteConfiguration,
        filters: &FilterChain,
        slots: &dyn ClusterSlots,
    ) -> Self {
        let forward = forward_of(route);
        let weighted = forward.map_or(&[][..], weighted_clusters);
        let operations = [&route.headers, &host.headers, &config.headers];
        if let Some(PathRewrite::Regex { pattern, .. }) = path_rewrite(route) {
            pattern.prepare_replace();
        }
        Self {
            retry_policy: forward
                .and_then(|f| f.retry_policy.as_ref())
                .or(host.retry_policy.as_ref())
                .cloned(),
            selection: forward
                .map(|f| Selection::new(&f.cluster, f.weighted_header.as_ref(), slots)),
            filters: merge(filters, &Vec::new(), route, host, config),
            weighted_filters: if weighted.iter().any(|e| !e.filter_overrides.is_empty()) {
                weighted
                    .iter()
                    .map(|entry| merge(filters, &entry.filter_overrides, route, host, config))
                    .collect()
            } else {
                Box::default()
            },
            response_reads_request: weighted
                .iter()
                .map(|entry| &entry.headers)
                .chain(operations)
                .flat_map(|operations| &operations.response.add)
                .any(|addition| addition.value.reads_request()),
            conditional: is_conditional(&route.matcher),
            config: route.clone(),
        }
    }

    #[inline]
    fn matches(&self, candidate: Candidate, view: &StreamView<'_>, scratch: &mut Scratch) -> bool {
        let matcher = &self.config.matcher;
        if self.conditional && !conditions_hold(matcher, view, scratch) {
            return false;
        }
        candidate == Candidate::PathMatches
            || path_matches(
                matcher,
                view.head.path,
                view.head.method == Method::CONNECT,
                scratch,
            )
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Route> {
        &self.config
    }

    /// The forwarding action, if the route forwards.
    pub fn forward(&self) -> Option<&Forward> {
        forward_of(&self.config)
    }

    /// The retry policy in force: the route's, else the virtual host's.
    pub fn retry_policy(&self) -> Option<&Arc<RetryPolicy>> {
        self.retry_policy.as_ref()
    }

    /// Merged per-filter configuration, by position in the chain, without that of a weighted cluster.
    pub fn filters(&self) -> &RouteFilters {
        &self.filters
    }

    /// Merged per-filter configuration for the cluster that was drawn.
    pub fn filters_for(&self, selected: Option<&SelectedCluster>) -> &RouteFilters {
        selected
            .and_then(|selected| self.weighted_filters.get(selected.weighted? as usize))
            .unwrap_or(&self.filters)
    }

    /// Whether a response header operation reads the request's head (`%REQ(x)%`), which then must be kept until the
    /// response comes.
    pub fn response_reads_request(&self) -> bool {
        self.response_reads_request
    }

    /// Draws the cluster: the stream's random number modulo the sum of weights. None: `cluster_header` names no
    /// cluster that exists. `by_name` looks a name up at run time.
    pub fn select_cluster(
        &self,
        view: &StreamView<'_>,
        by_name: &dyn Fn(&str) -> Option<ClusterIndex>,
    ) -> Option<SelectedCluster> {
        self.selection.as_ref()?.select(view, by_name)
    }

    /// The reply of a redirect or direct response; None for other actions. `view`: the request as it came.
    pub fn reply(&self, view: &StreamView<'_>) -> Option<LocalReply> {
        redirect::reply(&self.config, view)
    }

    fn weighted_entry(&self, selected: Option<&SelectedCluster>) -> Option<&WeightedCluster> {
        weighted_clusters(self.forward()?).get(selected?.weighted? as usize)
    }
}

/// The overrides in force for a route, and for an entry of its weighted clusters.
fn merge(
    filters: &FilterChain,
    entry: &FilterOverrides,
    route: &Route,
    host: &VirtualHost,
    config: &RouteConfiguration,
) -> RouteFilters {
    let levels = [
        entry,
        &route.filter_overrides,
        &host.filter_overrides,
        &config.filter_overrides,
    ];
    filters.merge(&levels)
}

fn path_rewrite(route: &Route) -> Option<&PathRewrite> {
    match &route.action {
        RouteAction::Forward(forward) => forward.path_rewrite.as_ref(),
        RouteAction::Redirect(redirect) => redirect.path.as_ref(),
        _ => None,
    }
}

fn forward_of(route: &Route) -> Option<&Forward> {
    match &route.action {
        RouteAction::Forward(forward) => Some(forward),
        _ => None,
    }
}

fn weighted_clusters(forward: &Forward) -> &[WeightedCluster] {
    match &forward.cluster {
        ClusterSpecifier::Weighted(clusters) => clusters,
        _ => &[],
    }
}

fn is_conditional(matcher: &RouteMatch) -> bool {
    matcher.runtime_fraction.is_some()
        || matcher.grpc
        || !matcher.headers.is_empty()
        || !matcher.query_parameters.is_empty()
}

/// All parts of the match but the path.
fn conditions_hold(matcher: &RouteMatch, view: &StreamView<'_>, scratch: &mut Scratch) -> bool {
    let head = &view.head;
    matcher
        .runtime_fraction
        .is_none_or(|fraction| fraction.holds(view.random))
        && (!matcher.grpc || head.is_grpc())
        && matcher.headers.iter().all(|m| m.matches(head, scratch))
        && (matcher.query_parameters.is_empty() || {
            let query = head.path.split_once('?').map_or("", |(_, query)| query);
            matcher
                .query_parameters
                .iter()
                .all(|m| m.matches(query, scratch))
        })
}
