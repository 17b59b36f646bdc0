//! Redirects of the upstream that are followed here (Envoy `Filter::convertRequestHeadersForInternalRedirect`).

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{CONTENT_LENGTH, HOST, LOCATION},
    request,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{
    head::ConnectionInfo,
    model::{InternalRedirectPolicy, RedirectPredicate},
};

const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-envoy-original-url");

/// What a request has followed so far.
#[derive(Clone, Debug, Default)]
pub struct FollowedRedirects {
    count: u32,
    /// From the name of a route to the names of those that it redirected to.
    previous: Vec<(Arc<str>, Arc<str>)>,
}

/// Why a redirect goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotFollowed {
    /// No `location`, or none that is an absolute URL.
    BadLocation,
    /// The scheme would change.
    UnsafeScheme,
    /// The request has followed enough.
    TooMany,
    /// No route for it.
    NoRoute,
    /// A predicate said so.
    Predicate,
}

/// A redirect that may be followed if a route is there for it.
#[derive(Debug)]
pub struct NextRequest {
    /// The head of the next request.
    pub parts: request::Parts,
    /// The body is not sent again (303 to a request that was neither GET nor HEAD).
    pub drops_body: bool,
    from_http: bool,
    to_http: bool,
}

impl InternalRedirectPolicy {
    /// Whether a response of this status is a redirect that may be followed.
    pub fn is_redirect(&self, status: StatusCode) -> bool {
        self.redirect_response_codes.contains(&status)
    }

    /// The next request, as far as the redirect itself decides. `sent`: the head as it went upstream.
    ///
    /// # Errors
    /// The redirect goes to the client.
    pub fn next_request(
        &self,
        sent: request::Parts,
        status: StatusCode,
        response: &HeaderMap,
        connection: &ConnectionInfo,
        followed: &FollowedRedirects,
    ) -> Result<NextRequest, NotFollowed> {
        let mut parts = sent;
        let url = response.get(LOCATION).map(HeaderValue::as_bytes);
        let url = url.and_then(parse).ok_or(NotFollowed::BadLocation)?;
        let from_http = parts.uri.scheme() != Some(&Scheme::HTTPS) || connection.tls.is_none();
        let to_http = url.scheme == Scheme::HTTP;
        if !self.allow_cross_scheme_redirect && from_http != to_http {
            return Err(NotFollowed::UnsafeScheme);
        }
        if followed.count >= self.max_internal_redirects {
            return Err(NotFollowed::TooMany);
        }
        let scheme = if from_http { "http" } else { "https" };
        let host = match parts.headers.get(HOST) {
            Some(host) => host.to_str().unwrap_or_default(),
            None => parts.uri.authority().map_or("", Authority::as_str),
        };
        let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let original = HeaderValue::try_from(format!("{scheme}://{host}{path}"));
        for name in &self.response_headers_to_copy {
            parts.headers.remove(name);
            for value in response.get_all(name) {
                parts.headers.append(name, value.clone());
            }
        }
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(url.scheme);
        uri.authority = Some(url.authority);
        uri.path_and_query = Some(url.path);
        parts.uri = Uri::from_parts(uri).map_err(|_| NotFollowed::BadLocation)?;
        parts.headers.remove(HOST);
        let drops_body = status == StatusCode::SEE_OTHER
            && parts.method != Method::GET
            && parts.method != Method::HEAD;
        if drops_body {
            parts.method = Method::GET;
            parts.headers.remove(CONTENT_LENGTH);
        }
        if let Ok(original) = original {
            parts.headers.insert(ORIGINAL_URL, original);
        }
        Ok(NextRequest {
            parts,
            drops_body,
            from_http,
            to_http,
        })
    }

    /// Whether the redirect is followed to the route that was found for it; then it counts. `from`, `to`: names of routes.
    ///
    /// # Errors
    /// The redirect goes to the client.
    pub fn accepts(
        &self,
        next: &NextRequest,
        from: &Arc<str>,
        to: &Arc<str>,
        followed: &mut FollowedRedirects,
    ) -> Result<(), NotFollowed> {
        for predicate in &self.predicates {
            let accepts = match predicate {
                RedirectPredicate::PreviousRoutes => {
                    let step = (Arc::clone(from), Arc::clone(to));
                    let is_new = !followed.previous.contains(&step);
                    followed.previous.push(step);
                    is_new
                }
                RedirectPredicate::AllowListedRoutes(names) => names.iter().any(|n| **n == **to),
                RedirectPredicate::SafeCrossScheme => !next.from_http || next.to_http,
            };
            if !accepts {
                return Err(NotFollowed::Predicate);
            }
        }
        followed.count += 1;
        Ok(())
    }
}

struct Url {
    scheme: Scheme,
    authority: Authority,
    path: PathAndQuery,
}

/// An absolute URL, as strict as Envoy's parser; the user and the fragment are left out.
fn parse(text: &[u8]) -> Option<Url> {
    let text = std::str::from_utf8(text).ok()?;
    let (scheme, rest) = text.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (address, port) = inside.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (
                address,
                port.strip_prefix(':').or(port.is_empty().then_some("0"))?,
            )
        }
        None => authority.split_once(':').unwrap_or((authority, "0")),
    };
    let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_host) || port.parse::<u16>().is_err() {
        return None;
    }
    let path = path.split('#').next().unwrap_or_default();
    let path = match path.as_bytes() {
        [] => "/".to_owned(),
        // The next request is refused for it, as in Envoy.
        _ => path.to_owned(),
    };
    Some(Url {
        scheme: Scheme::try_from(scheme).ok()?,
        authority: Authority::try_from(authority).ok()?,
        path: PathAndQuery::try_from(path).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_urls_are_followed() {
        for (location, expected) in [
            ("http://a.test/b?c#d", Some("http://a.test/b?c")),
            ("http://user@a.test:81", Some("http://a.test:81/")),
            ("https://[::1]:443/", Some("https://[::1]:443/")),
            ("/relative", None),
            ("//a.test/b", None),
            ("a.test/b", None),
            ("http:///b", None),
            ("http://a.test:x/", None),
            ("http://a.test:70000/", None),
            ("http://a b/", None),
            ("", None),
        ] {
            let url = parse(location.as_bytes());
            let url = url.map(|url| format!("{}://{}{}", url.scheme, url.authority, url.path));
            assert_eq!(url.as_deref(), expected, "{location}");
        }
    }
}
