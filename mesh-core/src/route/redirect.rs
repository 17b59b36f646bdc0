//! Redirects and direct responses (Envoy `Utility::newUri`, `DirectResponseEntry`).

use http::{HeaderValue, StatusCode, header::LOCATION};

use super::{FormatContext, rewrite::rewritten_path};
use crate::{
    head::{RequestHead, StreamView},
    local_reply::LocalReply,
    model::{PathMatcher, PathRewrite, Redirect, RequireTls, Route, RouteAction},
};

/// The reply of a route that answers by itself.
pub(super) fn reply(
    route: &Route,
    view: &StreamView<'_>,
    cx: &FormatContext<'_>,
) -> Option<LocalReply> {
    let cx = FormatContext {
        head: view.head,
        ..*cx
    };
    match &route.action {
        RouteAction::Redirect(redirect) => Some(with_location(
            redirect.response_code,
            bytes::Bytes::new(),
            || location(redirect, &route.matcher.path, &cx),
        )),
        RouteAction::DirectResponse(direct) => {
            let mut reply = with_location(direct.status, direct.body.clone(), || {
                location(&Redirect::default(), &route.matcher.path, &cx)
            });
            if let Some(format) = &direct.body_format {
                let mut body = Vec::new();
                let cx = FormatContext {
                    local_reply_body: &direct.body,
                    ..cx
                };
                format.write(&cx, &mut body);
                reply.body = body.into();
                // What is text is said to be so only at the end, if nobody says otherwise.
                let content_type = format.content_type();
                reply.content_type = (content_type != "text/plain").then(|| content_type.clone());
            }
            Some(reply)
        }
        RouteAction::Forward(_) | RouteAction::NonForwarding => None,
    }
}

/// Where the route's own answer leads to; None: it has none.
pub(super) fn location_of(route: &Route, cx: &FormatContext<'_>) -> Option<String> {
    match &route.action {
        RouteAction::Redirect(redirect) => Some(location(redirect, &route.matcher.path, cx)),
        RouteAction::DirectResponse(_) => {
            Some(location(&Redirect::default(), &route.matcher.path, cx))
        }
        RouteAction::Forward(_) | RouteAction::NonForwarding => None,
    }
}

/// The redirect that [`super::Found::RedirectToHttps`] asks for: 301 to the same host and path.
pub fn https_redirect(view: &StreamView<'_>) -> LocalReply {
    with_location(StatusCode::MOVED_PERMANENTLY, bytes::Bytes::new(), || {
        format!("https://{}{}", view.head.authority, view.head.path)
    })
}

/// The `:path` that a redirect leaves behind for response header operations: Envoy rewrites the request itself by
/// `prefix_rewrite` and `regex_rewrite`. None: it is as it came.
pub(super) fn path_after(route: &Route, path: &str) -> Option<String> {
    let RouteAction::Redirect(redirect) = &route.action else {
        return None;
    };
    match redirect.path.as_ref()? {
        PathRewrite::Full(_) | PathRewrite::Format(_) => None,
        rewrite => rewritten_path(rewrite, &route.matcher.path, path, None),
    }
}

/// Whether `require_tls` asks for a redirect. What counts is `x-forwarded-proto`, not the URI's scheme.
pub(super) fn requires_redirect(requirement: RequireTls, view: &StreamView<'_>) -> bool {
    match requirement {
        RequireTls::None => false,
        RequireTls::ExternalOnly => forwarded_proto(&view.head) != "https" && !is_internal(view),
        RequireTls::All => forwarded_proto(&view.head) != "https",
    }
}

fn is_internal(view: &StreamView<'_>) -> bool {
    view.connection.in_process
        || view
            .head
            .headers
            .get("x-envoy-internal")
            .is_some_and(|v| v == "true")
}

fn forwarded_proto<'a>(head: &RequestHead<'a>) -> &'a str {
    head.headers
        .get("x-forwarded-proto")
        .and_then(|v| v.to_str().ok())
        .unwrap_or(head.scheme)
}

/// A reply of the configuration; `location` is set for 201 and 3xx only.
fn with_location(
    status: StatusCode,
    body: bytes::Bytes,
    location: impl FnOnce() -> String,
) -> LocalReply {
    let mut reply = LocalReply::answer(status, body, "direct_response");
    if (status == StatusCode::CREATED || status.is_redirection())
        && let Ok(location) = HeaderValue::try_from(location())
    {
        reply.headers.push((LOCATION, location));
    }
    reply
}

/// `{scheme}://{host}{:port}{path}`.
fn location(redirect: &Redirect, matcher: &PathMatcher, cx: &FormatContext<'_>) -> String {
    let head = &cx.head;
    let scheme = redirect.scheme.as_deref().unwrap_or(head.scheme);
    let host = match &redirect.host {
        Some(host) => host,
        None => request_host(head, scheme, redirect.port.is_some()),
    };
    let port = redirect.port.map(|p| format!(":{p}")).unwrap_or_default();
    let (path, own_query) = redirect_path(redirect, matcher, cx);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = match path.split_once('?') {
        Some((path_only, _)) if redirect.strip_query && !own_query => path_only,
        _ => &path,
    };
    format!("{scheme}://{host}{port}{slash}{path}")
}

/// The path with query, and whether the query is the configuration's own.
fn redirect_path(
    redirect: &Redirect,
    matcher: &PathMatcher,
    cx: &FormatContext<'_>,
) -> (String, bool) {
    let path = cx.head.path;
    let whole = |full: &str| match full.contains('?') {
        true => (full.to_owned(), true),
        false => {
            let query = path.find('?').map_or("", |at| &path[at..]);
            ([full, query].concat(), false)
        }
    };
    match &redirect.path {
        Some(PathRewrite::Full(full)) => whole(full),
        Some(PathRewrite::Format(format)) => match format.evaluate(cx) {
            Some(value) => whole(value.to_str().unwrap_or_default()),
            None => (path.to_owned(), false),
        },
        Some(rewrite) => (
            rewritten_path(rewrite, matcher, path, None).unwrap_or_else(|| path.to_owned()),
            false,
        ),
        None => (path.to_owned(), false),
    }
}

/// The request's host; without its port if the redirect has its own, or if the scheme changes and the port was the
/// old scheme's default.
fn request_host<'a>(head: &RequestHead<'a>, scheme: &str, own_port: bool) -> &'a str {
    let host = head.authority;
    let colon = if host.starts_with('[') {
        host.rfind("]:").map(|at| at + 1)
    } else {
        host.rfind(':')
    };
    let Some((host_only, port)) = colon.map(|at| host.split_at(at)) else {
        return host;
    };
    let proto = forwarded_proto(head);
    let default_port = match proto {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    if own_port || (scheme != proto && port == default_port) {
        host_only
    } else {
        host
    }
}
