//! What filters see.

use std::{
    net::IpAddr,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, StatusCode, request};

use crate::{
    Entropy,
    flags::ResponseFlags,
    head::{ConnectionInfo, RequestHead},
    metadata::{DynamicMetadata, MetadataStruct},
    model::{HeaderMutations, Route},
    rate_limit::RateLimit,
    regex::Scratch,
    route::FormatContext,
};

/// A request as a filter sees it.
#[allow(missing_debug_implementations)]
#[non_exhaustive]
pub struct FilterContext<'a> {
    /// The request's head; absolute URI.
    pub parts: &'a mut request::Parts,
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The stream's flags.
    pub flags: &'a mut ResponseFlags,
    /// Chance.
    pub entropy: &'a mut dyn Entropy,
    /// Now.
    pub now: Instant,
    /// Reads the wall clock: what tokens expire by.
    pub wall_clock: fn() -> SystemTime,
    /// Scratch memory for matching.
    pub scratch: &'a mut Scratch,
    /// The client that the connection manager found when the request came, where it is not the connection's peer.
    pub client: Option<IpAddr>,
    /// The matched route.
    pub route: Option<&'a Route>,
    /// `rate_limits` of the matched route's virtual host.
    pub host_rate_limits: &'a [RateLimit],
    /// `ignore_path_parameters_in_path_matching` of the matched route's table.
    pub ignore_path_parameters: bool,
    /// The matched route's cluster name, if it forwards.
    pub cluster: Option<&'a str>,
    /// The request has no body.
    pub end_stream: bool,
    pub(super) metadata: Option<Box<DynamicMetadata>>,
    pub(super) route_cleared: bool,
}

impl<'a> FilterContext<'a> {
    /// A request without a route, at the epoch, with a body.
    pub fn new(
        parts: &'a mut request::Parts,
        connection: &'a ConnectionInfo,
        flags: &'a mut ResponseFlags,
        entropy: &'a mut dyn Entropy,
        scratch: &'a mut Scratch,
        now: Instant,
    ) -> Self {
        Self {
            parts,
            connection,
            flags,
            entropy,
            now,
            wall_clock: || SystemTime::UNIX_EPOCH,
            scratch,
            client: None,
            route: None,
            host_rate_limits: &[],
            ignore_path_parameters: false,
            cluster: None,
            end_stream: false,
            metadata: None,
            route_cleared: false,
        }
    }

    /// Forgets the matched route: it is found again, by the request as it is then, before the next filter runs (Envoy
    /// `clearRouteCache`). Which filters run stays as it is.
    pub fn clear_route(&mut self) {
        self.route_cleared = true;
    }

    /// The stream's dynamic metadata; None: nothing was written.
    pub fn metadata(&self) -> Option<&DynamicMetadata> {
        self.metadata.as_deref()
    }

    /// Writes dynamic metadata; the first write of a stream allocates.
    pub fn merge_metadata(&mut self, namespace: &str, fields: MetadataStruct) {
        self.metadata
            .get_or_insert_default()
            .merge(namespace, fields);
    }

    /// The client's address (Envoy `remoteAddress`): behind trusted proxies, or the peer. Whatever was done to
    /// `x-forwarded-for` since the request came changes nothing of it.
    pub fn remote_address(&self) -> Option<IpAddr> {
        self.client.or(self.connection.peer.map(|peer| peer.ip()))
    }

    /// Header operations on the request.
    pub(super) fn add_headers(&mut self, mutations: &HeaderMutations) {
        if mutations.is_empty() {
            return;
        }
        let mut cx = FormatContext::without_request(self.connection);
        cx.client = self.client;
        cx.upstream_cluster = self.cluster;
        cx.route_name = self.route.map_or("", |route| &route.name);
        mutations.apply_to_request(self.parts, &cx);
    }

    /// What header formats read.
    pub(super) fn format(&self) -> FormatContext<'_> {
        let mut cx = FormatContext::new(RequestHead::of(self.parts), self.connection);
        cx.protocol = Some(self.parts.version);
        cx.client = self.client;
        cx.upstream_cluster = self.cluster;
        cx.route_name = self.route.map_or("", |route| &route.name);
        cx
    }
}

/// A response as a filter sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResponseContext<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a mut HeaderMap,
    /// What header formats read, apart from the response; only asked for where [`super::FilterChain::formats`] says so.
    pub format: Option<FormatContext<'a>>,
    /// Now.
    pub now: Instant,
}

impl<'a> ResponseContext<'a> {
    /// A response whose formats see no request.
    pub fn new(status: StatusCode, headers: &'a mut HeaderMap, now: Instant) -> Self {
        Self {
            status,
            headers,
            format: None,
            now,
        }
    }
}
