//! Headers of which several lines are one, as Envoy's header maps hold them (its inline headers: `http/headers.h`, and
//! those that its extensions register).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, Entry},
};

/// Whose headers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A request's.
    Request,
    /// A response's.
    Response,
}

impl HeadKind {
    fn has_one_line(self, name: &HeaderName) -> bool {
        let list = match self {
            Self::Request => REQUEST,
            Self::Response => RESPONSE,
        };
        list.binary_search(&name.as_str()).is_ok()
    }
}

/// Adds a line, or lengthens the one that there may be only one of by `,` and the value.
pub fn append(kind: HeadKind, headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    match headers.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(value);
        }
        Entry::Occupied(mut line) if kind.has_one_line(name) => {
            let lines = [line.get().as_bytes(), value.as_bytes()];
            if let Some(joined) = joined(lines.into_iter(), b",") {
                line.insert(joined);
            }
        }
        Entry::Occupied(mut lines) => lines.append(value),
    }
}

/// Joins the lines of headers that are one. Costs a comparison where no header is repeated.
pub fn join(kind: HeadKind, headers: &mut HeaderMap) {
    join_repeated(headers, |name| kind.has_one_line(name), b",");
}

/// Joins the lines that HTTP/2 splits a cookie into, to compress them (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    join_repeated(headers, |name| *name == COOKIE, b"; ");
}

fn join_repeated(headers: &mut HeaderMap, wanted: impl Fn(&HeaderName) -> bool, by: &[u8]) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let repeated = headers
        .keys()
        .filter(|name| wanted(name) && headers.get_all(*name).iter().nth(1).is_some());
    let repeated: Vec<HeaderName> = repeated.cloned().collect();
    for name in repeated {
        let lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
        if let Some(joined) = joined(lines, by) {
            headers.insert(name, joined);
        }
    }
}

fn joined<'l>(lines: impl Iterator<Item = &'l [u8]>, by: &[u8]) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    HeaderValue::from_maybe_shared(Bytes::from(lines.join(by))).ok()
}

/// Seen at Envoy 1.40, sorted.
const REQUEST: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "proxy-connection",
    "proxy-status",
    "referer",
    "te",
    "upgrade",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// Seen at Envoy 1.40, sorted.
const RESPONSE: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "location",
    "proxy-status",
    "server",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        headers.iter().map(line).collect()
    }

    fn appended(kind: HeadKind, name: &'static str, values: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static(name);
        for value in values {
            append(kind, &mut headers, &name, HeaderValue::from_static(value));
        }
        lines(&headers)
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(REQUEST.is_sorted() && RESPONSE.is_sorted());
    }

    #[test]
    fn what_there_is_one_line_of_is_lengthened() {
        use HeadKind::{Request, Response};
        for (kind, name, values, want) in [
            (
                Request,
                "user-agent",
                &["a", "b"][..],
                &["user-agent: a,b"][..],
            ),
            (
                Response,
                "user-agent",
                &["a", "b"],
                &["user-agent: a", "user-agent: b"],
            ),
            (
                Response,
                "content-type",
                &["a", "", "b"],
                &["content-type: a,b"],
            ),
            (Request, "via", &["", "b"], &["via: b"]),
            (Request, "x-own", &["a", "b"], &["x-own: a", "x-own: b"]),
        ] {
            assert_eq!(appended(kind, name, values), want);
        }
    }

    #[test]
    fn repeated_lines_are_joined() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("vary", "a"), ("x-own", "1"), ("vary", "b"), ("x-own", "2")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        join(HeadKind::Response, &mut headers);
        assert_eq!(lines(&headers), ["vary: a,b", "x-own: 1", "x-own: 2"]);
    }

    #[test]
    fn a_split_cookie_is_one() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1"));
        headers.append("cookie", HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(lines(&headers), ["cookie: a=1; b=2"]);
    }
}
