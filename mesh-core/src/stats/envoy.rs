//! Envoy's statistics by Envoy's names: clusters, connection managers, listeners, the server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Counter, Gauge, Histogram,
    responses::{ResponseClasses, UpstreamResponses},
};

/// One metric, as exposition reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Metric<'a> {
    Counter(u64),
    /// A counter whose name ends in the response code.
    Code(u64, u16),
    /// A counter whose name ends in the class of the response code (2 for `2xx`).
    Class(u64, u16),
    Gauge(u64),
    Histogram(&'a Histogram),
}

impl Metric<'_> {
    /// Whether it is not zero, or holds a value: what `usedonly` shows.
    pub(crate) fn is_used(&self) -> bool {
        match self {
            Self::Counter(value)
            | Self::Code(value, _)
            | Self::Class(value, _)
            | Self::Gauge(value) => *value > 0,
            Self::Histogram(histogram) => histogram.read().count() > 0,
        }
    }
}

/// Reads the metrics of a group, in the order of declaration; the name is the part after the group's prefix.
pub(crate) trait Group {
    fn visit(&self, visit: &mut dyn FnMut(&str, Metric<'_>));
}

macro_rules! group {
    (
        $(#[doc = $doc:literal])+ $name:ident
        counters { $($counter:ident $counter_doc:literal),* $(,)? }
        gauges { $($gauge:ident $gauge_doc:literal),* $(,)? }
        $(shown_if_set { $($optional:ident $optional_doc:literal),* $(,)? })?
        histograms { $($histogram:ident $histogram_doc:literal),* $(,)? }
        groups { $($group:ident $prefix:literal $group_type:ident $group_doc:literal),* $(,)? }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Default)]
        #[non_exhaustive]
        pub struct $name {
            $(#[doc = $counter_doc] pub $counter: Counter,)*
            $(#[doc = $gauge_doc] pub $gauge: Gauge,)*
            $($(#[doc = $optional_doc] pub $optional: Gauge,)*)?
            $(#[doc = $histogram_doc] pub $histogram: Histogram,)*
            $(#[doc = $group_doc] pub $group: $group_type,)*
        }

        impl Group for $name {
            fn visit(&self, visit: &mut dyn FnMut(&str, Metric<'_>)) {
                $(visit(stringify!($counter), Metric::Counter(self.$counter.value()));)*
                $(visit(stringify!($gauge), Metric::Gauge(self.$gauge.value()));)*
                $($(if self.$optional.is_used() {
                    visit(stringify!($optional), Metric::Gauge(self.$optional.value()));
                })*)?
                $(visit(stringify!($histogram), Metric::Histogram(&self.$histogram));)*
                $(self.$group.visit(&mut |name, metric| visit(&format!(concat!($prefix, "{}"), name), metric));)*
            }
        }
    };
}

impl ManagerStats {
    /// Counts what a local reply says of a request, by its details.
    pub fn local_reply(&self, details: &str) {
        let counter = match details {
            "path_normalization_failed" => &self.downstream_rq_failed_path_normalization,
            "path_normalization_redirect" => &self.downstream_rq_redirected_with_normalized_path,
            "absolute_path_rejected" => &self.downstream_rq_non_relative_path,
            "upgrade_failed" => &self.downstream_rq_ws_on_non_ws_route,
            "stream_idle_timeout" => &self.downstream_rq_idle_timeout,
            "max_duration_timeout" => &self.downstream_rq_max_duration_reached,
            "request_overall_timeout" => &self.downstream_rq_timeout,
            _ => return,
        };
        counter.inc();
    }
}

/// Counters whose names configuration chooses.
#[derive(Debug, Default)]
pub struct NamedCounters(Mutex<BTreeMap<Box<str>, Arc<Counter>>>);

impl NamedCounters {
    /// The counter of a name; takes a lock, so only for when configuration arrives.
    pub fn counter(&self, name: &str) -> Arc<Counter> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counters.get(name) {
            Some(counter) => Arc::clone(counter),
            None => Arc::clone(counters.entry(name.into()).or_default()),
        }
    }
}

impl Group for NamedCounters {
    fn visit(&self, visit: &mut dyn FnMut(&str, Metric<'_>)) {
        for (name, counter) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            visit(name, Metric::Counter(counter.value()));
        }
    }
}

group! {
    /// Envoy's statistics of a cluster (`cluster.NAME.…`).
    ClusterStats
    counters {
        upstream_cx_total "Connections made.",
        upstream_cx_http1_total "HTTP/1.1 connections made.",
        upstream_cx_http2_total "HTTP/2 connections made.",
        upstream_cx_connect_fail "Connections that failed to be made, timeouts included.",
        upstream_cx_connect_timeout "Connections not made within `connect_timeout`.",
        upstream_cx_connect_attempts_exceeded "TCP connections given up after `max_connect_attempts`.",
        upstream_cx_overflow "Times the breaker for connections was full.",
        upstream_cx_none_healthy "Times no endpoint was eligible.",
        upstream_cx_protocol_error "Connections whose upstream broke the protocol.",
        upstream_cx_destroy "Connections closed.",
        upstream_rq_total "Requests that a connection took.",
        upstream_rq_pending_total "Requests that waited for a connection.",
        upstream_rq_pending_overflow "Requests refused by the breaker for pending requests.",
        upstream_rq_active_overflow "Requests refused by the breaker for requests.",
        upstream_rq_cancelled "Requests that were given up before a connection took them.",
        upstream_rq_pending_failure_eject "Requests failed because their connection was not made.",
        upstream_rq_timeout "Requests that ran into the route timeout.",
        upstream_rq_per_try_timeout "Attempts that ran into the per-try timeout.",
        upstream_rq_per_try_idle_timeout "Attempts that ran into the per-try idle timeout.",
        upstream_rq_rx_reset "Requests that the upstream reset.",
        upstream_rq_tx_reset "Requests that we reset.",
        upstream_rq_retry "Retries.",
        upstream_rq_retry_success "Retries that succeeded.",
        upstream_rq_retry_overflow "Retries refused by the breaker or the budget.",
        upstream_rq_retry_limit_exceeded "Retries not made because `num_retries` were used up.",
        upstream_rq_retry_backoff_exponential "Retries after exponential back-off.",
        upstream_rq_retry_backoff_ratelimited "Retries after the wait that a response asked for.",
        upstream_rq_max_duration_reached "Attempts that ran into their maximum duration.",
        lb_healthy_panic "Picks in panic mode.",
        lb_recalculate_zone_structures "Times the parts of zones were computed.",
        lb_local_cluster_not_ok "Times the local cluster was of no use for zones.",
        lb_zone_cluster_too_small "Times a cluster was too small for zones.",
        lb_zone_routing_all_directly "Picks in the own zone, which takes all.",
        lb_zone_routing_sampled "Picks in the own zone by its part.",
        lb_zone_routing_cross_zone "Picks in another zone.",
        lb_zone_no_capacity_left "Picks in any zone, since none had room.",
        lb_subsets_selected "Picks in a subset.",
        lb_subsets_fallback "Picks by a fallback.",
        lb_subsets_fallback_panic "Picks among all endpoints since a fallback had none.",
        membership_change "Changes of the endpoints.",
        update_attempt "Assignments that arrived or were asked for.",
        update_success "Assignments taken.",
        update_failure "Names that could not be resolved.",
        update_empty "Names without an address.",
        retry_or_shadow_abandoned "Retries or mirrors given up because the body outgrew the buffer.",
        upstream_internal_redirect_succeeded_total "Redirects that were followed here.",
        upstream_internal_redirect_failed_total "Redirects that should have been followed here, and went to the client.",
    }
    gauges {
        upstream_cx_active "Open connections.",
        upstream_rq_active "Requests on connections.",
        upstream_rq_pending_active "Requests waiting for a connection.",
        membership_total "Endpoints.",
        membership_healthy "Healthy endpoints, those in outlier ejection not counted.",
        membership_degraded "Degraded endpoints.",
        membership_excluded "Endpoints left out of load balancing.",
    }
    histograms {
        upstream_rq_time "From the request's start to the response's end.",
        upstream_cx_connect_ms "Time to make a connection.",
        upstream_cx_length_ms "Life of a connection.",
    }
    groups {
        responses "" UpstreamResponses "Responses: `upstream_rq_completed`, `internal.upstream_rq_2xx`, `retry.upstream_rq_503`.",
        outlier_detection "outlier_detection." OutlierStats "Outlier detection.",
        health_check "health_check." HealthCheckStats "Active health checks.",
        circuit_breakers_default "circuit_breakers.default." BreakerStats "Breakers of priority DEFAULT.",
        circuit_breakers_high "circuit_breakers.high." BreakerStats "Breakers of priority HIGH.",
    }
}

group! {
    /// `cluster.NAME.outlier_detection.…`
    OutlierStats
    counters {
        ejections_enforced_total "Ejections.",
        ejections_overflow "Ejections not made because of `max_ejection_percent`.",
        ejections_enforced_consecutive_5xx "Ejections for consecutive 5xx.",
        ejections_detected_consecutive_5xx "Times consecutive 5xx were detected.",
        ejections_enforced_consecutive_gateway_failure "Ejections for consecutive gateway failures.",
        ejections_detected_consecutive_gateway_failure "Times consecutive gateway failures were detected.",
        ejections_enforced_consecutive_local_origin_failure "Ejections for consecutive failures of local origin.",
        ejections_detected_consecutive_local_origin_failure "Times consecutive failures of local origin were detected.",
        ejections_enforced_success_rate "Ejections for the success rate.",
        ejections_detected_success_rate "Times a low success rate was detected.",
        ejections_enforced_local_origin_success_rate "Ejections for the success rate of local origin.",
        ejections_detected_local_origin_success_rate "Times a low success rate of local origin was detected.",
        ejections_enforced_failure_percentage "Ejections for the failure percentage.",
        ejections_detected_failure_percentage "Times a high failure percentage was detected.",
        ejections_enforced_local_origin_failure_percentage "Ejections for the failure percentage of local origin.",
        ejections_detected_local_origin_failure_percentage "Times a high failure percentage of local origin was detected.",
        ejections_detected_degradation "Times an endpoint said that it is degraded.",
        ejections_total "Detected consecutive 5xx and success rates that may be enforced (deprecated).",
        ejections_consecutive_5xx "Times consecutive 5xx were detected (deprecated).",
        ejections_success_rate "Times a low success rate of either origin was detected (deprecated).",
    }
    gauges { ejections_active "Endpoints ejected now.", }
    histograms {}
    groups {}
}

group! {
    /// `cluster.NAME.health_check.…`
    HealthCheckStats
    counters {
        attempt "Checks begun.",
        success "Checks with the expected answer.",
        failure "All other checks, and failures that answers to requests told of.",
        passive_failure "Failures that answers to requests told of.",
        network_failure "Checks without an answer.",
        verify_cluster "Answers whose service name was compared.",
    }
    gauges {
        healthy "Endpoints that pass.",
        degraded "Times that endpoints began to pass as degraded, without those that are gone.",
    }
    histograms {}
    groups {}
}

group! {
    /// `cluster.NAME.circuit_breakers.PRIORITY.…`: 1 while the breaker is full; what is left with `track_remaining`.
    BreakerStats
    counters {}
    gauges {
        cx_open "`max_connections` reached.",
        rq_pending_open "`max_pending_requests` reached.",
        rq_open "`max_requests` reached.",
        rq_retry_open "`max_retries` or the budget reached.",
    }
    shown_if_set {
        remaining_cx "Connections left.",
        remaining_pending "Pending requests left.",
        remaining_rq "Requests left.",
        remaining_retries "Retries left.",
    }
    histograms {}
    groups {}
}

group! {
    /// Envoy's statistics of a connection manager (`http.PREFIX.…`).
    ManagerStats
    counters {
        downstream_cx_total "Connections.",
        downstream_cx_destroy "Connections closed.",
        downstream_rq_total "Requests.",
        downstream_rq_http1_total "HTTP/1.1 requests.",
        downstream_rq_http2_total "HTTP/2 requests.",
        downstream_rq_rx_reset "Requests that the peer reset.",
        downstream_rq_timeout "Requests that ran into `request_timeout`.",
        downstream_rq_idle_timeout "Requests that ran into the stream idle timeout.",
        downstream_rq_max_duration_reached "Requests that ran into their maximum duration.",
        downstream_rq_failed_path_normalization "Requests refused because of their path.",
        downstream_rq_redirected_with_normalized_path "Requests redirected to their normalised path.",
        downstream_rq_non_relative_path "Requests refused because of an absolute path.",
        downstream_rq_ws_on_non_ws_route "Upgrades refused by the route.",
        rq_total "Requests that the router saw.",
        no_route "Requests without a route.",
        no_cluster "Requests whose cluster does not exist.",
        rq_direct_response "Requests answered by a direct response.",
        rq_redirect "Requests answered by a redirect.",
        passthrough_internal_redirect_bad_location "Redirects not followed for want of an absolute URL.",
        passthrough_internal_redirect_unsafe_scheme "Redirects not followed because the scheme would change.",
        passthrough_internal_redirect_too_many_redirects "Redirects not followed because the request had followed enough.",
        passthrough_internal_redirect_no_route "Redirects not followed for want of a route.",
        passthrough_internal_redirect_predicate "Redirects not followed because a predicate said so.",
    }
    gauges {
        downstream_cx_active "Open connections.",
        downstream_rq_active "Requests in flight.",
    }
    histograms {
        downstream_rq_time "From the request's first byte to the response's end.",
        downstream_cx_length_ms "Life of a connection.",
    }
    groups {
        responses "downstream_rq" ResponseClasses "Responses: `downstream_rq_completed`, `downstream_rq_2xx`.",
        fault "fault." FaultStats "The fault filter.",
        cors "cors." CorsStats "The CORS filter.",
        csrf "csrf." CsrfStats "The CSRF filter.",
        jwt_authn "jwt_authn." JwtAuthnStats "The JWT filter.",
        named "" NamedCounters "Filters whose names configuration chooses.",
    }
}

group! {
    /// `http.PREFIX.fault.…`
    FaultStats
    counters {
        aborts_injected "Requests aborted.",
        delays_injected "Requests delayed.",
        faults_overflow "Faults not injected because of `max_active_faults`.",
    }
    gauges { active_faults "Faults going on.", }
    histograms {}
    groups {}
}

group! {
    /// `http.PREFIX.cors.…`
    CorsStats
    counters {
        origin_valid "Requests from an allowed origin.",
        origin_invalid "Requests from another origin.",
    }
    gauges {}
    histograms {}
    groups {}
}

group! {
    /// `http.PREFIX.csrf.…`
    CsrfStats
    counters {
        missing_source_origin "Requests without an origin.",
        request_invalid "Requests from another origin.",
        request_valid "Requests from an allowed origin.",
    }
    gauges {}
    histograms {}
    groups {}
}

group! {
    /// `http.PREFIX.jwt_authn.…`
    JwtAuthnStats
    counters {
        allowed "Requests that passed.",
        denied "Requests answered.",
        cors_preflight_bypassed "Preflights that passed unseen.",
    }
    gauges {}
    histograms {}
    groups {}
}

group! {
    /// Envoy's statistics of a listener (`listener.ADDRESS.…`).
    ListenerStats
    counters {
        downstream_cx_total "Connections.",
        downstream_pre_cx_timeout "Connections that ran into `listener_filters_timeout`.",
        no_filter_chain_match "Connections without a filter chain.",
    }
    gauges {
        downstream_cx_active "Open connections.",
    }
    histograms {}
    groups {}
}

group! {
    /// Envoy's statistics of a TCP proxy (`tcp.PREFIX.…`).
    TcpProxyStats
    counters {
        downstream_cx_total "Connections.",
        downstream_cx_no_route "Connections whose cluster does not exist.",
        downstream_cx_rx_bytes_total "Bytes from clients.",
        downstream_cx_tx_bytes_total "Bytes to clients.",
        idle_timeout "Connections that ran into `idle_timeout`.",
        max_downstream_connection_duration "Connections that ran into their maximum duration.",
    }
    gauges {}
    histograms {}
    groups {}
}

group! {
    /// Envoy's statistics of the server (`server.…`) and its control plane.
    ServerStats
    counters {}
    gauges {
        live "1: live and not draining.",
        state "0 live, 1 draining, 2 before initialisation, 3 initialising.",
        uptime "Seconds since the start.",
        concurrency "Worker threads.",
    }
    histograms {}
    groups {}
}
