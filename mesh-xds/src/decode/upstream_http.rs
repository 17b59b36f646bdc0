//! HTTP towards the upstream: `HttpProtocolOptions`, and the cluster's deprecated fields of the same meaning.

use mesh_core::model::{UpstreamHttpOptions, UpstreamProtocol};
use mesh_proto::envoy::{
    config::{
        cluster::v3::Cluster,
        common::matcher::v3::{MatchPredicate, match_predicate::Rule},
        core::v3::{
            Http2ProtocolOptions, HttpProtocolOptions as CommonOptions, UpstreamHttpProtocolOptions,
        },
        route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    },
    extensions::upstreams::http::v3::{
        HttpProtocolOptions,
        http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
    },
    r#type::matcher::v3::string_matcher::MatchPattern,
};

use super::{
    any::unpack_checked,
    http_connection_manager::must_allow_underscores,
    mirror::mirror_policies,
    scalar::{duration, duration_or},
};
use crate::problems::Problems;

const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The options of a cluster: the typed ones alone where there are any, else the older fields (Envoy
/// `upstream_impl.cc`, `createOptions`).
pub(super) fn upstream_http(p: &mut Problems, cluster: &Cluster) -> UpstreamHttpOptions {
    let mut options = UpstreamHttpOptions::default();
    options.max_requests_per_connection = cluster.max_requests_per_connection.unwrap_or(0);
    if !cluster
        .typed_extension_protocol_options
        .contains_key(HTTP_PROTOCOL_OPTIONS)
    {
        older_options(p, cluster, &mut options);
    }

    let mut extensions: Vec<_> = cluster.typed_extension_protocol_options.iter().collect();
    extensions.sort_by_key(|(name, _)| name.as_str());
    p.field("typed_extension_protocol_options", |p| {
        for (name, config) in extensions {
            p.key(name, |p| {
                if name != HTTP_PROTOCOL_OPTIONS {
                    p.error(format!("only {HTTP_PROTOCOL_OPTIONS} is supported"));
                } else if let Some(config) = unpack_checked::<HttpProtocolOptions>(p, config) {
                    explicit_options(p, &config, &mut options);
                }
            });
        }
    });
    options
}

fn older_options(p: &mut Problems, cluster: &Cluster, options: &mut UpstreamHttpOptions) {
    if let Some(http2) = &cluster.http2_protocol_options {
        options.protocol = UpstreamProtocol::Http2;
        options.max_concurrent_streams = http2.max_concurrent_streams;
    }
    if let Some(http1) = &cluster.http_protocol_options {
        options.http1_trailers = http1.enable_trailers;
        if cluster.http2_protocol_options.is_some() {
            p.error_at(
                "http_protocol_options",
                "cannot be combined with http2_protocol_options",
            );
        }
    }
    common_options(p, cluster.common_http_protocol_options.as_ref(), options);
    upstream_names(p, cluster.upstream_http_protocol_options.as_ref(), options);
}

fn explicit_options(
    p: &mut Problems,
    value: &HttpProtocolOptions,
    options: &mut UpstreamHttpOptions,
) {
    common_options(p, value.common_http_protocol_options.as_ref(), options);
    let streams =
        |http2: Option<&Http2ProtocolOptions>| http2.and_then(|http2| http2.max_concurrent_streams);
    match &value.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match &explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(http1)) => {
                    options.protocol = UpstreamProtocol::Http1;
                    options.http1_trailers = http1.enable_trailers;
                }
                Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                    options.protocol = UpstreamProtocol::Http2;
                    options.max_concurrent_streams = streams(Some(http2));
                }
                // found by the field table
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {}
                None => p.error_at(
                    "explicit_http_config",
                    "must hold http_protocol_options or http2_protocol_options",
                ),
            }
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(both)) => {
            options.protocol = UpstreamProtocol::Downstream;
            options.max_concurrent_streams = streams(both.http2_protocol_options.as_ref());
            let http1 = both.http_protocol_options.as_ref();
            options.http1_trailers = http1.is_some_and(|http1| http1.enable_trailers);
        }
        // found by the field table
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {}
        None => p.error("must hold explicit_http_config or use_downstream_protocol_config"),
    }
    upstream_names(p, value.upstream_http_protocol_options.as_ref(), options);
    options.mirrors = mirror_policies(p, &value.request_mirror_policies);
    let matcher = value
        .outlier_detection
        .as_ref()
        .and_then(|detection| detection.error_matcher.as_ref());
    if let Some(matcher) = matcher {
        let statuses = p.field("outlier_detection", |p| {
            p.field("error_matcher", |p| error_statuses(p, matcher))
        });
        options.outlier_error_statuses = Some(statuses);
    }
}

/// `UpstreamHttpProtocolOptions`, of either kind.
fn upstream_names(
    p: &mut Problems,
    value: Option<&UpstreamHttpProtocolOptions>,
    options: &mut UpstreamHttpOptions,
) {
    let Some(names) = value else { return };
    p.field("upstream_http_protocol_options", |p| {
        options.auto_sni = names.auto_sni;
        options.auto_san_validation = names.auto_san_validation;
        if names.auto_san_validation && !names.auto_sni {
            p.error_at("auto_san_validation", "not supported yet without auto_sni");
        }
        if !matches!(names.override_auto_sni_header.as_str(), "" | ":authority") {
            p.error_at(
                "override_auto_sni_header",
                "only :authority is supported yet",
            );
        }
    });
}

fn common_options(
    p: &mut Problems,
    value: Option<&CommonOptions>,
    options: &mut UpstreamHttpOptions,
) {
    let Some(common) = value else { return };
    p.field("common_http_protocol_options", |p| {
        must_allow_underscores(p, common);
        if common.max_headers_count.is_some() {
            p.field("max_headers_count", |p| {
                p.warn("not supported yet for clusters; ignored")
            });
        }
        options.idle_timeout = duration_or(
            p,
            "idle_timeout",
            common.idle_timeout.as_ref(),
            options.idle_timeout,
        );
        if let Some(limit) = common.max_requests_per_connection {
            options.max_requests_per_connection = limit;
        }
        options.max_connection_duration = duration(
            p,
            "max_connection_duration",
            common.max_connection_duration.as_ref(),
        );
        options.max_stream_duration = duration(
            p,
            "max_stream_duration",
            common.max_stream_duration.as_ref(),
        );
    });
}

/// What istiod makes of `outlierDetection.outlierDetectionHttpErrorCodes`: exact `:status` matchers, any of which
/// counts.
fn error_statuses(p: &mut Problems, value: &MatchPredicate) -> Vec<u16> {
    match &value.rule {
        Some(Rule::OrMatch(set)) => p.field("or_match", |p| {
            let lists = p.each("rules", &set.rules, |p, rule| Some(error_statuses(p, rule)));
            lists.into_iter().flatten().collect()
        }),
        Some(Rule::HttpResponseHeadersMatch(headers)) => {
            p.field("http_response_headers_match", |p| {
                if headers.headers.len() != 1 {
                    p.error_at("headers", "only one :status matcher is supported yet");
                }
                p.each("headers", &headers.headers, exact_status)
            })
        }
        _ => {
            p.error(
                "only or_match and http_response_headers_match of exact :status are supported yet",
            );
            Vec::new()
        }
    }
}

fn exact_status(p: &mut Problems, value: &HeaderMatcher) -> Option<u16> {
    let text = match &value.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => match &matcher.match_pattern {
            Some(MatchPattern::Exact(text)) => Some(text),
            _ => None,
        },
        Some(HeaderMatchSpecifier::ExactMatch(text)) => Some(text),
        _ => None,
    };
    let status = text
        .filter(|_| value.name == ":status" && !value.invert_match)
        .and_then(|text| text.parse().ok());
    if status.is_none() {
        p.error("only exact :status is supported yet");
    }
    status
}
