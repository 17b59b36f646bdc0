//! `HealthCheck` of a cluster.

use std::{ops::Range, sync::Arc, time::Duration};

use http::Method;
use mesh_core::model::{
    GrpcHealthCheck, HeaderMutations, HealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use mesh_proto::envoy::{
    config::core::v3::{
        self as proto, HeaderValueOption, RequestMethod,
        health_check::{self, Payload, payload},
    },
    r#type::v3::{CodecClientType, Int64Range},
};

use super::{
    header_operations::request_mutations,
    matcher,
    scalar::{duration_or, enumeration, positive_duration},
};
use crate::problems::Problems;

/// `health_checks`: Envoy takes one.
pub(super) fn health_checks(
    p: &mut Problems,
    list: &[proto::HealthCheck],
    is_http2: bool,
) -> Option<Arc<HealthCheck>> {
    if list.len() > 1 {
        p.error_at("health_checks", "more than one is not supported yet");
        return None;
    }
    let mut decoded = p.each("health_checks", list, |p, value| {
        health_check(p, value, is_http2)
    });
    decoded.pop().map(Arc::new)
}

fn health_check(
    p: &mut Problems,
    value: &proto::HealthCheck,
    is_http2: bool,
) -> Option<HealthCheck> {
    let mut required = |name: &'static str, value: Option<&prost_types::Duration>| {
        if value.is_none() {
            p.error_at(name, "must be set");
        }
        positive_duration(p, name, value)
    };
    let timeout = required("timeout", value.timeout.as_ref());
    let interval = required("interval", value.interval.as_ref());
    let thresholds = [
        ("unhealthy_threshold", value.unhealthy_threshold),
        ("healthy_threshold", value.healthy_threshold),
    ];
    for (name, threshold) in thresholds {
        if threshold.is_none() {
            p.error_at(name, "must be set");
        }
    }
    let checker = checker(p, value, is_http2)?;
    let mut check = HealthCheck::new(timeout?, interval?, checker);
    check.unhealthy_threshold = value.unhealthy_threshold?;
    check.healthy_threshold = value.healthy_threshold?;
    let none = Duration::ZERO;
    check.initial_jitter = duration_or(p, "initial_jitter", value.initial_jitter.as_ref(), none);
    check.interval_jitter = duration_or(p, "interval_jitter", value.interval_jitter.as_ref(), none);
    check.interval_jitter_percent = value.interval_jitter_percent;
    check.reuse_connection = value.reuse_connection.unwrap_or(true);
    let mut or = |name, value: Option<&prost_types::Duration>, default| {
        positive_duration(p, name, value).unwrap_or(default)
    };
    check.no_traffic_interval = or(
        "no_traffic_interval",
        value.no_traffic_interval.as_ref(),
        check.no_traffic_interval,
    );
    check.no_traffic_healthy_interval = or(
        "no_traffic_healthy_interval",
        value.no_traffic_healthy_interval.as_ref(),
        check.no_traffic_interval,
    );
    check.unhealthy_interval = or(
        "unhealthy_interval",
        value.unhealthy_interval.as_ref(),
        check.interval,
    );
    check.unhealthy_edge_interval = or(
        "unhealthy_edge_interval",
        value.unhealthy_edge_interval.as_ref(),
        check.unhealthy_interval,
    );
    check.healthy_edge_interval = or(
        "healthy_edge_interval",
        value.healthy_edge_interval.as_ref(),
        check.interval,
    );
    Some(check)
}

fn checker(p: &mut Problems, value: &proto::HealthCheck, is_http2: bool) -> Option<HealthChecker> {
    use health_check::HealthChecker as Proto;
    match &value.health_checker {
        Some(Proto::HttpHealthCheck(value)) => p
            .field("http_health_check", |p| http(p, value))
            .map(HealthChecker::Http),
        Some(Proto::TcpHealthCheck(value)) => p
            .field("tcp_health_check", |p| tcp(p, value))
            .map(HealthChecker::Tcp),
        Some(Proto::GrpcHealthCheck(value)) => {
            if !is_http2 {
                p.error_at(
                    "grpc_health_check",
                    "cluster must support HTTP/2 for gRPC healthchecking",
                );
            }
            p.field("grpc_health_check", |p| {
                let mut grpc = GrpcHealthCheck::default();
                grpc.service_name = value.service_name.as_str().into();
                grpc.authority = value.authority.as_str().into();
                grpc.headers = headers(p, "initial_metadata", &value.initial_metadata, &[]);
                Some(HealthChecker::Grpc(grpc))
            })
        }
        Some(Proto::CustomHealthCheck(custom)) => {
            let name = &custom.name;
            p.error_at(
                "custom_health_check",
                format!("{name} is not supported yet; use http_health_check, grpc_health_check or tcp_health_check"),
            );
            None
        }
        None => {
            p.error("must hold http_health_check, grpc_health_check or tcp_health_check");
            None
        }
    }
}

fn http(p: &mut Problems, value: &health_check::HttpHealthCheck) -> Option<HttpHealthCheck> {
    let path = p.require_text("path", &value.path)?;
    let mut check = HttpHealthCheck::new(path);
    if http::Uri::try_from(path).is_err() || !path.starts_with('/') {
        p.error_at("path", format!("{path:?} is not a path"));
    }
    check.host = value.host.as_str().into();
    let method = enumeration(p, "method", value.method)?;
    check.method = match method {
        RequestMethod::MethodUnspecified | RequestMethod::Get => Method::GET,
        RequestMethod::Head => Method::HEAD,
        RequestMethod::Post => Method::POST,
        RequestMethod::Put => Method::PUT,
        RequestMethod::Delete => Method::DELETE,
        RequestMethod::Options => Method::OPTIONS,
        RequestMethod::Trace => Method::TRACE,
        RequestMethod::Patch => Method::PATCH,
        RequestMethod::Connect => {
            p.error_at("method", "must not be CONNECT");
            Method::GET
        }
    };
    if let Some(send) = &value.send {
        check.send = p.field("send", |p| payload(p, send)).unwrap_or_default();
        let bodiless = [Method::GET, Method::HEAD, Method::DELETE, Method::TRACE];
        if bodiless.contains(&check.method) {
            let method = &check.method;
            p.error_at(
                "send",
                format!(
                    "HTTP health check cannot specify a request payload with method '{method}'"
                ),
            );
        }
    }
    check.receive = p.each("receive", &value.receive, payload);
    if let Some(size) = value.response_buffer_size {
        check.response_buffer_size = usize::try_from(size).unwrap_or(usize::MAX);
    }
    let expected: usize = check.receive.iter().map(Vec::len).sum();
    if check.response_buffer_size != 0 && expected > check.response_buffer_size {
        let size = check.response_buffer_size;
        p.error_at(
            "receive",
            format!(
                "The expected response length '{expected}' is over than http health response buffer size '{size}'"
            ),
        );
    }
    check.headers = headers(
        p,
        "request_headers_to_add",
        &value.request_headers_to_add,
        &value.request_headers_to_remove,
    );
    let ranges = statuses(p, "expected_statuses", "expected", &value.expected_statuses);
    if !ranges.is_empty() {
        check.expected_statuses = ranges;
    }
    check.retriable_statuses = statuses(
        p,
        "retriable_statuses",
        "retriable",
        &value.retriable_statuses,
    );
    match enumeration(p, "codec_client_type", value.codec_client_type)? {
        CodecClientType::Http1 => {}
        CodecClientType::Http2 => check.http2 = true,
        CodecClientType::Http3 => p.error_at("codec_client_type", "HTTP3 is not supported yet"),
    }
    check.service_name = value
        .service_name_matcher
        .as_ref()
        .and_then(|value| p.field("service_name_matcher", |p| matcher::string(p, value)));
    Some(check)
}

fn tcp(p: &mut Problems, value: &health_check::TcpHealthCheck) -> Option<TcpHealthCheck> {
    let mut check = TcpHealthCheck::default();
    // Envoy sends only what is written as text.
    if let Some(send) = &value.send
        && matches!(send.payload, Some(payload::Payload::Text(_)))
    {
        check.send = p.field("send", |p| payload(p, send)).unwrap_or_default();
    }
    check.receive = p.each("receive", &value.receive, payload);
    Some(check)
}

/// Hexadecimal text, or bytes.
fn payload(p: &mut Problems, value: &Payload) -> Option<Vec<u8>> {
    match &value.payload {
        Some(payload::Payload::Text(text)) => {
            let bytes = hexadecimal(text);
            if bytes.is_none() {
                p.error_at("text", format!("invalid hex string '{text}'"));
            }
            bytes
        }
        Some(payload::Payload::Binary(bytes)) => Some(bytes.clone()),
        None => {
            p.error("must hold text or binary");
            None
        }
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    let bytes = digits.chunks_exact(2);
    Some(bytes.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

fn headers(
    p: &mut Problems,
    name: &'static str,
    add: &[HeaderValueOption],
    remove: &[String],
) -> HeaderMutations {
    if add.len() > 1000 {
        p.error_at(name, "must not have more than 1000 items");
    }
    request_mutations(p, (name, "request_headers_to_remove"), (add, remove))
}

fn statuses(
    p: &mut Problems,
    name: &'static str,
    kind: &str,
    list: &[Int64Range],
) -> Vec<Range<u16>> {
    p.each(name, list, |p, range| {
        let (start, end) = (range.start, range.end);
        let wrong = match (start, end) {
            _ if start >= end => {
                format!("expecting start < end, but found start={start} and end={end}")
            }
            _ if start < 100 => format!("expecting start >= 100, but found start={start}"),
            _ if end > 600 => format!("expecting end <= 600, but found end={end}"),
            _ => return Some(start as u16..end as u16),
        };
        p.error(format!("Invalid http {kind} status range: {wrong}"));
        None
    })
}
