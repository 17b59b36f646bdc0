//! `HttpConnectionManager`.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, uri::Scheme};
use mesh_core::model::{
    ClientCertDetail, CodecType, ConnectionManagerConfig, EscapedSlashes, ForwardClientCert,
    ForwardClientCertDetails as Mode, OriginalIpDetection, RouteSource, ServerHeader,
    StripHostPort, UnderscoresAction,
};
use mesh_proto::envoy::{
    config::core::v3::{
        ConfigSource, HttpProtocolOptions, TypedExtensionConfig,
        config_source::ConfigSourceSpecifier,
        http_protocol_options::HeadersWithUnderscoresAction as Underscores,
        scheme_header_transformation::Transformation,
    },
    extensions::{
        filters::network::http_connection_manager::v3::{
            self as proto,
            http_connection_manager::{
                CodecType as Codec, ForwardClientCertDetails,
                PathWithEscapedSlashesAction as Slashes, RouteSpecifier,
                ServerHeaderTransformation, StripPortMode,
            },
        },
        http::original_ip_detection::{custom_header::v3::CustomHeaderConfig, xff::v3::XffConfig},
    },
};

use super::{
    access_log::access_logs,
    any::{extension_name, unpack_checked},
    http_filter::http_filters,
    local_reply::local_reply_config,
    route::route_configuration,
    scalar::{cidr_range, duration, duration_or, enumeration, header_name, header_value},
};
use crate::problems::Problems;

/// The only request id extension: Envoy's default.
const UUID_REQUEST_ID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";

const XFF: &str = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig";
const CUSTOM_HEADER: &str =
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig";

/// `HttpConnectionManager`.
pub(super) fn http_connection_manager(
    p: &mut Problems,
    value: &proto::HttpConnectionManager,
) -> Option<ConnectionManagerConfig> {
    // Whatever is wrong, the rest is looked at too: with an error the placeholder is never used.
    let routes = route_source(p, value.route_specifier.as_ref())
        .unwrap_or_else(|| RouteSource::Rds("".into()));
    p.require_text("stat_prefix", &value.stat_prefix);
    let (filters, router) = http_filters(p, &value.http_filters);
    let enums = enums(p, value);
    refuse_foreign_extensions(p, value);

    let mut config = ConnectionManagerConfig::new(value.stat_prefix.as_str(), routes);
    if let Some(enums) = enums {
        (config.codec, config.server_header, config.escaped_slashes) = enums;
    }
    config.http_filters = filters;
    config.suppress_envoy_headers = router.suppress_envoy_headers;
    config.respect_expected_rq_timeout = router.respect_expected_rq_timeout;
    client_address(p, value, &mut config);
    config.generate_request_id = value.generate_request_id.unwrap_or(true);
    config.preserve_external_request_id = value.preserve_external_request_id;
    config.always_set_request_id_in_response = value.always_set_request_id_in_response;
    config.server_name = header_value(p, "server_name", &value.server_name)
        .unwrap_or(HeaderValue::from_static("envoy"));
    config.via = header_value(p, "via", &value.via);
    config.tracing = value.tracing.is_some();
    config.normalize_path = value.normalize_path.unwrap_or(false);
    config.merge_slashes = value.merge_slashes;
    let strips_any = value.strip_port_mode == Some(StripPortMode::StripAnyHostPort(true));
    if strips_any && value.strip_matching_host_port {
        p.error_at(
            "strip_any_host_port",
            "cannot be combined with strip_matching_host_port",
        );
    }
    let common = value.common_http_protocol_options.as_ref();
    if common.is_some_and(|common| common.max_response_headers_kb.is_some()) {
        p.field("common_http_protocol_options", |p| {
            p.error_at("max_response_headers_kb", "is for clusters only");
        });
    }
    config.strip_host_port = match value.strip_port_mode {
        Some(StripPortMode::StripAnyHostPort(true)) => StripHostPort::Any,
        _ if value.strip_matching_host_port => StripHostPort::Matching,
        _ => StripHostPort::No,
    };
    config.forward_client_cert = client_cert(p, value);
    config.strip_trailing_host_dot = value.strip_trailing_host_dot;
    config.scheme_to_overwrite = scheme_to_overwrite(p, value);
    config.local_reply = value.local_reply_config.as_ref().map(|local_reply| {
        let config = p.field("local_reply_config", |p| local_reply_config(p, local_reply));
        Box::new(config)
    });
    timeouts(p, value, &mut config);
    protocols(p, value, &mut config);
    Some(config)
}

fn scheme_to_overwrite(p: &mut Problems, value: &proto::HttpConnectionManager) -> Option<Scheme> {
    let transformation = value.scheme_header_transformation.as_ref()?;
    p.field("scheme_header_transformation", |p| {
        let Some(Transformation::SchemeToOverwrite(scheme)) = &transformation.transformation else {
            return None;
        };
        match scheme.as_str() {
            "http" => Some(Scheme::HTTP),
            "https" => Some(Scheme::HTTPS),
            other => {
                p.error_at(
                    "scheme_to_overwrite",
                    format!("must be http or https, found {other:?}"),
                );
                None
            }
        }
    })
}

fn route_source(p: &mut Problems, value: Option<&RouteSpecifier>) -> Option<RouteSource> {
    match value {
        Some(RouteSpecifier::Rds(rds)) => p.field("rds", |p| {
            p.field("config_source", |p| {
                must_be_ads(p, rds.config_source.as_ref())
            });
            let name = p.require_text("route_config_name", &rds.route_config_name)?;
            Some(RouteSource::Rds(name.into()))
        }),
        Some(RouteSpecifier::RouteConfig(config)) => {
            let config = p.field("route_config", |p| route_configuration(p, config))?;
            Some(RouteSource::Inline(Arc::new(config)))
        }
        // found by the field table
        Some(RouteSpecifier::ScopedRoutes(_)) => None,
        None => {
            p.error("must hold rds or route_config");
            None
        }
    }
}

/// A source that is the same stream: `ads`, or `self`.
pub(super) fn must_be_ads(p: &mut Problems, source: Option<&ConfigSource>) {
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {}
        Some(_) => p.error("only ads is supported"),
        None => p.error("must name a source; only ads is supported"),
    }
}

fn enums(
    p: &mut Problems,
    value: &proto::HttpConnectionManager,
) -> Option<(CodecType, ServerHeader, EscapedSlashes)> {
    let codec = match enumeration(p, "codec_type", value.codec_type)? {
        Codec::Auto => CodecType::Auto,
        Codec::Http1 => CodecType::Http1,
        Codec::Http2 => CodecType::Http2,
        Codec::Http3 => {
            p.error_at("codec_type", "HTTP3 is not supported yet");
            return None;
        }
    };
    let server = match enumeration(
        p,
        "server_header_transformation",
        value.server_header_transformation,
    )? {
        ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
        ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
        ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    };
    let slashes = match enumeration(
        p,
        "path_with_escaped_slashes_action",
        value.path_with_escaped_slashes_action,
    )? {
        Slashes::ImplementationSpecificDefault | Slashes::KeepUnchanged => {
            EscapedSlashes::KeepUnchanged
        }
        Slashes::RejectRequest => EscapedSlashes::RejectRequest,
        Slashes::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
        Slashes::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
    };
    Some((codec, server, slashes))
}

fn client_cert(p: &mut Problems, value: &proto::HttpConnectionManager) -> ForwardClientCert {
    let mode = enumeration(
        p,
        "forward_client_cert_details",
        value.forward_client_cert_details,
    );
    let mode = match mode.unwrap_or_default() {
        ForwardClientCertDetails::Sanitize => Mode::Sanitize,
        ForwardClientCertDetails::ForwardOnly => Mode::ForwardOnly,
        ForwardClientCertDetails::AppendForward => Mode::AppendForward,
        ForwardClientCertDetails::SanitizeSet => Mode::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => Mode::AlwaysForwardOnly,
    };
    let set = value.set_current_client_cert_details.as_ref();
    let details = set.map(|set| {
        [
            (set.cert, ClientCertDetail::Cert),
            (set.chain, ClientCertDetail::Chain),
            (set.subject.unwrap_or(false), ClientCertDetail::Subject),
            (set.uri, ClientCertDetail::Uri),
            (set.dns, ClientCertDetail::Dns),
        ]
    });
    let details = details.into_iter().flatten();
    ForwardClientCert {
        mode,
        details: details
            .filter_map(|(is_set, detail)| is_set.then_some(detail))
            .collect(),
    }
}

fn refuse_foreign_extensions(p: &mut Problems, value: &proto::HttpConnectionManager) {
    let request_id = value
        .request_id_extension
        .as_ref()
        .and_then(|extension| extension.typed_config.as_ref());
    if let Some(config) = request_id.filter(|config| extension_name(config) != UUID_REQUEST_ID) {
        let name = extension_name(config);
        p.error_at(
            "request_id_extension",
            format!("{name} is not supported; only {UUID_REQUEST_ID} is"),
        );
    }
}

fn client_address(
    p: &mut Problems,
    value: &proto::HttpConnectionManager,
    config: &mut ConnectionManagerConfig,
) {
    config.use_remote_address = value.use_remote_address.unwrap_or(false);
    config.skip_xff_append = value.skip_xff_append;
    config.xff_num_trusted_hops = value.xff_num_trusted_hops;
    config.original_ip_detection = p.each(
        "original_ip_detection_extensions",
        &value.original_ip_detection_extensions,
        original_ip_detection,
    );
    if !config.original_ip_detection.is_empty() {
        let others = [
            ("use_remote_address", config.use_remote_address),
            ("xff_num_trusted_hops", config.xff_num_trusted_hops > 0),
        ];
        for (other, is_set) in others {
            if is_set {
                p.error_at(
                    "original_ip_detection_extensions",
                    format!("may not be mixed with {other}"),
                );
            }
        }
    }
    if let Some(internal) = &value.internal_address_config {
        config.internal_address_ranges = p.field("internal_address_config", |p| {
            p.each("cidr_ranges", &internal.cidr_ranges, cidr_range)
        });
    }
}

/// An extension of `original_ip_detection_extensions`.
fn original_ip_detection(
    p: &mut Problems,
    extension: &TypedExtensionConfig,
) -> Option<OriginalIpDetection> {
    p.field("typed_config", |p| {
        let Some(any) = &extension.typed_config else {
            p.error("is missing");
            return None;
        };
        match extension_name(any).as_str() {
            XFF => {
                let config: XffConfig = unpack_checked(p, any)?;
                xff_detection(p, &config)
            }
            CUSTOM_HEADER => {
                let config: CustomHeaderConfig = unpack_checked(p, any)?;
                let name = p.require_text("header_name", &config.header_name)?;
                let name = p.field("header_name", |p| header_name(p, name))?;
                let reject = config.reject_with_status.map(|status| {
                    let code = u16::try_from(status.code).unwrap_or(0);
                    let error = StatusCode::from_u16(code)
                        .ok()
                        .filter(|s| s.as_u16() >= 400);
                    error.unwrap_or(StatusCode::FORBIDDEN)
                });
                Some(OriginalIpDetection::CustomHeader {
                    name,
                    trusted: config.allow_extension_to_set_address_as_trusted,
                    reject,
                })
            }
            other => {
                p.error(format!("{other} is not supported"));
                None
            }
        }
    })
}

fn xff_detection(p: &mut Problems, config: &XffConfig) -> Option<OriginalIpDetection> {
    let ranges = config.xff_trusted_cidrs.as_ref();
    if ranges.is_some() && config.xff_num_trusted_hops > 0 {
        p.error("xff_num_trusted_hops and xff_trusted_cidrs may not both be set");
        return None;
    }
    let trusted_ranges = ranges.map_or_else(Vec::new, |ranges| {
        p.field("xff_trusted_cidrs", |p| {
            p.each("cidrs", &ranges.cidrs, cidr_range)
        })
    });
    Some(OriginalIpDetection::Xff {
        trusted_hops: config.xff_num_trusted_hops,
        trusted_ranges,
        skip_append: config.skip_xff_append.unwrap_or(true),
    })
}

fn timeouts(
    p: &mut Problems,
    value: &proto::HttpConnectionManager,
    config: &mut ConnectionManagerConfig,
) {
    config.stream_idle_timeout = duration_or(
        p,
        "stream_idle_timeout",
        value.stream_idle_timeout.as_ref(),
        config.stream_idle_timeout,
    );
    config.delayed_close_timeout = duration_or(
        p,
        "delayed_close_timeout",
        value.delayed_close_timeout.as_ref(),
        config.delayed_close_timeout,
    );
    let asks = |duration: &prost_types::Duration| duration.seconds != 0 || duration.nanos != 0;
    if value.request_timeout.as_ref().is_some_and(asks) {
        p.error_at(
            "request_timeout",
            "is not supported yet; leave it out or set 0s",
        );
    }
    config.request_headers_timeout = duration_or(
        p,
        "request_headers_timeout",
        value.request_headers_timeout.as_ref(),
        Duration::ZERO,
    );
    let Some(common) = &value.common_http_protocol_options else {
        return;
    };
    p.field("common_http_protocol_options", |p| {
        config.headers_with_underscores = underscores(p, common);
        config.max_headers_count = max_headers_count(p, common);
        config.idle_timeout = duration_or(
            p,
            "idle_timeout",
            common.idle_timeout.as_ref(),
            config.idle_timeout,
        );
        config.max_connection_duration = duration(
            p,
            "max_connection_duration",
            common.max_connection_duration.as_ref(),
        );
        config.max_stream_duration = duration_or(
            p,
            "max_stream_duration",
            common.max_stream_duration.as_ref(),
            Duration::ZERO,
        );
        if common.max_requests_per_connection.unwrap_or(0) != 0 {
            p.field("max_requests_per_connection", |p| {
                p.warn("not supported yet for listeners; ignored")
            });
        }
    });
}

fn underscores(p: &mut Problems, options: &HttpProtocolOptions) -> UnderscoresAction {
    match enumeration(
        p,
        "headers_with_underscores_action",
        options.headers_with_underscores_action,
    ) {
        Some(Underscores::Allow) | None => UnderscoresAction::Allow,
        Some(Underscores::RejectRequest) => UnderscoresAction::RejectRequest,
        Some(Underscores::DropHeader) => UnderscoresAction::DropHeader,
    }
}

fn max_headers_count(p: &mut Problems, options: &HttpProtocolOptions) -> u32 {
    match options.max_headers_count {
        Some(0) => {
            p.error_at("max_headers_count", "must be at least 1");
            100
        }
        Some(count) => count,
        None => 100,
    }
}

/// Anything but ALLOW changes which requests are answered.
pub(super) fn must_allow_underscores(p: &mut Problems, options: &HttpProtocolOptions) {
    if options.headers_with_underscores_action != 0 {
        p.error_at(
            "headers_with_underscores_action",
            "only ALLOW is supported yet",
        );
    }
}

/// Refuses an upgrade type that occurs twice in `upgrade_configs`.
pub(super) fn must_be_unique(p: &mut Problems, upgrades: &[(Box<str>, bool)]) {
    for (at, (kind, _)) in upgrades.iter().enumerate() {
        if upgrades.iter().take(at).any(|(earlier, _)| earlier == kind) {
            p.error_at("upgrade_configs", format!("{kind:?} occurs twice"));
        }
    }
}

fn protocols(
    p: &mut Problems,
    value: &proto::HttpConnectionManager,
    config: &mut ConnectionManagerConfig,
) {
    if let Some(limit) = value.max_request_headers_kb {
        if !(1..=8192).contains(&limit) {
            p.error_at(
                "max_request_headers_kb",
                format!("{limit} is not from 1 to 8192"),
            );
        }
        config.max_request_headers_kb = limit;
    }
    let upgrades = p.each("upgrade_configs", &value.upgrade_configs, |p, upgrade| {
        let kind = p.require_text("upgrade_type", &upgrade.upgrade_type)?;
        Some((
            kind.to_ascii_lowercase().into(),
            upgrade.enabled.unwrap_or(true),
        ))
    });
    must_be_unique(p, &upgrades);
    config.upgrades = upgrades
        .into_iter()
        .filter(|(_, enabled)| *enabled)
        .map(|(kind, _)| kind)
        .collect();
    if let Some(http1) = &value.http_protocol_options {
        config.accept_http_10 = http1.accept_http_10;
        config.default_host_for_http_10 = p.field("http_protocol_options", |p| {
            header_value(
                p,
                "default_host_for_http_10",
                &http1.default_host_for_http_10,
            )
        });
        config.http1_trailers = http1.enable_trailers;
    }
    if let Some(http2) = &value.http2_protocol_options {
        config.max_concurrent_streams = http2.max_concurrent_streams;
        config.http2_allow_connect = http2.allow_connect;
    }
    config.proxy_100_continue = value.proxy_100_continue;
    config.access_logs = access_logs(p, &value.access_log);
}
