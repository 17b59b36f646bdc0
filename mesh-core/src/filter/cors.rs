//! Cross-origin resource sharing (Envoy `source/extensions/filters/http/cors/cors_filter.cc`).

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN,
    },
};

use super::{FilterContext, FilterVerdict, holds};
use crate::{
    local_reply::LocalReply,
    matcher::StringMatcher,
    model::{Fraction, Route, RouteAction},
    stats::CorsStats,
};

/// The slot's value of a stream whose origin the filter allowed.
const ALLOWED: u64 = 1;

const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// `envoy.extensions.filters.http.cors.v3.CorsPolicy`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CorsPolicy {
    /// `allow_origin_string_match`.
    pub allow_origins: Vec<StringMatcher>,
    /// `allow_methods`; `*`: those that the preflight asks for.
    pub allow_methods: Option<HeaderValue>,
    /// `allow_headers`; `*`: those that the preflight asks for.
    pub allow_headers: Option<HeaderValue>,
    /// `expose_headers`.
    pub expose_headers: Option<HeaderValue>,
    /// `max_age`.
    pub max_age: Option<HeaderValue>,
    /// `allow_credentials`; default false.
    pub allow_credentials: Option<bool>,
    /// `filter_enabled`; unset: always.
    pub filter_enabled: Option<Fraction>,
    /// `shadow_enabled`: where the policy is off, origins are counted all the same; unset: never.
    pub shadow_enabled: Option<Fraction>,
    /// `allow_private_network_access`; default false.
    pub allow_private_network_access: Option<bool>,
    /// `forward_not_matching_preflights`; default true.
    pub forward_not_matching_preflights: Option<bool>,
}

impl CorsPolicy {
    /// A policy with what it does not say taken from more general ones. Whether the filter is on is not taken.
    pub(super) fn merge<'a>(
        specific: &Arc<Self>,
        general: impl Iterator<Item = &'a Self>,
    ) -> Arc<Self> {
        general.fold(Arc::clone(specific), |mut merged, general| {
            let policy = Arc::make_mut(&mut merged);
            if policy.allow_origins.is_empty() {
                policy.allow_origins.clone_from(&general.allow_origins);
            }
            let values = [
                (&mut policy.allow_methods, &general.allow_methods),
                (&mut policy.allow_headers, &general.allow_headers),
                (&mut policy.expose_headers, &general.expose_headers),
                (&mut policy.max_age, &general.max_age),
            ];
            for (value, general) in values {
                if value.as_ref().is_none_or(HeaderValue::is_empty) {
                    value.clone_from(general);
                }
            }
            policy.allow_credentials = policy.allow_credentials.or(general.allow_credentials);
            policy.allow_private_network_access = policy
                .allow_private_network_access
                .or(general.allow_private_network_access);
            policy.forward_not_matching_preflights = policy
                .forward_not_matching_preflights
                .or(general.forward_not_matching_preflights);
            merged
        })
    }
}

/// Answers a preflight; remembers the origin of a request whose response must name it.
pub(super) fn on_request_head(
    policy: &CorsPolicy,
    stats: &CorsStats,
    cx: &mut FilterContext<'_>,
    allowed_origin: &mut Option<HeaderValue>,
    slot: &mut u64,
) -> FilterVerdict {
    // Redirects and direct responses have no policy in Envoy's eyes.
    let forwards = |route: &Route| matches!(route.action, RouteAction::Forward(_));
    if !cx.route.is_some_and(forwards) {
        return FilterVerdict::Continue;
    }
    let enabled = holds(policy.filter_enabled.or(Some(Fraction::ALWAYS)), cx.entropy);
    if !enabled && !holds(policy.shadow_enabled, cx.entropy) {
        return FilterVerdict::Continue;
    }
    let headers = &cx.parts.headers;
    let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
        return FilterVerdict::Continue;
    };
    let allowed = policy.allow_origins.iter().any(|matcher| {
        matcher.matches(b"*", cx.scratch) || matcher.matches(origin.as_bytes(), cx.scratch)
    });
    if allowed {
        stats.origin_valid.inc();
    } else {
        stats.origin_invalid.inc();
    }
    if !enabled {
        return FilterVerdict::Continue;
    }
    if allowed {
        *allowed_origin = Some(origin.clone());
        *slot = ALLOWED;
    }
    let method = headers
        .get(ACCESS_CONTROL_REQUEST_METHOD)
        .filter(|method| !method.is_empty());
    let (&Method::OPTIONS, Some(method)) = (&cx.parts.method, method) else {
        return FilterVerdict::Continue;
    };
    if !allowed && policy.forward_not_matching_preflights.unwrap_or(true) {
        return FilterVerdict::Continue;
    }

    let mut reply = LocalReply::answer(StatusCode::OK, "", "cors_response");
    reply.never_grpc = true;
    let add = |reply: &mut LocalReply, name: HeaderName, value: Option<&HeaderValue>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            reply.headers.push((name, value.clone()));
        }
    };
    if allowed {
        add(&mut reply, ACCESS_CONTROL_ALLOW_ORIGIN, Some(origin));
    }
    if policy.allow_credentials.unwrap_or(false) {
        let yes = HeaderValue::from_static("true");
        add(&mut reply, ACCESS_CONTROL_ALLOW_CREDENTIALS, Some(&yes));
    }
    let echo = |configured: &Option<HeaderValue>, asked: Option<&HeaderValue>| match configured {
        Some(value) if value == "*" => asked.cloned(),
        value => value.clone(),
    };
    let methods = echo(&policy.allow_methods, Some(method));
    add(&mut reply, ACCESS_CONTROL_ALLOW_METHODS, methods.as_ref());
    // What was not asked for is echoed all the same, and empty.
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let asked = asked.unwrap_or(HeaderValue::from_static(""));
    if policy.allow_headers.as_ref().is_some_and(|h| h == "*") && asked.is_empty() {
        reply.headers.push((ACCESS_CONTROL_ALLOW_HEADERS, asked));
    } else {
        let allow_headers = echo(&policy.allow_headers, Some(&asked));
        add(
            &mut reply,
            ACCESS_CONTROL_ALLOW_HEADERS,
            allow_headers.as_ref(),
        );
    }
    add(&mut reply, ACCESS_CONTROL_MAX_AGE, policy.max_age.as_ref());
    let asks = headers
        .get(REQUEST_PRIVATE_NETWORK)
        .is_some_and(|asks| asks == "true");
    if asks && policy.allow_private_network_access.unwrap_or(false) {
        let yes = HeaderValue::from_static("true");
        add(&mut reply, ALLOW_PRIVATE_NETWORK, Some(&yes));
    }
    FilterVerdict::Reply(Box::new(reply))
}

/// Names the origin in the response to a request of an allowed one.
pub(super) fn on_response_head(
    policy: &CorsPolicy,
    allowed_origin: Option<&HeaderValue>,
    slot: u64,
    headers: &mut HeaderMap,
) {
    // Several filters of a chain share the origin, not what they think of it.
    let Some(origin) = allowed_origin.filter(|_| slot == ALLOWED) else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if policy.allow_credentials.unwrap_or(false) {
        let yes = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    if let Some(value) = policy.expose_headers.as_ref().filter(|v| !v.is_empty()) {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::Request;

    use super::*;
    use crate::{
        Entropy,
        flags::ResponseFlags,
        head::ConnectionInfo,
        model::{ClusterSpecifier, Forward},
    };

    struct Fixed(u64);

    impl Entropy for Fixed {
        fn next_u64(&mut self) -> u64 {
            self.0
        }
    }

    fn value(text: &'static str) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(text))
    }

    fn exact(text: &str) -> StringMatcher {
        StringMatcher::Exact {
            value: text.into(),
            ignore_case: false,
        }
    }

    fn policy() -> CorsPolicy {
        CorsPolicy {
            allow_origins: vec![exact("http://a")],
            allow_methods: value("GET,POST"),
            allow_headers: value("x-a"),
            expose_headers: value("x-e"),
            max_age: value("60"),
            allow_credentials: Some(true),
            ..CorsPolicy::default()
        }
    }

    /// The reply of a preflight and the headers that a response of upstream gets, as `name: value` lines.
    fn run(
        policy: &CorsPolicy,
        method: Method,
        headers: &[(&'static str, &'static str)],
    ) -> (Option<Vec<String>>, Vec<String>) {
        let mut request = Request::builder().method(method).uri("http://s/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let mut origin = None;
        let connection = ConnectionInfo::default();
        let (mut flags, mut entropy) = (ResponseFlags::NONE, Fixed(50));
        let mut scratch = Default::default();
        let mut cx = FilterContext::new(
            &mut parts,
            &connection,
            &mut flags,
            &mut entropy,
            &mut scratch,
            Instant::now(),
        );
        let forward = Forward::to(ClusterSpecifier::Cluster("c".into()));
        let route = Route {
            action: RouteAction::Forward(Box::new(forward)),
            ..Route::default()
        };
        cx.route = Some(&route);
        let stats = CorsStats::default();
        let mut slot = 0;
        let verdict = on_request_head(policy, &stats, &mut cx, &mut origin, &mut slot);
        let lines = |headers: &mut dyn Iterator<Item = (&HeaderName, &HeaderValue)>| {
            headers
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect()
        };
        let reply = match verdict {
            FilterVerdict::Reply(reply) => {
                assert_eq!(reply.status, StatusCode::OK);
                assert_eq!(reply.details, "cors_response");
                Some(lines(&mut reply.headers.iter().map(|(n, v)| (n, v))))
            }
            _ => None,
        };
        let mut response = HeaderMap::new();
        on_response_head(policy, origin.as_ref(), slot, &mut response);
        (reply, lines(&mut response.iter()))
    }

    const ASK: (&str, &str) = ("access-control-request-method", "PUT");
    const GOOD: (&str, &str) = ("origin", "http://a");
    const BAD: (&str, &str) = ("origin", "http://b");

    #[test]
    fn a_request_without_origin_passes() {
        assert_eq!(run(&policy(), Method::GET, &[]), (None, vec![]));
        assert_eq!(run(&policy(), Method::OPTIONS, &[ASK]), (None, vec![]));
        let empty = [("origin", ""), ASK];
        assert_eq!(run(&policy(), Method::OPTIONS, &empty), (None, vec![]));
    }

    #[test]
    fn the_response_to_an_allowed_origin_names_it() {
        let (reply, response) = run(&policy(), Method::GET, &[GOOD]);
        assert_eq!(reply, None);
        assert_eq!(
            response,
            [
                "access-control-allow-origin: http://a",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: x-e",
            ]
        );
        assert_eq!(run(&policy(), Method::GET, &[BAD]), (None, vec![]));
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_answered() {
        let (reply, _) = run(&policy(), Method::OPTIONS, &[GOOD, ASK]);
        assert_eq!(
            reply.unwrap(),
            [
                "access-control-allow-origin: http://a",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET,POST",
                "access-control-allow-headers: x-a",
                "access-control-max-age: 60",
            ]
        );
        let (reply, _) = run(&policy(), Method::GET, &[GOOD, ASK]);
        assert_eq!(reply, None, "only OPTIONS is a preflight");
        let (reply, _) = run(&policy(), Method::OPTIONS, &[GOOD]);
        assert_eq!(reply, None, "a preflight names a method");
    }

    #[test]
    fn a_star_echoes_what_the_preflight_asks_for() {
        let policy = CorsPolicy {
            allow_origins: vec![exact("*")],
            allow_methods: value("*"),
            allow_headers: value("*"),
            ..CorsPolicy::default()
        };
        let ask = ("access-control-request-headers", "x-1,x-2");
        let (reply, _) = run(&policy, Method::OPTIONS, &[BAD, ASK, ask]);
        assert_eq!(
            reply.unwrap(),
            [
                "access-control-allow-origin: http://b",
                "access-control-allow-methods: PUT",
                "access-control-allow-headers: x-1,x-2",
            ]
        );
    }

    #[test]
    fn a_preflight_of_another_origin_is_forwarded_or_answered_without_origin() {
        let (reply, response) = run(&policy(), Method::OPTIONS, &[BAD, ASK]);
        assert_eq!((reply, response), (None, vec![]));
        let strict = CorsPolicy {
            forward_not_matching_preflights: Some(false),
            ..policy()
        };
        let (reply, response) = run(&strict, Method::OPTIONS, &[BAD, ASK]);
        assert_eq!(
            reply.unwrap()[..2],
            [
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET,POST",
            ]
        );
        assert!(response.is_empty());
    }

    #[test]
    fn a_fraction_turns_it_off() {
        let fraction = |numerator| CorsPolicy {
            filter_enabled: Some(Fraction {
                numerator,
                denominator: 100,
            }),
            ..policy()
        };
        assert!(run(&fraction(50), Method::GET, &[GOOD]).1.is_empty());
        assert!(!run(&fraction(51), Method::GET, &[GOOD]).1.is_empty());
    }

    #[test]
    fn what_a_route_does_not_say_comes_from_the_virtual_host() {
        let route = Arc::new(CorsPolicy {
            allow_methods: value("DELETE"),
            max_age: value(""),
            allow_credentials: Some(false),
            ..CorsPolicy::default()
        });
        let host = CorsPolicy {
            filter_enabled: Some(Fraction::NEVER),
            ..policy()
        };
        let merged = CorsPolicy::merge(&route, [&host].into_iter());
        let (reply, _) = run(&merged, Method::OPTIONS, &[GOOD, ASK]);
        assert_eq!(
            reply.unwrap(),
            [
                "access-control-allow-origin: http://a",
                "access-control-allow-methods: DELETE",
                "access-control-allow-headers: x-a",
                "access-control-max-age: 60",
            ]
        );
    }
}
