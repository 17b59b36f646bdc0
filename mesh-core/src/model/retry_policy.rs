//! Retries of a route (`envoy.config.route.v3.RetryPolicy`).

use std::time::Duration;

use http::HeaderName;

use super::Criteria;
use crate::matcher::HeaderMatcher;

/// `RetryPolicy`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// `retry_on`.
    pub retry_on: crate::retry::RetryOn,
    /// `num_retries`; default 1.
    pub num_retries: u32,
    /// `per_try_timeout`; zero: none.
    pub per_try_timeout: Duration,
    /// `per_try_idle_timeout`; zero: none.
    pub per_try_idle_timeout: Duration,
    /// `retriable_status_codes`.
    pub retriable_status_codes: Vec<u16>,
    /// `retriable_headers`: response headers that make a response retriable (with `retriable-headers`).
    pub retriable_headers: Vec<HeaderMatcher>,
    /// `retriable_request_headers`: if not empty, only requests that match one are retried.
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// `retry_back_off.base_interval`; default 25 ms.
    pub base_interval: Duration,
    /// `retry_back_off.max_interval`; default 10 times the base.
    pub max_interval: Duration,
    /// `rate_limited_retry_back_off`.
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// `retry_host_predicate`: `previous_hosts`.
    pub previous_hosts: bool,
    /// `retry_host_predicate`: `omit_canary_hosts`.
    pub omit_canary_hosts: bool,
    /// `retry_host_predicate`: `omit_host_metadata`, what each says of `envoy.lb`.
    pub omit_host_metadata: Vec<Criteria>,
    /// `host_selection_retry_max_attempts`; default 1.
    pub host_selection_retry_max_attempts: u32,
    /// `retry_priority`: `previous_priorities.update_frequency`.
    pub previous_priorities: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retry_on: crate::retry::RetryOn::default(),
            num_retries: 1,
            per_try_timeout: Duration::ZERO,
            per_try_idle_timeout: Duration::ZERO,
            retriable_status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            retriable_request_headers: Vec::new(),
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
            rate_limited_back_off: None,
            previous_hosts: false,
            omit_canary_hosts: false,
            omit_host_metadata: Vec::new(),
            host_selection_retry_max_attempts: 1,
            previous_priorities: None,
        }
    }
}

/// `RetryPolicy.RateLimitedRetryBackOff`.
#[derive(Clone, Debug)]
pub struct RateLimitedBackOff {
    /// `reset_headers`: name, and whether it holds a Unix time stamp instead of seconds.
    pub reset_headers: Vec<(HeaderName, bool)>,
    /// `max_interval`; default 300 s.
    pub max_interval: Duration,
}
