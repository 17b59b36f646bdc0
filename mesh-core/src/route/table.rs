//! The compiled route table and its look-up.

use std::sync::Arc;

use http::{HeaderMap, request};

use super::{
    CompiledRoute, FormatContext, SelectedCluster,
    domain::DomainIndex,
    headers::{self, Target},
    path_index::PathIndex,
    redirect, rewrite,
};
use crate::{
    filter::FilterChain,
    head::StreamView,
    local_reply::LocalReply,
    model::{HeaderMutations, HeaderOperations, RequireTls, RouteConfiguration, VirtualHost},
    one_line::HeadKind,
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
                paths: PathIndex::new(
                    host.routes.iter().map(|route| &**route),
                    config.ignore_path_parameters_in_path_matching,
                ),
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
        let Some(virtual_host) = self.virtual_host_of(view, scratch) else {
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
        let found = host.paths.find(
            view.head.path,
            view.head.headers,
            scratch,
            |at, candidate, scratch| {
                host.routes
                    .get(at as usize)
                    .is_some_and(|route| route.matches(candidate, view, scratch))
            },
        );
        match found {
            Some(route) => Found::Route(RouteIndex {
                virtual_host,
                route,
            }),
            None => Found::NoRoute,
        }
    }

    /// Takes `internal_only_headers` off a request of an external peer (Envoy `cleanInternalHeaders`).
    pub fn remove_internal_only(&self, headers: &mut HeaderMap) {
        for name in &self.config.internal_only_headers {
            headers.remove(name);
        }
    }

    /// The place of the virtual host for a stream.
    pub(super) fn virtual_host_of(
        &self,
        view: &StreamView<'_>,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        self.domains.find(view.head.authority, scratch)
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
    /// The rewritten path or host is not valid in a URI (a path without leading slash is not): a 400 reply. Envoy would
    /// forward it.
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
                rewrite::set_host(parts, host.clone())?;
            }
        }
        for level in self.levels(at, route) {
            apply_request(&level.request, parts, cx);
        }
        match route.forward() {
            Some(forward) => rewrite::apply(
                forward,
                &route.config().matcher.path,
                parts,
                cx,
                suppress_envoy_headers,
            ),
            None => Ok(()),
        }
    }

    /// The levels below the weighted cluster in the order of application: a later one wins.
    fn levels<'t>(&'t self, at: RouteIndex, route: &'t CompiledRoute) -> [&'t HeaderOperations; 3] {
        let config = &self.config.headers;
        let host = self.virtual_host(at).map_or(config, |host| &host.headers);
        let route = &route.config().headers;
        if self.config.most_specific_header_mutations_wins {
            [config, host, route]
        } else {
            [route, host, config]
        }
    }
}

/// Applies header operations of whoever sends a request of its own.
pub(crate) fn change_request_headers(
    mutations: &HeaderMutations,
    parts: &mut request::Parts,
    cx: &FormatContext<'_>,
) {
    apply_request(mutations, parts, cx);
}

impl HeaderMutations {
    /// Applies them to a request; operators see it as it is now. `cx.head` is not read.
    pub fn apply_to_request(&self, parts: &mut request::Parts, cx: &FormatContext<'_>) {
        apply_request(self, parts, cx);
    }

    /// Applies them to a response.
    pub fn apply_to_response(&self, headers: &mut HeaderMap, cx: &FormatContext<'_>) {
        headers::apply(self, &mut ResponseTarget { headers, cx: *cx });
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
    fn kind(&self) -> HeadKind {
        HeadKind::Request
    }

    fn headers(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    fn context(&self) -> FormatContext<'_> {
        self.cx.of_request(self.parts)
    }
}

struct ResponseTarget<'h, 'c> {
    headers: &'h mut HeaderMap,
    cx: FormatContext<'c>,
}

impl Target for ResponseTarget<'_, '_> {
    fn kind(&self) -> HeadKind {
        HeadKind::Response
    }

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
