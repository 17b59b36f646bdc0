//! From the first byte to the router: Downstream stage, route, filters.

use std::sync::Arc;

use http::{StatusCode, request};
use mesh_core::{
    downstream,
    filter::{ChainVerdict, FilterContext},
    flags::ResponseFlag,
    grpc::is_grpc_content_type,
    head::{Names, RequestHead, StreamView},
    local_reply::LocalReply,
    model::TrafficDirection,
    route::Found,
};

use super::{Step, Target, response::DECORATOR_OPERATION, with_scratch};
use crate::{
    clock::Moment,
    entropy::ThreadEntropy,
    stream::{Position, Stream},
};

impl Stream {
    /// Runs until an attempt, a wait or a reply.
    pub(crate) fn step_head(&mut self, parts: &mut request::Parts, now: Moment) -> Step {
        match self.position {
            Position::Downstream => match self.downstream(parts) {
                Ok(true) => self.find_route_and_filter(parts, now),
                Ok(false) => self.attempt_without_policy(now),
                Err(reply) => Step::Reply(reply),
            },
            Position::Filter(at) => self.filter(parts, now, Some(at as usize)),
            Position::Attempt => Step::Attempt,
        }
    }

    /// The Downstream stage. False: there is no HTTP policy.
    fn downstream(&mut self, parts: &mut request::Parts) -> Result<bool, Box<LocalReply>> {
        match self.target {
            Target::Chain(at) => {
                let Some(chain) = self.snapshot.chain(at).cloned() else {
                    return Err(no_route("route_configuration_not_found"));
                };
                let manager = chain.manager();
                self.limits
                    .of_manager(manager.max_stream_duration, manager.stream_idle_timeout);
                let accepted = downstream::on_request(
                    manager,
                    chain.direction(),
                    parts,
                    self.connection.info(),
                    &mut ThreadEntropy,
                );
                self.seen.enter(chain, parts.version);
                let names = accepted.as_ref().map_or(Names::CONTENT_TYPE, |a| a.names);
                self.seen.grpc =
                    names.has(Names::CONTENT_TYPE) && is_grpc_content_type(&parts.headers);
                self.asks = names.has(Names::ENVOY);
                let accepted = accepted?;
                if !accepted.internal
                    && let Some(table) = self.table()
                {
                    table.remove_internal_only(&mut parts.headers);
                }
                if accepted.upgrade.is_some() {
                    self.limits.tunnel = true;
                    self.limits.complete = None;
                }
                Ok(true)
            }
            Target::Cluster(at) => {
                self.seen.grpc = is_grpc_content_type(&parts.headers);
                absolute(parts);
                let Some(cluster) = self.snapshot.cluster(at).cloned() else {
                    return Err(Box::new(mesh_core::route::cluster_not_found(
                        StatusCode::SERVICE_UNAVAILABLE,
                    )));
                };
                self.seen.cluster = Some(cluster);
                Ok(false)
            }
            Target::Pass => {
                self.seen.grpc = is_grpc_content_type(&parts.headers);
                absolute(parts);
                Ok(false)
            }
            Target::None => {
                self.seen.grpc = is_grpc_content_type(&parts.headers);
                Err(no_route("route_not_found"))
            }
        }
    }

    fn attempt_without_policy(&mut self, now: Moment) -> Step {
        self.position = Position::Attempt;
        self.limits.routed = Some(now);
        Step::Attempt
    }

    fn find_route_and_filter(&mut self, parts: &mut request::Parts, now: Moment) -> Step {
        if let Some(table) = self.table() {
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
                // The connection manager answers before any filter, as Envoy's does.
                Found::RedirectToHttps => {
                    return Step::Reply(Box::new(mesh_core::route::https_redirect(&view)));
                }
                _ => {}
            }
            self.route = route;
            self.selected = selected;
            self.decorate(parts);
        }
        self.filter(parts, now, None)
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
    fn filter(&mut self, parts: &mut request::Parts, now: Moment, from: Option<usize>) -> Step {
        let chain = match &self.seen.chain {
            Some(chain) if !chain.filters().is_empty() => Arc::clone(chain),
            _ => return self.decide_route(parts, now),
        };
        let route = self
            .route
            .and_then(|at| chain.routes()?.route(at))
            .map(|compiled| compiled.filters_for(self.selected.as_ref()));
        let cluster = self
            .selected
            .and_then(|selected| self.snapshot.cluster(selected.cluster))
            .map(|cluster| &*cluster.config().name);
        let verdict = with_scratch(|scratch| {
            let mut cx = FilterContext {
                parts,
                cluster,
                connection: self.connection.info(),
                flags: &mut self.seen.flags,
                entropy: &mut ThreadEntropy,
                now: now.instant(),
                scratch,
            };
            let filters = chain.filters();
            match from {
                None => filters.on_request_head(&mut self.seen.states, route, &mut cx),
                Some(at) => filters.on_delay_over(at, &mut self.seen.states, route, &mut cx),
            }
        });
        match verdict {
            ChainVerdict::Continue => {
                // A filter may have asked.
                self.asks = RequestHead::of(parts).has_envoy_headers();
                self.decide_route(parts, now)
            }
            ChainVerdict::Delay { at, duration } => {
                self.position = Position::Filter(u32::try_from(at).unwrap_or(u32::MAX));
                self.until = Some(now.after(duration));
                Step::Wait
            }
            ChainVerdict::Reply(reply) => Step::Reply(reply),
            other => {
                debug_assert!(false, "unknown verdict {other:?}");
                Step::Reply(no_route("unknown_filter_verdict"))
            }
        }
    }

    /// The request as matching sees it.
    pub(super) fn view<'a>(&'a self, parts: &'a request::Parts) -> StreamView<'a> {
        StreamView {
            head: RequestHead::of(parts),
            random: self.random,
            connection: self.connection.info(),
            metadata: None,
        }
    }
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
