//! What is counted when a stream is over: once, however it ended.

use std::sync::Arc;

use http::{StatusCode, Version};
use mesh_core::{
    cluster::{Cluster, InFlight},
    filter::FilterStates,
    flags::{ResponseFlag, ResponseFlags},
    listener::HttpChain,
    model::TrafficDirection,
    stats::Sample,
};

use crate::{access_log::LogEntry, clock::Moment, limits::Expired};

/// Everything that the end of a stream needs: its load, its filters' states, and what metrics are labelled with.
///
/// Lives in the future, then in the response's body. Dropped before the stream is over, it says that the caller went
/// away (flag DC).
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) chain: Option<Arc<HttpChain>>,
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// The attempt's load on its endpoint.
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) states: FilterStates,
    pub(crate) flags: ResponseFlags,
    /// The stream's first moment.
    pub(crate) started: Moment,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc: bool,
    pub(crate) grpc_status: Option<u32>,
    /// The stream is a tunnel: it has no end of its own.
    pub(crate) tunnel: bool,
    /// The request is a copy, which no one's metrics count.
    pub(crate) is_mirror: bool,
    /// What an access log wants to know; None: there is none.
    pub(crate) log: Option<Box<LogEntry>>,
    is_over: bool,
}

impl Observed {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            chain: None,
            cluster: None,
            in_flight: None,
            states: FilterStates::default(),
            flags: ResponseFlags::NONE,
            started: Moment::UNSET,
            status: None,
            grpc: false,
            grpc_status: None,
            tunnel: false,
            is_mirror: false,
            log: None,
            is_over: false,
        }
    }

    /// What is left where a stream was moved away: nothing is counted for it.
    pub(crate) fn over() -> Self {
        let mut over = Self::new();
        over.is_over = true;
        over
    }

    /// Enters a chain.
    pub(crate) fn enter(&mut self, chain: Arc<HttpChain>, version: Version) {
        let stats = chain.stats();
        stats.downstream_rq_total.inc();
        if version < Version::HTTP_2 {
            stats.downstream_rq_http1_total.inc();
        } else {
            stats.downstream_rq_http2_total.inc();
        }
        stats.downstream_rq_active.inc();
        self.chain = Some(chain);
    }

    /// A redirect is followed: one request of the chain ends without an answer, the next begins.
    pub(crate) fn again(&mut self, chain: &HttpChain, version: Version, now: Moment) {
        let stats = chain.stats();
        stats
            .downstream_rq_time
            .record(Sample::from(now.since(self.started)));
        stats.downstream_rq_total.inc();
        if version < Version::HTTP_2 {
            stats.downstream_rq_http1_total.inc();
        } else {
            stats.downstream_rq_http2_total.inc();
        }
        self.started = now;
    }

    /// The stream is over; later calls do nothing.
    pub(crate) fn finish(&mut self) {
        if !self.is_over {
            self.finish_at(Moment::now());
        }
    }

    /// The same, by the clock of the step.
    pub(crate) fn finish_at(&mut self, now: Moment) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        self.record(now);
        if let (Some(entry), Some(chain)) = (self.log.take(), &self.chain) {
            entry.write(chain, self, now);
        }
        if let Some(chain) = &self.chain
            && !chain.filters().is_empty()
        {
            chain.filters().on_complete(&mut self.states);
        }
        self.in_flight = None;
    }

    fn record(&self, now: Moment) {
        let duration = Sample::from(now.since(self.started));
        if let Some(metrics) = self.metrics() {
            let code = self.status.map_or(0, |s| s.as_u16());
            metrics.record(code, self.grpc_status, self.flags, duration);
        }
        if let (Some(cluster), Some(_), true) = (&self.cluster, self.status, self.answered()) {
            cluster.stats().upstream_rq_time.record(duration);
        }
        if let Some(chain) = &self.chain {
            let stats = chain.stats();
            stats.downstream_rq_active.dec();
            stats.downstream_rq_time.record(duration);
            match self.status {
                Some(status) => stats.responses.record(status),
                None => stats.downstream_rq_rx_reset.inc(),
            }
        }
    }

    /// Counts a limit of an attempt.
    pub(crate) fn count_expired(&self, expired: Expired) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let stats = cluster.stats();
        match expired {
            Expired::Route => stats.upstream_rq_timeout.inc(),
            Expired::PerTry => stats.upstream_rq_per_try_timeout.inc(),
            Expired::PerTryIdle => stats.upstream_rq_per_try_idle_timeout.inc(),
            Expired::Attempt => stats.upstream_rq_max_duration_reached.inc(),
            Expired::Duration | Expired::Idle | Expired::Caller => {}
        }
    }

    /// Whether the response is an endpoint's.
    fn answered(&self) -> bool {
        self.in_flight.is_some() && self.flags.is_empty()
    }

    /// Istio's metrics for where the request got to: the endpoint, else the cluster, else the chain. Inbound it is this
    /// workload, always.
    fn metrics(&self) -> Option<&mesh_core::stats::RequestMetrics> {
        if self.is_mirror {
            return None;
        }
        let of_chain = self.chain.as_ref();
        if let Some(chain) = of_chain
            && chain.direction() == TrafficDirection::Inbound
        {
            return Some(chain.request_metrics(self.grpc));
        }
        if let Some(in_flight) = &self.in_flight
            && let Some(metrics) = in_flight.endpoint().request_metrics(self.grpc)
        {
            return Some(metrics);
        }
        match &self.cluster {
            Some(cluster) => Some(cluster.request_metrics(self.grpc)),
            None => of_chain.map(|chain| &**chain.request_metrics(self.grpc)),
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.is_over {
            if !self.tunnel {
                self.flags
                    .set(ResponseFlag::DownstreamConnectionTermination);
            }
            self.finish();
        }
    }
}
