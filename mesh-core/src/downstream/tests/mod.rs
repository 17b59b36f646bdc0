//! Heads as Envoy 1.40 rewrites them (checked against it by hand where a case says what comes out).

mod request;
mod response;

use http::{HeaderMap, HeaderValue, Request};

use super::*;
use crate::{
    Entropy,
    head::ConnectionInfo,
    local_reply::LocalReply,
    model::{ConnectionManagerConfig, RouteSource},
};

struct Zero;

impl Entropy for Zero {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

const NEW_ID: &str = "00000000-0000-4000-8000-000000000000";

type Headers<'a> = &'a [(&'static str, &'static str)];

fn manager() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new("", RouteSource::Rds("".into()))
}

/// A front proxy.
fn edge() -> ConnectionManagerConfig {
    ConnectionManagerConfig {
        use_remote_address: true,
        ..manager()
    }
}

fn from(peer: &str) -> ConnectionInfo {
    ConnectionInfo {
        peer: Some(peer.parse().unwrap()),
        local: Some("127.0.0.1:8080".parse().unwrap()),
        ..ConnectionInfo::default()
    }
}

fn in_process() -> ConnectionInfo {
    ConnectionInfo {
        in_process: true,
        ..ConnectionInfo::default()
    }
}

fn parts(uri: &str, headers: Headers<'_>) -> http::request::Parts {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn accept(
    manager: &ConnectionManagerConfig,
    connection: &ConnectionInfo,
    parts: &mut http::request::Parts,
) -> Result<Accepted, Box<LocalReply>> {
    on_request(manager, parts, connection, &mut Zero)
}

/// The URI and the sorted header lines of an accepted request, `host: a` added.
#[track_caller]
fn accepted(
    manager: &ConnectionManagerConfig,
    connection: &ConnectionInfo,
    headers: Headers<'_>,
) -> (Accepted, Vec<String>) {
    let mut parts = parts("/", headers);
    parts.headers.insert("host", HeaderValue::from_static("a"));
    let accepted = accept(manager, connection, &mut parts).unwrap();
    assert_eq!(parts.uri.authority().unwrap(), "a");
    (accepted, lines(&parts.headers))
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[track_caller]
fn refused(
    manager: &ConnectionManagerConfig,
    connection: &ConnectionInfo,
    uri: &str,
    headers: Headers<'_>,
) -> (u16, String) {
    let reply = accept(manager, connection, &mut parts(uri, headers)).unwrap_err();
    (reply.status.as_u16(), reply.details.into_owned())
}
