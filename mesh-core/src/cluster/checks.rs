//! Active health checks of a cluster: what to ask an endpoint, and what follows from its answer. Asking is the control
//! thread's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Uri, header, request};

use super::{
    Cluster, Endpoint,
    active_health::{self, CheckResult, HealthFlags, Transition},
};
use crate::{
    Entropy,
    head::ConnectionInfo,
    model::{HeaderMutations, HealthChecker},
    route::{FormatContext, change_request_headers},
};

const USER_AGENT: HeaderValue = HeaderValue::from_static("Envoy/HC");

impl Cluster {
    /// Whether active health checks ask this endpoint.
    pub fn checks(&self, endpoint: &Endpoint) -> bool {
        self.config.health_check.is_some()
            && !endpoint.config().is_never_checked()
            && !endpoint.active_health().is_gone()
    }

    /// Whether all endpoints have had their first check: until then Envoy does not use the cluster.
    pub fn is_warm(&self) -> bool {
        self.config.health_check.is_none() || self.balancer.is_checked()
    }

    /// How long the first check of an endpoint waits; None: the cluster has no checks.
    pub fn first_check(&self, entropy: &mut dyn Entropy) -> Option<Duration> {
        let check = self.config.health_check.as_deref()?;
        Some(active_health::first_check(check, entropy))
    }

    /// What a check of an endpoint came to: in force when this returns, unless another change of health came less than
    /// `update_merge_window` before. Returns when to ask again; None: the cluster has no checks.
    pub fn checked(
        &self,
        endpoint: &Endpoint,
        result: CheckResult,
        now: Instant,
        entropy: &mut dyn Entropy,
    ) -> Option<Duration> {
        let check = self.config.health_check.as_deref()?;
        let live = endpoint.live();
        let failed = || live.active_health.flags().any(HealthFlags::FAILED);
        let had_failed = failed();
        let transition = live
            .active_health
            .record(check, result, &self.stats.health_check);
        let success = matches!(result, CheckResult::Success { .. });
        if success && had_failed {
            live.passes_at(now);
        }
        let outlier = self.config.outlier_detection.as_ref();
        let returns = success
            && !failed()
            && endpoint.is_ejected()
            && outlier.is_some_and(|o| o.successful_active_health_check_uneject_host);
        let is_changed = transition == Transition::Changed;
        self.live
            .health_checked(&self.balancer, endpoint, is_changed, returns, now);
        Some(active_health::next_check(
            check,
            result,
            transition,
            &self.stats,
            entropy,
        ))
    }

    /// An answer to a request had `x-envoy-immediate-health-check-fail`: the endpoint fails and is excluded at once, if
    /// health checks ask it (they bring it back).
    pub fn fail_immediately(&self, endpoint: &Endpoint, now: Instant) {
        let Some(check) = self.config.health_check.as_deref() else {
            return;
        };
        if !self.checks(endpoint) {
            return;
        }
        let health = &endpoint.live().active_health;
        let transition = health.fail_now(check, &self.stats.health_check);
        let is_changed = transition == Transition::Changed;
        self.live
            .health_checked(&self.balancer, endpoint, is_changed, false, now);
    }

    /// The head of an HTTP or gRPC check; None: the cluster has no such checks, or the head cannot be written.
    pub fn check_request(&self, endpoint: &Endpoint) -> Option<request::Parts> {
        let check = self.config.health_check.as_deref()?;
        let own = endpoint.config().health_check.as_deref();
        let own = own.map(|own| &*own.hostname);
        let authority = |configured: &str| {
            let named = [own.unwrap_or_default(), configured];
            let named = named.into_iter().find(|name| !name.is_empty());
            named.unwrap_or(&self.config.name).to_owned()
        };
        match &check.checker {
            HealthChecker::Http(http) => {
                let uri = Uri::try_from(&*http.path).ok()?;
                let request = Request::builder().method(&http.method).uri(uri);
                let request = request
                    .header(header::HOST, authority(&http.host))
                    .header(header::USER_AGENT, USER_AGENT);
                let mut parts = request.body(()).ok()?.into_parts().0;
                self.change(&mut parts, &http.headers, endpoint);
                Some(parts)
            }
            HealthChecker::Grpc(grpc) => {
                let timeout = crate::timeout::format_grpc_timeout(check.timeout);
                let request = Request::post("/grpc.health.v1.Health/Check")
                    .header(header::HOST, authority(&grpc.authority))
                    .header(header::TE, "trailers")
                    .header(header::CONTENT_TYPE, "application/grpc")
                    .header(header::USER_AGENT, USER_AGENT);
                let mut parts = request.body(()).ok()?.into_parts().0;
                self.change(&mut parts, &grpc.headers, endpoint);
                let timeout = HeaderValue::try_from(timeout).ok()?;
                parts.headers.insert("grpc-timeout", timeout);
                Some(parts)
            }
            HealthChecker::Tcp(_) => None,
        }
    }

    fn change(&self, parts: &mut request::Parts, changes: &HeaderMutations, endpoint: &Endpoint) {
        let connection = ConnectionInfo::default();
        let mut cx = FormatContext::without_request(&connection);
        cx.upstream_host = Some(endpoint.address());
        cx.upstream_cluster = Some(&self.config.name);
        change_request_headers(changes, parts, &cx);
    }

    /// An endpoint is no longer checked.
    pub fn checks_no_more(&self, endpoint: &Endpoint) {
        if endpoint.active_health().any(HealthFlags::DEGRADED) {
            self.stats.health_check.degraded.dec();
        }
    }

    /// `health_check.healthy`.
    pub(super) fn refresh_check_gauges(&self) {
        if self.config.health_check.is_none() {
            return;
        }
        let passes = |endpoint: &&Arc<Endpoint>| {
            self.checks(endpoint) && !endpoint.active_health().any(HealthFlags::FAILED)
        };
        let healthy = self.endpoints().iter().filter(passes).count();
        self.stats.health_check.healthy.set(healthy as u64);
    }
}
