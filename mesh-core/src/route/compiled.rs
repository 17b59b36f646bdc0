//! One route, compiled: its match, its filters, its cluster.

use std::sync::Arc;

use http::{Method, request};

use super::{
    ClusterSlots, FormatContext, Mirror, SelectedCluster,
    path_index::{Candidate, path_matches},
    redirect, rewrite,
    select::Selection,
};
use crate::{
    filter::{FilterChain, RouteFilters},
    head::StreamView,
    local_reply::LocalReply,
    model::{
        ClusterSpecifier, FilterOverrides, Forward, HostRewrite, PathMatcher, PathRewrite,
        RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
        WeightedCluster,
    },
    regex::Scratch,
    snapshot::ClusterIndex,
    timeout::Timeouts,
};

/// A route with everything resolved.
#[derive(Debug)]
pub struct CompiledRoute {
    config: Arc<Route>,
    retry_policy: Option<Arc<RetryPolicy>>,
    hedges: bool,
    selection: Option<Selection>,
    filters: RouteFilters,
    /// By place in `weighted_clusters`; empty if no entry has overrides.
    weighted_filters: Box<[RouteFilters]>,
    fixed_timeouts: Option<Timeouts>,
    mirrors: Box<[Mirror]>,
    response_reads_request: bool,
    changes_request_headers: bool,
    changes_response: bool,
    counts_attempts_in_request: bool,
    counts_attempts_in_response: bool,
    /// The match asks for more than a path.
    conditional: bool,
}

impl CompiledRoute {
    pub(super) fn new(
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
        let merged = merge(filters, &Vec::new(), route, host, config);
        let weighted_filters: Box<[_]> = if weighted.iter().any(|e| !e.filter_overrides.is_empty())
        {
            weighted
                .iter()
                .map(|entry| merge(filters, &entry.filter_overrides, route, host, config))
                .collect()
        } else {
            Box::default()
        };
        if let Some(HostRewrite::PathRegex { pattern, .. }) =
            forward.and_then(|f| f.host_rewrite.as_ref())
        {
            pattern.prepare_replace();
        }
        let retry_policy = forward
            .and_then(|f| f.retry_policy.as_ref())
            .or(host.retry_policy.as_ref());
        let (per_try, per_try_idle) = retry_policy.map_or_else(Default::default, |policy| {
            (policy.per_try_timeout, policy.per_try_idle_timeout)
        });
        Self {
            fixed_timeouts: forward.and_then(|f| Timeouts::fixed(f, per_try, per_try_idle)),
            retry_policy: retry_policy.cloned(),
            hedges: forward
                .and_then(|f| f.hedge_on_per_try_timeout)
                .or(host.hedge_on_per_try_timeout)
                .unwrap_or(false),
            mirrors: forward.map_or_else(Box::default, |forward| {
                let levels = [&forward.mirrors, &host.mirrors, &config.mirrors];
                let set = levels.into_iter().find(|mirrors| !mirrors.is_empty());
                Mirror::all(set.map_or(&[], |mirrors| mirrors), slots)
            }),
            selection: forward.map(|f| Selection::new(f, slots)),
            response_reads_request: weighted
                .iter()
                .map(|entry| &entry.headers)
                .chain(operations)
                .flat_map(|operations| &operations.response.add)
                .any(|addition| addition.value.reads_request())
                || weighted_filters
                    .iter()
                    .chain([&merged])
                    .any(|merged| filters.response_reads_request(Some(merged))),
            changes_request_headers: weighted
                .iter()
                .map(|entry| &entry.headers)
                .chain(operations)
                .any(|operations| !operations.request.is_empty()),
            changes_response: weighted
                .iter()
                .map(|entry| &entry.headers)
                .chain(operations)
                .any(|operations| !operations.response.is_empty()),
            filters: merged,
            weighted_filters,
            counts_attempts_in_request: host.include_request_attempt_count,
            counts_attempts_in_response: host.include_attempt_count_in_response,
            conditional: is_conditional(&route.matcher),
            config: route.clone(),
        }
    }

    #[inline]
    pub(super) fn matches(
        &self,
        candidate: Candidate<'_>,
        view: &StreamView<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let matcher = &self.config.matcher;
        if self.conditional && !conditions_hold(matcher, view, scratch) {
            return false;
        }
        let path = match candidate {
            Candidate::PathMatches => return true,
            // Templates see the path as it is.
            Candidate::Unknown(_) if matches!(matcher.path, PathMatcher::Template(_)) => {
                view.head.path
            }
            Candidate::Unknown(path) => path,
        };
        path_matches(matcher, path, view.head.method == Method::CONNECT, scratch)
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

    /// `hedge_on_per_try_timeout` of the policy in force: the route's, else the virtual host's.
    pub fn hedges(&self) -> bool {
        self.hedges
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

    /// The timeouts of requests that ask for nothing of their own ([`Timeouts::fixed`]).
    pub fn fixed_timeouts(&self) -> Option<&Timeouts> {
        self.fixed_timeouts.as_ref()
    }

    /// Whether header operations of any level may change a request on this route.
    pub fn changes_request_headers(&self) -> bool {
        self.changes_request_headers
    }

    /// Whether [`super::RouteTable::finalize_request`] may do anything: header operations, rewrites.
    pub fn changes_request(&self) -> bool {
        let rewrites = |forward: &Forward| {
            forward.host_rewrite.is_some()
                || forward.path_rewrite.is_some()
                || matches!(forward.cluster, ClusterSpecifier::Weighted(_))
        };
        self.changes_request_headers || self.forward().is_some_and(rewrites)
    }

    /// Whether [`super::RouteTable::finalize_response`] may do anything.
    pub fn changes_response(&self) -> bool {
        self.changes_response
    }

    /// `include_request_attempt_count` of the route's virtual host.
    pub fn counts_attempts_in_request(&self) -> bool {
        self.counts_attempts_in_request
    }

    /// `include_attempt_count_in_response` of the route's virtual host.
    pub fn counts_attempts_in_response(&self) -> bool {
        self.counts_attempts_in_response
    }

    /// The mirror policies in force: the route's, else the virtual host's, else the configuration's.
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
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

    /// The reply of a redirect or direct response; None for other actions. `view`: the request as it came; `cx`: the
    /// same for formats.
    pub fn reply(&self, view: &StreamView<'_>, cx: &FormatContext<'_>) -> Option<LocalReply> {
        redirect::reply(&self.config, view, cx)
    }

    /// The URI that a redirect leads to (of a direct response: the request's own), whatever the status.
    pub fn location(&self, cx: &FormatContext<'_>) -> Option<String> {
        redirect::location_of(&self.config, cx)
    }

    /// Rewrites the path as Envoy does before it answers with a redirect: response header operations, formats and access
    /// logs see it, and `x-envoy-original-path`.
    ///
    /// # Errors
    /// The rewritten path is not valid in a URI.
    pub fn rewrite_redirected(
        &self,
        parts: &mut request::Parts,
        suppress_envoy_headers: bool,
    ) -> Result<(), Box<LocalReply>> {
        let path = parts.uri.path_and_query().map_or("", |p| p.as_str());
        match redirect::path_after(&self.config, path) {
            Some(path) => rewrite::set_path(parts, path, suppress_envoy_headers),
            None => Ok(()),
        }
    }

    pub(super) fn weighted_entry(
        &self,
        selected: Option<&SelectedCluster>,
    ) -> Option<&WeightedCluster> {
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
        || !matcher.cookies.is_empty()
        || matcher.tls_context.is_some()
        || matcher.filter_state
        || !matcher.dynamic_metadata.is_empty()
}

/// Whether a match that stands in no table holds.
pub(crate) fn matches(matcher: &RouteMatch, view: &StreamView<'_>, scratch: &mut Scratch) -> bool {
    let is_connect = view.head.method == Method::CONNECT;
    conditions_hold(matcher, view, scratch)
        && path_matches(matcher, view.head.path, is_connect, scratch)
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
        && matcher
            .cookies
            .iter()
            .all(|m| m.matches(head.headers, scratch))
        && !matcher.filter_state
        && matcher
            .tls_context
            .is_none_or(|tls| tls.holds(view.connection))
        && matcher
            .dynamic_metadata
            .iter()
            .all(|m| m.matches(view.metadata, scratch))
}
