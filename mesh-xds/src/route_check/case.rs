//! One case: a request, what becomes of it, and what should.

use std::{cell::RefCell, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request,
};
use mesh_core::{
    head::{ConnectionInfo, RequestHead, StreamView},
    matcher::HeaderMatcher,
    metadata::{DynamicMetadata, MetadataStruct, MetadataValue},
    model::RouteAction,
    regex::Scratch,
    route::{
        ClusterSlots, CompiledRoute, FormatContext, Found, RouteIndex, RouteTable, SelectedCluster,
        https_redirect,
    },
    snapshot::ClusterIndex,
};
use mesh_proto::envoy::config::{core::v3::HeaderValue as Pair, route::v3 as proto};
use prost_types::value::Kind;

use super::{
    compare::Check,
    coverage::Coverage,
    schema::{Metadata, Validation, ValidationAssert, ValidationInput, ValidationItem},
};
use crate::{decode, problems::Problems};

/// Names of clusters by slot.
#[derive(Debug, Default)]
pub(super) struct Clusters(RefCell<Vec<Arc<str>>>);

impl ClusterSlots for Clusters {
    fn slot(&self, name: &Arc<str>) -> ClusterIndex {
        let mut names = self.0.borrow_mut();
        let at = names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(Arc::clone(name));
            names.len() - 1
        });
        ClusterIndex::at(u32::try_from(at).unwrap_or(u32::MAX))
    }
}

impl Clusters {
    fn name(&self, at: ClusterIndex) -> Option<Arc<str>> {
        self.0.borrow().get(at.place() as usize).cloned()
    }
}

/// What a case asserts, its matchers decoded.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) validate: ValidationAssert,
    pub(super) request_matches: Vec<(proto::HeaderMatcher, HeaderMatcher)>,
    pub(super) response_matches: Vec<(proto::HeaderMatcher, HeaderMatcher)>,
}

/// The cases, of which each is complete.
pub(super) fn checked(
    p: &mut Problems,
    validation: Validation,
) -> Vec<(ValidationItem, Expectation)> {
    if validation.tests.is_empty() {
        p.error_at("tests", "must not be empty");
    }
    p.each("tests", &validation.tests, |p, item| {
        p.require_text("test_name", &item.test_name);
        let validate = p.require("validate", item.validate.clone());
        if let Some(input) = p.require("input", item.input.as_ref()) {
            p.field("input", |p| check_input(p, input));
        }
        let validate = validate?;
        let expectation = p.field("validate", |p| Expectation {
            request_matches: matchers(
                p,
                "request_header_matches",
                &validate.request_header_matches,
            ),
            response_matches: matchers(
                p,
                "response_header_matches",
                &validate.response_header_matches,
            ),
            validate,
        });
        Some((item.clone(), expectation))
    })
}

fn check_input(p: &mut Problems, input: &ValidationInput) {
    p.require_text("authority", &input.authority);
    p.require_text("path", &input.path);
    if input.method.len() < 3 {
        p.error_at("method", "must have at least 3 letters");
    }
    let lists = [
        (
            "additional_request_headers",
            &input.additional_request_headers,
        ),
        (
            "additional_response_headers",
            &input.additional_response_headers,
        ),
    ];
    for (name, list) in lists {
        p.each(name, list, |p, pair| {
            if header(pair).is_none() {
                p.error(format!("{:?} is not a header", pair.key));
            }
            None::<()>
        });
    }
    if p.is_ok() && request(input).is_none() {
        p.error("method, authority and path must make a request");
    }
}

fn matchers(
    p: &mut Problems,
    name: &'static str,
    list: &[proto::HeaderMatcher],
) -> Vec<(proto::HeaderMatcher, HeaderMatcher)> {
    p.each(name, list, |p, value| {
        decode::header_matcher(p, value).map(|matcher| (value.clone(), matcher))
    })
}

fn header(pair: &Pair) -> Option<(HeaderName, HeaderValue)> {
    let value = match pair.raw_value.is_empty() {
        true => pair.value.as_bytes(),
        false => &pair.raw_value,
    };
    Some((
        HeaderName::from_bytes(pair.key.as_bytes()).ok()?,
        HeaderValue::from_bytes(value).ok()?,
    ))
}

fn headers(pairs: &[Pair], into: &mut HeaderMap) {
    for (name, value) in pairs.iter().filter_map(header) {
        into.append(name, value);
    }
}

/// The request of a case, in absolute form as on the data path.
fn request(input: &ValidationInput) -> Option<request::Parts> {
    let scheme = if input.ssl { "https" } else { "http" };
    let method = Method::from_bytes(input.method.as_bytes()).ok()?;
    let uri = match method {
        Method::CONNECT => Uri::try_from(&input.authority).ok()?,
        _ => Uri::builder()
            .scheme(scheme)
            .authority(&*input.authority)
            .path_and_query(&*input.path)
            .build()
            .ok()?,
    };
    let request = http::Request::builder().method(method).uri(uri);
    let mut parts = request.body(()).ok()?.into_parts().0;
    let proto = HeaderValue::from_static(scheme);
    parts.headers.insert("x-forwarded-proto", proto);
    if input.internal {
        let yes = HeaderValue::from_static("true");
        parts.headers.insert("x-envoy-internal", yes);
    }
    headers(&input.additional_request_headers, &mut parts.headers);
    Some(parts)
}

/// What became of a request.
pub(super) struct Outcome<'t> {
    /// The route that forwards, and the virtual host's name.
    pub(super) forwarded: Option<(&'t CompiledRoute, &'t str)>,
    pub(super) found: Option<(RouteIndex, Option<SelectedCluster>)>,
    pub(super) cluster: Arc<str>,
    pub(super) virtual_cluster: String,
    /// Of a route that answers: where it leads to, and its status.
    pub(super) answer: Option<(String, StatusCode)>,
    /// The request after header operations and rewrites.
    pub(super) request: request::Parts,
    pub(super) response: HeaderMap,
}

/// Runs a case; returns what differs.
pub(super) fn run(
    table: &RouteTable,
    clusters: &Clusters,
    input: &ValidationInput,
    expected: &Expectation,
    coverage: &mut Coverage,
) -> Vec<String> {
    let Some(outcome) = outcome(table, clusters, input) else {
        return vec!["the request could not be made".to_owned()];
    };
    let mut check = Check {
        found: outcome.found,
        coverage,
        failures: Vec::new(),
    };
    check.outcome(&outcome, &expected.validate);
    check.headers(&outcome, expected);
    check.failures
}

fn outcome<'t>(
    table: &'t RouteTable,
    clusters: &Clusters,
    input: &ValidationInput,
) -> Option<Outcome<'t>> {
    let mut scratch = Scratch::default();
    let mut connection = ConnectionInfo::default();
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    (connection.peer, connection.local) = (Some(loopback), Some(loopback));
    let mut parts = request(input)?;
    let metadata = metadata(&input.dynamic_metadata);
    // Envoy's tool keeps the random number in a signed 32-bit integer.
    let random = i64::from(input.random_value as i32) as u64;
    let view = StreamView {
        head: RequestHead::of(&parts),
        random,
        connection: &connection,
        metadata: Some(&metadata),
    };
    let mut outcome = Outcome {
        forwarded: None,
        found: None,
        cluster: Arc::from(""),
        virtual_cluster: String::new(),
        answer: None,
        request: parts.clone(),
        response: HeaderMap::new(),
    };
    headers(&input.additional_response_headers, &mut outcome.response);
    match table.find(&view, &mut scratch) {
        Found::Route(at) => {
            let route = table.route(at)?;
            let by_name = |name: &str| Some(clusters.slot(&Arc::from(name)));
            let selected = route.select_cluster(&view, &by_name);
            outcome.found = Some((at, selected));
            match &route.config().action {
                RouteAction::Forward(_) => {
                    let host = table.virtual_host(at)?;
                    outcome.cluster = selected
                        .and_then(|selected| clusters.name(selected.cluster))
                        .unwrap_or_default();
                    let cx = context(&connection, route, &outcome.cluster);
                    // What cannot be rewritten is as it came.
                    let _ = table.finalize_request(at, selected.as_ref(), &mut parts, &cx, false);
                    outcome.forwarded = Some((route, &host.name));
                    outcome.virtual_cluster = host
                        .virtual_cluster(&RequestHead::of(&parts), &mut scratch)
                        .unwrap_or_default()
                        .to_owned();
                }
                _ => {
                    let cx = FormatContext::new(view.head, &connection);
                    let reply = route.reply(&view, &cx);
                    outcome.answer = reply.map(|reply| {
                        let to = route.location(&cx).unwrap_or_default();
                        if !reply.body.is_empty() {
                            let length = HeaderValue::from(reply.body.len());
                            outcome.response.append(CONTENT_LENGTH, length);
                            let text = HeaderValue::from_static("text/plain");
                            outcome.response.append(CONTENT_TYPE, text);
                        }
                        (to, reply.status)
                    });
                    let _ = route.rewrite_redirected(&mut parts, false);
                }
            }
            let mut cx = context(&connection, route, &outcome.cluster);
            cx.head = RequestHead::of(&parts);
            table.finalize_response(at, selected.as_ref(), &mut outcome.response, &cx);
        }
        Found::RedirectToHttps => {
            let reply = https_redirect(&view);
            let to = reply.headers.first().and_then(|(_, to)| to.to_str().ok());
            outcome.answer = Some((to.unwrap_or_default().to_owned(), reply.status));
        }
        _ => {}
    }
    outcome.request = parts;
    Some(outcome)
}

fn context<'a>(
    connection: &'a ConnectionInfo,
    route: &'a CompiledRoute,
    cluster: &'a str,
) -> FormatContext<'a> {
    let mut cx = FormatContext::without_request(connection);
    cx.protocol = Some(http::Version::HTTP_11);
    cx.route_name = &route.config().name;
    cx.upstream_cluster = (!cluster.is_empty()).then_some(cluster);
    cx
}

/// As the filter `set_metadata` writes them: what is there stays, unless the entry may overwrite it.
fn metadata(entries: &[Metadata]) -> DynamicMetadata {
    let mut metadata = DynamicMetadata::default();
    for entry in entries {
        if entry.allow_overwrite || !metadata.contains(&entry.metadata_namespace) {
            let fields = entry.value.as_ref().map(fields).unwrap_or_default();
            metadata.merge(&entry.metadata_namespace, fields);
        }
    }
    metadata
}

fn fields(of: &prost_types::Struct) -> MetadataStruct {
    let field = |(key, field): (&String, &prost_types::Value)| (key.as_str().into(), value(field));
    of.fields.iter().map(field).collect()
}

fn value(of: &prost_types::Value) -> MetadataValue {
    match &of.kind {
        None | Some(Kind::NullValue(_)) => MetadataValue::Null,
        Some(Kind::BoolValue(b)) => MetadataValue::Bool(*b),
        Some(Kind::NumberValue(n)) => MetadataValue::Number(*n),
        Some(Kind::StringValue(text)) => MetadataValue::String(text.as_str().into()),
        Some(Kind::ListValue(list)) => MetadataValue::List(list.values.iter().map(value).collect()),
        Some(Kind::StructValue(of)) => MetadataValue::Struct(fields(of)),
    }
}
