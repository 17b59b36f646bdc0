//! The router's retry decisions (Envoy `retry_state_impl.cc`).

use std::time::Duration;

use http::HeaderMap;

use crate::{Entropy, head::RequestHead, model::RetryPolicy, outcome::Outcome};

/// `retry_on`: a set of conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

impl RetryOn {
    /// Parses the comma-separated tokens; unknown ones are returned apart (Envoy ignores them).
    pub fn parse(tokens: &str) -> (Self, Vec<&str>) {
        let _ = tokens;
        todo!()
    }

    /// Whether no condition is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The retry state of one request.
#[derive(Clone, Debug)]
pub struct RetryState {
    on: RetryOn,
    remaining: u32,
    /// Retries so far.
    retries: u32,
}

/// What to do with an attempt's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryDecision {
    /// Deliver it.
    Deliver,
    /// It would be retried, but `num_retries` are used up: deliver it with URX.
    LimitExceeded,
    /// Retry after this wait, if the breaker's retry permit can be had; otherwise deliver it with UO.
    Retry {
        /// The back-off.
        after: Duration,
    },
}

impl RetryState {
    /// State for a request; None if nothing about it is retriable. Reads `x-envoy-retry-on`, `x-envoy-retry-grpc-on`,
    /// `x-envoy-max-retries`, `x-envoy-retriable-status-codes`, `x-envoy-retriable-header-names`; the caller removes
    /// them before forwarding.
    pub fn new(policy: Option<&RetryPolicy>, head: &RequestHead<'_>) -> Option<Self> {
        let _ = (policy, head);
        todo!()
    }

    /// Decides on one outcome. `headers`: response headers, where there are some. `sent`: whether any byte of the
    /// request left on any attempt (`reset-before-request`).
    pub fn decide(
        &mut self,
        policy: Option<&RetryPolicy>,
        outcome: Outcome,
        headers: Option<&HeaderMap>,
        sent: bool,
        entropy: &mut dyn Entropy,
    ) -> RetryDecision {
        let _ = (
            policy,
            outcome,
            headers,
            sent,
            entropy,
            self.on,
            self.remaining,
        );
        todo!()
    }

    /// Retries so far.
    pub fn retries(&self) -> u32 {
        self.retries
    }
}
