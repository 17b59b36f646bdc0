//! Mirroring of requests, and redirects that are followed here (`envoy.config.route.v3`).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::Fraction;
use crate::{filter::HeaderMutation, matcher::MatchedHeader};

/// `RouteAction.RequestMirrorPolicy`. (`trace_sampled` has no effect: there is no tracing.)
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MirrorPolicy {
    /// `cluster` or `cluster_header`.
    pub cluster: MirrorCluster,
    /// `runtime_fraction.default_value`; None: every request.
    pub fraction: Option<Fraction>,
    /// `disable_shadow_host_suffix_append` is not set: the host gets `-shadow`, before its port.
    pub appends_suffix: bool,
    /// `request_headers_mutations`, in order.
    pub mutations: Vec<HeaderMutation>,
    /// `host_rewrite_literal`: the host, without a suffix.
    pub host_rewrite_literal: Option<HeaderValue>,
}

impl MirrorPolicy {
    /// Mirrors every request.
    pub fn to(cluster: MirrorCluster) -> Self {
        Self {
            cluster,
            fraction: None,
            appends_suffix: true,
            mutations: Vec::new(),
            host_rewrite_literal: None,
        }
    }
}

/// What they say is the same. (Formats and expressions have no equality but their text's.)
impl PartialEq for MirrorPolicy {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

/// Where a mirrored request goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MirrorCluster {
    /// `cluster`.
    Name(Arc<str>),
    /// `cluster_header`: its first line names the cluster; without it nothing is mirrored.
    Header(MatchedHeader),
}

/// `InternalRedirectPolicy`: redirects of the upstream that are followed here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InternalRedirectPolicy {
    /// `max_internal_redirects`; default 1. All that the request has followed count, whichever route's.
    pub max_internal_redirects: u32,
    /// `redirect_response_codes`, those of 301, 302, 303, 307 and 308; default 302.
    pub redirect_response_codes: Vec<StatusCode>,
    /// `predicates`, in order: each may let the redirect through to the client.
    pub predicates: Vec<RedirectPredicate>,
    /// `allow_cross_scheme_redirect`.
    pub allow_cross_scheme_redirect: bool,
    /// `response_headers_to_copy`: into the next request; what the redirect lacks is removed from it.
    pub response_headers_to_copy: Vec<HeaderName>,
}

impl Default for InternalRedirectPolicy {
    fn default() -> Self {
        Self {
            max_internal_redirects: 1,
            redirect_response_codes: vec![StatusCode::FOUND],
            predicates: Vec::new(),
            allow_cross_scheme_redirect: false,
            response_headers_to_copy: Vec::new(),
        }
    }
}

/// `envoy.internal_redirect_predicates`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectPredicate {
    /// `previous_routes`: no route is redirected to twice from the same one.
    PreviousRoutes,
    /// `allow_listed_routes`: only to routes of these names.
    AllowListedRoutes(Vec<Box<str>>),
    /// `safe_cross_scheme`: never from http to https.
    SafeCrossScheme,
}
