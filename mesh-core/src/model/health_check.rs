//! Active health checks (`envoy.config.core.v3.HealthCheck`).

use std::{net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use http::Method;

use super::HeaderMutations;
use crate::matcher::StringMatcher;

/// `HealthCheck`. Equal if what it says reads the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthCheck {
    /// `timeout`: an answer that takes longer is a failure.
    pub timeout: Duration,
    /// `interval` between checks of a healthy endpoint.
    pub interval: Duration,
    /// `initial_jitter`: the first check comes after a random part of it; default 0.
    pub initial_jitter: Duration,
    /// `interval_jitter`: at most so much is added to every interval; default 0.
    pub interval_jitter: Duration,
    /// `interval_jitter_percent`: likewise in percent of the interval.
    pub interval_jitter_percent: u32,
    /// `unhealthy_threshold`: so many failures of the network, or retriable ones, in a row make an endpoint unhealthy.
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`: so many successes in a row make it healthy again.
    pub healthy_threshold: u32,
    /// `reuse_connection`; default true.
    pub reuse_connection: bool,
    /// `no_traffic_interval`: until the cluster has had a connection; default 60 s.
    pub no_traffic_interval: Duration,
    /// `no_traffic_healthy_interval`: the same for healthy endpoints; default `no_traffic_interval`.
    pub no_traffic_healthy_interval: Duration,
    /// `unhealthy_interval`; default `interval`.
    pub unhealthy_interval: Duration,
    /// `unhealthy_edge_interval`: after a failure that may make it unhealthy; default `unhealthy_interval`.
    pub unhealthy_edge_interval: Duration,
    /// `healthy_edge_interval`: after a success that may make it healthy; default `interval`.
    pub healthy_edge_interval: Duration,
    /// How it is asked.
    pub checker: HealthChecker,
}

impl HealthCheck {
    /// With Envoy's defaults; thresholds of 1.
    pub fn new(timeout: Duration, interval: Duration, checker: HealthChecker) -> Self {
        let no_traffic = Duration::from_secs(60);
        Self {
            timeout,
            interval,
            initial_jitter: Duration::ZERO,
            interval_jitter: Duration::ZERO,
            interval_jitter_percent: 0,
            unhealthy_threshold: 1,
            healthy_threshold: 1,
            reuse_connection: true,
            no_traffic_interval: no_traffic,
            no_traffic_healthy_interval: no_traffic,
            unhealthy_interval: interval,
            unhealthy_edge_interval: interval,
            healthy_edge_interval: interval,
            checker,
        }
    }
}

impl PartialEq for HealthCheck {
    fn eq(&self, other: &Self) -> bool {
        // Patterns and formats are equal if they were written alike.
        format!("{self:?}") == format!("{other:?}")
    }
}

/// How an endpoint is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthChecker {
    /// `http_health_check`.
    Http(HttpHealthCheck),
    /// `tcp_health_check`.
    Tcp(TcpHealthCheck),
    /// `grpc_health_check`.
    Grpc(GrpcHealthCheck),
}

/// `HttpHealthCheck`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpHealthCheck {
    /// `host`; empty: the cluster's name.
    pub host: Arc<str>,
    /// `path`.
    pub path: Arc<str>,
    /// `method`; default GET.
    pub method: Method,
    /// `send`: the request's body; empty: none.
    pub send: Vec<u8>,
    /// `receive`: what the answer's body must contain, in this order.
    pub receive: Vec<Vec<u8>>,
    /// `response_buffer_size`: how much of the body `receive` looks at; default 1,024; 0: all of it.
    pub response_buffer_size: usize,
    /// `request_headers_to_add` and `request_headers_to_remove`.
    pub headers: HeaderMutations,
    /// `expected_statuses`; default 200.
    pub expected_statuses: Vec<Range<u16>>,
    /// `retriable_statuses`: these count against `unhealthy_threshold`, others fail at once.
    pub retriable_statuses: Vec<Range<u16>>,
    /// `codec_client_type` HTTP2.
    pub http2: bool,
    /// `service_name_matcher` of the answer's `x-envoy-upstream-healthchecked-cluster`.
    pub service_name: Option<StringMatcher>,
}

impl HttpHealthCheck {
    /// A GET of this path, answered 200.
    pub fn new(path: impl Into<Arc<str>>) -> Self {
        Self {
            host: "".into(),
            path: path.into(),
            method: Method::GET,
            send: Vec::new(),
            receive: Vec::new(),
            response_buffer_size: 1024,
            headers: HeaderMutations::default(),
            expected_statuses: std::iter::once(200..201).collect(),
            retriable_statuses: Vec::new(),
            http2: false,
            service_name: None,
        }
    }
}

/// `TcpHealthCheck`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TcpHealthCheck {
    /// `send`; empty: nothing is sent.
    pub send: Vec<u8>,
    /// `receive`: what must come back, in this order; empty: a connection that can be made is enough.
    pub receive: Vec<Vec<u8>>,
}

/// `GrpcHealthCheck` (`grpc.health.v1.Health`).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GrpcHealthCheck {
    /// `service_name`.
    pub service_name: Arc<str>,
    /// `authority`; empty: the cluster's name.
    pub authority: Arc<str>,
    /// `initial_metadata`.
    pub headers: HeaderMutations,
}

/// `Endpoint.HealthCheckConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointHealthCheck {
    /// `address` and `port_value`, where they differ from the endpoint's.
    pub address: Option<SocketAddr>,
    /// `hostname`: the `Host` of checks; empty: the check's, else the cluster's name.
    pub hostname: Arc<str>,
    /// `disable_active_health_check`.
    pub disabled: bool,
}

/// Whether `body` contains all of `parts`, one after the other (Envoy `PayloadMatcher::match`).
pub fn contains_in_order(parts: &[Vec<u8>], body: &[u8]) -> bool {
    let mut rest = body;
    parts.iter().all(|part| {
        // An empty part is everywhere.
        let mut windows = rest.windows(part.len().max(1));
        let found = match part.is_empty() {
            true => Some(0),
            false => windows.position(|window| window == part),
        };
        match found {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_in_their_order() {
        let parts = |list: &[&str]| {
            list.iter()
                .map(|p| p.as_bytes().to_vec())
                .collect::<Vec<_>>()
        };
        let body = b"one two three";
        for (list, expected) in [
            (&["one", "three"][..], true),
            (&["three", "one"], false),
            (&["one", "one"], false),
            (&[], true),
            (&["one two three four"], false),
        ] {
            assert_eq!(contains_in_order(&parts(list), body), expected, "{list:?}");
        }
    }

    #[test]
    fn checks_are_equal_by_what_they_say() {
        let second = Duration::from_secs(1);
        let check = |path| {
            let http = HttpHealthCheck::new(path);
            HealthCheck::new(second, second, HealthChecker::Http(http))
        };
        assert_eq!(check("/a"), check("/a"));
        assert_ne!(check("/a"), check("/b"));
    }
}
