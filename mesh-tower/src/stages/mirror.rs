//! Copies of requests for other clusters (Envoy `Router::Filter`, `ShadowWriterImpl`): sent on their own, their answers
//! are read and forgotten.

use std::sync::Arc;

use http::{HeaderName, request};
use http_body_util::BodyExt;
use mesh_core::{
    cluster::Cluster,
    model::MirrorPolicy,
    route::{CompiledRoute, FormatContext, mirror_cluster, mirrored_head},
    snapshot::ClusterIndex,
    timeout::Timeouts,
};

use super::{Target, entry::Entered, with_scratch};
use crate::{
    body::{MirrorBody, RequestBody, Tee},
    entropy::ThreadEntropy,
    future::ResponseFuture,
    numbers::number,
    stream::{Stream, Tunnel},
    transport::Transport,
};

const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

impl Stream {
    /// Whether the request may be mirrored: by its route, or by its cluster.
    pub(super) fn has_mirrors(&self, route: &CompiledRoute) -> bool {
        let of_cluster = |cluster: &Arc<Cluster>| !cluster.config().http.mirrors.is_empty();
        (!route.mirrors().is_empty() || self.seen.cluster.as_ref().is_some_and(of_cluster))
            && self.application.is_none()
            && self.tunnel == Tunnel::No
    }

    /// Sends the copies, once an endpoint is there for the request itself.
    #[inline(never)]
    pub(super) fn mirror(&mut self, parts: &request::Parts) {
        self.mirrored = false;
        let copies = self.mirrored_requests(parts);
        if copies.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut tee = (!self.is_empty).then(|| Tee::new(self.replay_cap()));
        let timeout = self.limits.route_timeout();
        for (cluster, head) in copies {
            let body = tee.as_mut().map_or_else(MirrorBody::empty, Tee::copy);
            let entered = Entered {
                snapshot: Arc::clone(&self.snapshot),
                target: Target::Cluster(cluster),
                connection: self.connection.clone(),
                application: None,
                slow: None,
            };
            let mut stream = Stream::new(entered, None, &head, self.is_empty);
            stream.seen.is_mirror = true;
            stream.internal = true;
            let mut timeouts = Timeouts::default();
            timeouts.global = timeout;
            stream.limits.of_fixed(&timeouts);
            let transport = Transport::<RequestBody<MirrorBody>>::new();
            let sent = ResponseFuture::new(transport, stream, head, body);
            runtime.spawn(async move {
                if let Ok(response) = sent.await {
                    let mut body = response.into_body();
                    while let Some(Ok(_)) = body.frame().await {}
                }
            });
        }
        if tee.is_some() {
            self.kept.get_or_insert_default().tee = tee.map(Box::new);
        }
    }

    /// Clusters and heads of the copies.
    fn mirrored_requests(&self, parts: &request::Parts) -> Vec<(ClusterIndex, request::Parts)> {
        let view = self.view(parts);
        let by_name = |name: &str| self.snapshot.cluster_by_name(name);
        let of_cluster = self
            .seen
            .cluster
            .as_ref()
            .map_or(&[][..], |cluster| &cluster.config().http.mirrors);
        let route = self.table().and_then(|table| table.route(self.route?));
        let mut drawn: Vec<(ClusterIndex, &MirrorPolicy)> = Vec::new();
        if of_cluster.is_empty() {
            for mirror in route.map_or(&[][..], CompiledRoute::mirrors) {
                let cluster = mirror.cluster(&view, &by_name);
                drawn.extend(cluster.map(|cluster| (cluster, mirror.policy())));
            }
        } else {
            for policy in of_cluster {
                let cluster = mirror_cluster(policy, &view, &by_name);
                drawn.extend(cluster.map(|cluster| (cluster, policy)));
            }
        }
        let suppress = self.suppresses_envoy_headers();
        let mut cx = FormatContext::without_request(self.connection.info());
        cx.upstream_cluster = self.seen.cluster.as_ref().map(|c| &*c.config().name);
        cx.protocol = Some(self.downstream_version);
        cx.attempts = 1;
        self.name_route(&mut cx);
        let copies = drawn.into_iter().filter_map(|(at, policy)| {
            let cluster = self.snapshot.cluster(at)?;
            if cluster.drops(suppress, &mut ThreadEntropy).is_some() {
                return None;
            }
            let mut head = with_scratch(|scratch| mirrored_head(policy, parts, &cx, scratch));
            if let Some(timeout) = self.limits.route_timeout()
                && !suppress
            {
                let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                head.headers.insert(EXPECTED_TIMEOUT, number(timeout));
            }
            Some((at, head))
        });
        copies.collect()
    }
}
