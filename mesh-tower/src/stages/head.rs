//! From the first byte to the router: Downstream stage, route, filters.

use std::{sync::Arc, time::SystemTime};

use http::{StatusCode, request};
use mesh_core::{
    downstream,
    filter::{ChainVerdict, FilterChain, FilterContext, RequestBodyFilters, Resume},
    flags::ResponseFlag,
    grpc::is_grpc_content_type,
    head::{Names, RequestHead, StreamView},
    listener::HttpChain,
    local_reply::LocalReply,
    model::TrafficDirection,
    route::Found,
};

use super::{Step, Target, response::DECORATOR_OPERATION, with_scratch};
use crate::{
    access_log::LogEntry,
    body::Filled,
    clock::Moment,
    entropy::ThreadEntropy,
    stream::{Position, Stream, Tunnel},
};

impl Stream {
    /// Runs until an attempt, a wait or a reply.
    pub(crate) fn step_head(&mut self, parts: &mut request::Parts, now: Moment) -> Step {
        match self.position {
            Position::Downstream => match self.downstream(parts) {
                Ok(Some(upgrade)) => self.find_route_and_filter(parts, now, upgrade),
                Ok(None) => self.attempt_without_policy(now),
                Err(reply) => {
                    self.route_of_refused(parts);
                    Step::Reply(reply)
                }
            },
            Position::Filter(at) => self.filter(parts, now, Resume::DelayOver(at.into())),
            Position::Buffer(..) => Step::Wait,
            Position::Buffered(at, length) => {
                self.filter(parts, now, Resume::Buffered(at.into(), length.into()))
            }
            Position::Attempt => Step::Attempt,
            Position::Redirected => match self.redirected(parts) {
                Ok(()) => match self.find_route(parts) {
                    Ok(()) => self.filter(parts, now, Resume::Start),
                    Err(reply) => Step::Reply(reply),
                },
                Err(step) => {
                    self.keep_route_of_refused(parts);
                    step
                }
            },
        }
    }

    /// The Downstream stage: the upgrade that is asked for. None: there is no HTTP policy.
    fn downstream(
        &mut self,
        parts: &mut request::Parts,
    ) -> Result<Option<Option<Box<str>>>, Box<LocalReply>> {
        match self.target {
            Target::Chain(at) => {
                let Some(chain) = self.snapshot.chain(at).cloned() else {
                    return Err(no_route("route_configuration_not_found"));
                };
                // Those of a proxy's connections were asked before the first request.
                if self.application.is_some()
                    && chain.has_connection_filters()
                    && !with_scratch(|scratch| chain.admits(self.connection.info(), scratch))
                {
                    return Err(Box::new(LocalReply::answer(
                        StatusCode::FORBIDDEN,
                        "RBAC: access denied",
                        "rbac_deny_close",
                    )));
                }
                let manager = chain.manager();
                self.limits
                    .of_manager(manager.max_stream_duration, manager.stream_idle_timeout);
                let accepted = downstream::on_request(
                    manager,
                    parts,
                    self.connection.info(),
                    &mut ThreadEntropy,
                );
                let logs = !chain.manager().access_logs.is_empty();
                self.seen.enter(chain, parts.version);
                if logs {
                    self.seen.log = Some(LogEntry::new(self.connection.clone(), parts.version));
                }
                let names = accepted.as_ref().map_or(Names::CONTENT_TYPE, |a| a.names);
                self.seen.grpc =
                    names.has(Names::CONTENT_TYPE) && is_grpc_content_type(&parts.headers);
                self.asks = names.has(Names::ENVOY);
                let accepted = accepted.inspect_err(|_| {
                    if self.always_answers_id() {
                        self.keep_request_id(&parts.headers);
                    }
                })?;
                if !accepted.internal
                    && let Some(table) = self.table()
                {
                    table.remove_internal_only(&mut parts.headers);
                }
                self.internal = accepted.internal;
                self.routable = accepted.routable;
                if accepted.client.is_some() {
                    self.kept.get_or_insert_default().remote = accepted.client;
                }
                if self.always_answers_id() {
                    self.keep_request_id(&parts.headers);
                }
                Ok(Some(accepted.upgrade))
            }
            Target::Cluster(at) => {
                self.seen.grpc = is_grpc_content_type(&parts.headers);
                // A copy is in that form already, and may have a host that no URI can hold.
                if !self.seen.is_mirror {
                    absolute(parts);
                }
                let Some(cluster) = self.snapshot.cluster(at).cloned() else {
                    return Err(Box::new(mesh_core::route::cluster_not_found(
                        StatusCode::SERVICE_UNAVAILABLE,
                    )));
                };
                self.seen.cluster = Some(cluster);
                Ok(None)
            }
            Target::Pass => {
                self.seen.grpc = is_grpc_content_type(&parts.headers);
                absolute(parts);
                Ok(None)
            }
            Target::None => {
                self.seen.grpc = is_grpc_content_type(&parts.headers);
                Err(no_route("route_not_found"))
            }
        }
    }

    /// A request that is refused before it is routed has a route in Envoy if it came with `x-forwarded-proto`, without
    /// which none is looked for (`VirtualHostImpl::getRouteFromEntries`); that route's header operations hold.
    #[cold]
    fn route_of_refused(&mut self, parts: &mut request::Parts) {
        if self.table().is_none() {
            return;
        }
        absolute(parts);
        if parts.headers.contains_key("x-forwarded-proto") {
            self.keep_route_of_refused(parts);
        }
    }

    /// A redirected request always came so.
    fn keep_route_of_refused(&mut self, parts: &request::Parts) {
        if self.find_route(parts).is_err() || self.forward_action().is_none() {
            self.route = None;
        } else if let Some(chain) = self.seen.chain.clone() {
            self.keep_for_filters(parts, &chain);
        }
    }

    fn attempt_without_policy(&mut self, now: Moment) -> Step {
        self.position = Position::Attempt;
        self.limits.routed = Some(now);
        Step::Attempt
    }

    fn find_route_and_filter(
        &mut self,
        parts: &mut request::Parts,
        now: Moment,
        upgrade: Option<Box<str>>,
    ) -> Step {
        if let Err(reply) = self.find_route(parts) {
            return Step::Reply(reply);
        }
        self.decorate(parts);
        match upgrade.map(|kind| self.upgrade(&kind)) {
            Some(Err(reply)) => Step::Reply(reply),
            _ => self.filter(parts, now, Resume::Start),
        }
    }

    /// Err: the connection manager answers before any filter, as Envoy's does.
    fn find_route(&mut self, parts: &request::Parts) -> Result<(), Box<LocalReply>> {
        if let (Some(table), true) = (self.table(), self.routable) {
            let view = self.view(parts);
            let found = with_scratch(|scratch| table.find(&view, scratch));
            let mut route = None;
            let mut selected = None;
            match found {
                Found::Route(at) => {
                    let by_name = |name: &str| self.snapshot.cluster_by_name(name);
                    selected = table
                        .route(at)
                        .and_then(|compiled| compiled.select_cluster(&view, &by_name));
                    route = Some(at);
                }
                Found::RedirectToHttps => {
                    return Err(Box::new(mesh_core::route::https_redirect(&view)));
                }
                _ => {}
            }
            self.route = route;
            self.selected = selected;
        }
        Ok(())
    }

    /// The route, or the manager, allows an upgrade, or it is refused.
    fn upgrade(&mut self, kind: &str) -> Result<(), Box<LocalReply>> {
        self.limits.tunnel = true;
        self.tunnel = match kind {
            "connect" => Tunnel::Connect,
            "websocket" => Tunnel::WebSocket,
            _ => Tunnel::Upgrade,
        };
        self.limits.complete = None;
        // Without a route the router says so.
        if let (Some(chain), Some(_)) = (&self.seen.chain, self.route) {
            downstream::check_upgrade(kind, chain.manager(), self.forward_action())?;
        }
        Ok(())
    }

    /// Tells the next hop what the route calls the operation (`Decorator.propagate`, Envoy `traceRequest`): outbound in
    /// the request; inbound the request's word is taken off, and answered with ours if there was none.
    fn decorate(&mut self, parts: &mut request::Parts) {
        let Some(chain) = self
            .seen
            .chain
            .as_ref()
            .filter(|chain| chain.manager().tracing)
        else {
            return;
        };
        let outbound = chain.direction() == TrafficDirection::Outbound;
        if outbound {
            let route = self.route.and_then(|at| chain.routes()?.route(at));
            if let Some(operation) = route.and_then(|route| route.config().decorator.clone()) {
                parts.headers.insert(DECORATOR_OPERATION, operation);
            }
        } else if parts.headers.remove(DECORATOR_OPERATION).is_none() {
            self.answers_operation = true;
        }
    }

    /// Runs the filters from the start or on from the one that held the request.
    fn filter(&mut self, parts: &mut request::Parts, now: Moment, mut from: Resume) -> Step {
        let chain = match &self.seen.chain {
            Some(chain) if !chain.filters().is_empty() => Arc::clone(chain),
            _ => return self.decide_route(parts, now),
        };
        loop {
            let verdict = self.run_filters(parts, now, &chain, from);
            return match verdict {
                ChainVerdict::Continue => {
                    // A filter may have asked.
                    self.asks = RequestHead::of(parts).has_envoy_headers();
                    self.decide_route(parts, now)
                }
                ChainVerdict::Delay { at, duration } => {
                    self.position = Position::Filter(position(at));
                    self.until = Some(now.after(duration));
                    Step::Wait
                }
                ChainVerdict::Buffer { at, max } => {
                    let max = u32::try_from(max).unwrap_or(u32::MAX);
                    self.position = Position::Buffer(position(at), max);
                    Step::Buffer
                }
                ChainVerdict::FindRoute { at } => match self.find_route(parts) {
                    Ok(()) => {
                        from = Resume::RouteFound(at);
                        continue;
                    }
                    Err(reply) => Step::Reply(reply),
                },
                ChainVerdict::Reply(reply) => {
                    self.keep_for_filters(parts, &chain);
                    Step::Reply(reply)
                }
                other => {
                    debug_assert!(false, "unknown verdict {other:?}");
                    Step::Reply(no_route("unknown_filter_verdict"))
                }
            };
        }
    }

    fn run_filters(
        &mut self,
        parts: &mut request::Parts,
        now: Moment,
        chain: &HttpChain,
        from: Resume,
    ) -> ChainVerdict {
        let compiled = self.route.and_then(|at| chain.routes()?.route(at));
        let route = compiled.map(|compiled| compiled.filters_for(self.selected.as_ref()));
        let cluster = self
            .selected
            .and_then(|selected| self.snapshot.cluster(selected.cluster))
            .map(|cluster| &*cluster.config().name);
        let client = self.client();
        let host = self.route.and_then(|at| chain.routes()?.virtual_host(at));
        let ignore_path_parameters = compiled.is_some()
            && chain
                .routes()
                .is_some_and(|table| table.config().ignore_path_parameters_in_path_matching);
        let host_rate_limits = host.map_or(&[][..], |host| &host.rate_limits);
        with_scratch(|scratch| {
            let connection = self.connection.info();
            let flags = &mut self.seen.flags;
            let entropy = &mut ThreadEntropy;
            let mut cx =
                FilterContext::new(parts, connection, flags, entropy, scratch, now.instant());
            cx.wall_clock = SystemTime::now;
            cx.client = client;
            cx.route = compiled.map(|compiled| &**compiled.config());
            cx.host_rate_limits = host_rate_limits;
            cx.ignore_path_parameters = ignore_path_parameters;
            cx.cluster = cluster;
            cx.end_stream = self.is_empty;
            chain
                .filters()
                .resume(from, &mut self.seen.states, route, &mut cx)
        })
    }

    /// The body that a filter waited for is here, or not to be had.
    pub(crate) fn filled(
        &mut self,
        parts: &request::Parts,
        filled: Filled,
    ) -> Option<Box<LocalReply>> {
        match (filled, self.position) {
            (Filled::Whole(length), Position::Buffer(at, _)) => {
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                self.position = Position::Buffered(at, length);
                None
            }
            (Filled::TooLong(whole), _) => {
                if let Some(chain) = self.seen.chain.clone() {
                    self.keep_for_filters(parts, &chain);
                }
                Some(Box::new(FilterChain::too_large(whole)))
            }
            // The caller's own body broke off: nobody will read this.
            _ => Some(Box::new(LocalReply::failure(
                StatusCode::BAD_REQUEST,
                "",
                Some(ResponseFlag::DownstreamConnectionTermination),
                "downstream_remote_disconnect",
            ))),
        }
    }

    /// What filters do to the request's body on its way; None: nothing, as a rule.
    pub(crate) fn body_filters(&mut self, parts: &request::Parts) -> Option<RequestBodyFilters> {
        let chain = self.seen.chain.as_ref()?;
        if self.is_empty || chain.filters().is_empty() {
            return None;
        }
        let mut states = std::mem::take(&mut self.seen.states);
        let route = self
            .route
            .and_then(|at| chain.routes()?.route(at))
            .map(|compiled| compiled.filters_for(self.selected.as_ref()));
        let mut format = self.format_context();
        format.head = RequestHead::of(parts);
        let filters = chain.filters().request_body(&mut states, route, &format);
        self.seen.states = states;
        filters
    }

    /// The request as matching sees it.
    pub(super) fn view<'a>(&'a self, parts: &'a request::Parts) -> StreamView<'a> {
        StreamView {
            head: RequestHead::of(parts),
            random: self.random,
            connection: self.connection.info(),
            metadata: self.seen.states.metadata(),
        }
    }
}

fn position(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// 404 NR.
pub(super) fn no_route(details: &'static str) -> Box<LocalReply> {
    let flag = Some(ResponseFlag::NoRouteFound);
    Box::new(LocalReply::failure(
        StatusCode::NOT_FOUND,
        "",
        flag,
        details,
    ))
}

/// Where no Downstream stage runs: the URI in absolute form, without a `host` header.
fn absolute(parts: &mut request::Parts) {
    let host = parts.headers.remove(http::header::HOST);
    if parts.uri.authority().is_some() {
        return;
    }
    let Some(authority) = host.and_then(|h| h.to_str().ok()?.parse().ok()) else {
        return;
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.authority = Some(authority);
    if uri.path_and_query.is_some() {
        uri.scheme.get_or_insert(http::uri::Scheme::HTTP);
    }
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
}
