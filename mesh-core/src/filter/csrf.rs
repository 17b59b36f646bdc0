//! Cross-site request forgery (Envoy `source/extensions/filters/http/csrf/csrf_filter.cc`).

use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{ORIGIN, REFERER},
};

use super::{FilterContext, FilterVerdict, holds};
use crate::{
    head::RequestHead, local_reply::LocalReply, matcher::StringMatcher, model::Fraction,
    stats::CsrfStats,
};

/// `envoy.extensions.filters.http.csrf.v3.CsrfPolicy`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CsrfPolicy {
    /// `filter_enabled`.
    pub filter_enabled: Option<Fraction>,
    /// `shadow_enabled`: count, but let pass; only where the filter is not enabled.
    pub shadow_enabled: Option<Fraction>,
    /// `additional_origins`: besides the target's own.
    pub additional_origins: Vec<StringMatcher>,
}

pub(super) fn on_request_head(
    policy: &CsrfPolicy,
    stats: &CsrfStats,
    cx: &mut FilterContext<'_>,
) -> FilterVerdict {
    let enabled = holds(policy.filter_enabled, cx.entropy);
    if !enabled && !holds(policy.shadow_enabled, cx.entropy) {
        return FilterVerdict::Continue;
    }
    if ![Method::POST, Method::PUT, Method::DELETE, Method::PATCH].contains(&cx.parts.method) {
        return FilterVerdict::Continue;
    }
    let head = RequestHead::of(cx.parts);
    match source_origin(head.headers) {
        None => stats.missing_source_origin.inc(),
        Some(source) => {
            let valid = source == head.authority.as_bytes()
                || policy
                    .additional_origins
                    .iter()
                    .any(|matcher| matcher.matches(source, cx.scratch));
            if valid {
                stats.request_valid.inc();
                return FilterVerdict::Continue;
            }
            stats.request_invalid.inc();
        }
    }
    if !enabled {
        return FilterVerdict::Continue;
    }
    FilterVerdict::Reply(Box::new(LocalReply::answer(
        StatusCode::FORBIDDEN,
        "Invalid origin",
        "csrf_origin_mismatch",
    )))
}

/// Host and port of `origin`, else of `referer`.
fn source_origin(headers: &HeaderMap) -> Option<&[u8]> {
    let of = |name: HeaderName| {
        let value = headers.get(name)?.as_bytes();
        Some(host_and_port(value)).filter(|host| !host.is_empty())
    };
    if headers.get(ORIGIN).is_some_and(|origin| origin == "null") {
        return None;
    }
    of(ORIGIN).or_else(|| of(REFERER))
}

/// Host and port of an absolute URL; what is none is taken as it is (Envoy `Http::Utility::Url`).
fn host_and_port(url: &[u8]) -> &[u8] {
    let parsed = std::str::from_utf8(url)
        .ok()
        .and_then(|text| text.parse::<http::Uri>().ok())
        .filter(|uri| uri.scheme().is_some() && uri.authority().is_some());
    if parsed.is_none() {
        return url;
    }
    let Some(start) = url.windows(3).position(|w| w == b"://") else {
        return url;
    };
    let rest = &url[start + 3..];
    let end = rest
        .iter()
        .position(|byte| b"/?#".contains(byte))
        .unwrap_or(rest.len());
    let authority = &rest[..end];
    match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => &authority[at + 1..],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_host_and_port() {
        for (url, expected) in [
            ("http://a.test", "a.test"),
            ("https://a.test:8443/x?y", "a.test:8443"),
            ("a.test", "a.test"),
            ("http://user@a.test/", "a.test"),
        ] {
            assert_eq!(host_and_port(url.as_bytes()), expected.as_bytes(), "{url}");
        }
    }
}
