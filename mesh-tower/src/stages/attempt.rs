//! One attempt: endpoint, and the head that goes there.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, StatusCode, request};
use mesh_core::{
    cluster::{Cluster, Endpoint, InFlight, PickContext, PickError},
    flags::ResponseFlag,
    local_reply::LocalReply,
    model::{ClusterDiscovery, HostRewrite, RoutingPriority},
    route::{auto_host, rewrite_host},
};

use super::{
    entry,
    head::no_route,
    router::{ATTEMPT_COUNT, IS_TIMEOUT_RETRY},
};
use crate::{
    clock::Moment,
    dispatch::PoolReady,
    entropy::{ThreadEntropy, shard},
    numbers::number,
    stream::{Outside, Stream},
};

/// Where an attempt goes.
pub(crate) struct Attempt {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) priority: RoutingPriority,
    pub(crate) pool_ready: Option<PoolReady>,
}

impl Stream {
    /// Picks an endpoint and counts the attempt. Ok(None): the stream's slow future finds the endpoint first.
    pub(crate) fn pick(
        &mut self,
        parts: &mut request::Parts,
        now: Moment,
    ) -> Result<Option<Attempt>, Box<LocalReply>> {
        if self.limits.caller_expired(now) {
            return Err(super::outcome::caller_deadline());
        }
        let picked = match &self.application {
            Some(application) => Ok((
                Arc::clone(&application.cluster),
                Arc::clone(&application.endpoint),
            )),
            None => {
                let hash = self.request_hash(parts);
                self.pick_endpoint(hash, now)
            }
        };
        let (cluster, endpoint) = match picked {
            Ok(picked) => picked,
            Err(Some(PickError::NoOriginalDestination)) if self.connection.info().in_process => {
                let Some((host, port)) = entry::host_of(parts) else {
                    return Err(no_healthy_upstream());
                };
                self.outside = Some(Box::new(Outside::Waits(entry::resolve(host, port))));
                return Ok(None);
            }
            Err(Some(_)) => {
                // Counted as an attempt before anybody looks for a host.
                self.attempts += 1;
                self.count_answer(StatusCode::SERVICE_UNAVAILABLE, false);
                return Err(no_healthy_upstream());
            }
            Err(None) => return Err(no_route("route_not_found")),
        };
        self.attempts += 1;
        if self.mirrored {
            self.mirror(parts);
        }
        let (priority, rewrites_host) = self.forward_action().map_or_else(Default::default, |f| {
            let is_auto = matches!(f.host_rewrite, Some(HostRewrite::Auto));
            (f.priority, is_auto)
        });
        if rewrites_host {
            self.rewrite_to(&endpoint, parts)?;
        }
        self.limits.ready = None;
        let is_watched =
            !self.limits.is_unlimited() || self.seen.log.is_some() || self.kept.is_some();
        self.pool_ready = is_watched.then(PoolReady::new);
        self.seen.in_flight = Some(InFlight::new(Arc::clone(&endpoint)));
        Ok(Some(Attempt {
            endpoint,
            cluster,
            priority,
            pool_ready: self.pool_ready.clone(),
        }))
    }

    fn pick_endpoint(
        &self,
        hash: Option<u64>,
        now: Moment,
    ) -> Result<(Arc<Cluster>, Arc<Endpoint>), Option<PickError>> {
        let cluster = self.seen.cluster.as_ref().ok_or(None)?;
        let destination = match cluster.config().discovery {
            ClusterDiscovery::OriginalDst => self.destination(),
            _ => None,
        };
        let mut cx = PickContext::first(destination);
        cx.shard = shard();
        cx.hash = hash;
        if cluster.config().subset.is_some()
            && let Some(forward) = self.forward_action()
        {
            let weighted = self.selected.and_then(|selected| selected.weighted);
            cx.criteria = Some(forward.metadata_match.of(weighted));
        }
        if cluster.picks_by_time() {
            cx.now = Some(now.instant());
        }
        if self.attempts > 0
            && let (Some(retry), Some(policy)) = (&self.retry, self.retry_policy())
        {
            if let Some(previous) = &retry.previous {
                cx.previous = previous;
            }
            cx.previous_priorities = policy.previous_priorities;
            cx.retry = policy.has_host_predicates().then_some(policy);
        }
        let endpoint = cluster.pick(&cx, &mut ThreadEntropy).map_err(Some)?;
        Ok((Arc::clone(cluster), endpoint))
    }

    /// Where the connection wanted to go, or what was resolved for it.
    fn destination(&self) -> Option<SocketAddr> {
        match self.outside.as_deref() {
            Some(Outside::Address(address)) => Some(*address),
            _ => {
                let info = self.connection.info();
                info.local.filter(|_| info.restored)
            }
        }
    }

    /// Keeps for formats which connection took the attempt.
    pub(crate) fn keep_connection(&mut self) {
        let Some(ready) = &self.pool_ready else {
            return;
        };
        let connection = ready.connection();
        if let Some(log) = &mut self.seen.log {
            log.connected = connection;
        }
        if let Some(kept) = &mut self.kept {
            kept.connected = connection;
        }
    }

    /// The head of a retry: the copy, with what counts attempts and time written anew. None: it cannot be decoded.
    pub(crate) fn head_of_retry(&self, now: Moment) -> Option<request::Parts> {
        let retry = self.retry.as_ref()?;
        let mut parts = retry.head.decode()?;
        let after_timeout = match retry.after_timeout {
            true => HeaderValue::from_static("true"),
            false => HeaderValue::from_static("false"),
        };
        let virtual_host = self.table().and_then(|t| t.virtual_host(self.route?));
        if virtual_host.is_some_and(|v| v.include_request_attempt_count) {
            parts
                .headers
                .insert(ATTEMPT_COUNT, number(u64::from(self.attempts) + 1));
        }
        if virtual_host.is_some_and(|v| v.include_is_timeout_retry_header) {
            parts.headers.insert(IS_TIMEOUT_RETRY, after_timeout);
        }
        self.write_timeout_headers(&mut parts, now, self.forward_action());
        Some(parts)
    }

    /// `auto_host_rewrite`: on this attempt's head only.
    fn rewrite_to(
        &self,
        endpoint: &Endpoint,
        parts: &mut request::Parts,
    ) -> Result<(), Box<LocalReply>> {
        let Some(host) = auto_host(endpoint.hostname()) else {
            return Ok(());
        };
        let append = self
            .forward_action()
            .is_some_and(|f| f.append_x_forwarded_host);
        rewrite_host(parts, host, append, self.suppresses_envoy_headers())
    }

    pub(super) fn priority(&self) -> RoutingPriority {
        self.forward_action()
            .map(|f| f.priority)
            .unwrap_or_default()
    }
}

/// 503 UH.
pub(super) fn no_healthy_upstream() -> Box<LocalReply> {
    Box::new(LocalReply::failure(
        StatusCode::SERVICE_UNAVAILABLE,
        "no healthy upstream",
        Some(ResponseFlag::NoHealthyUpstream),
        "no_healthy_upstream",
    ))
}

/// 503 DF.
pub(crate) fn dns_failed(error: &std::io::Error) -> Box<LocalReply> {
    Box::new(LocalReply::failure(
        StatusCode::SERVICE_UNAVAILABLE,
        "no healthy upstream",
        Some(ResponseFlag::DnsResolutionFailed),
        format!("dns_resolution_failure{{{}}}", error.kind()).replace(' ', "_"),
    ))
}
