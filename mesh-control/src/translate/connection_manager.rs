use hcm::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails, UpgradeConfig,
};
use mesh_proto::envoy::config::core::v3::Http1ProtocolOptions;
use mesh_proto::envoy::config::listener::v3 as listener;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::envoy::extensions::filters::http as filters;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use mesh_proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

use super::address::{ads, any, stat_prefix, zero};
use super::scope::Scope;
use super::tracing_tags;
use crate::model::PathNormalization;

/// Where a connection manager stands; it decides on headers and trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Outbound,
    Inbound { http2: bool },
    Gateway,
}

/// Where its routes come from.
pub(super) enum Routes {
    Rds(String),
    Inline(Box<RouteConfiguration>),
}

/// The filter `envoy.filters.network.http_connection_manager`.
pub(super) fn filter(
    scope: &Scope,
    place: Place,
    stat_name: &str,
    routes: Routes,
    grpc_web: bool,
) -> listener::Filter {
    named_filter(scope, place, stat_prefix(stat_name), routes, grpc_web)
}

/// The same with a name for its statistics that somebody chose.
pub(super) fn named_filter(
    scope: &Scope,
    place: Place,
    stat_prefix: String,
    routes: Routes,
    grpc_web: bool,
) -> listener::Filter {
    let manager = manager(scope, place, stat_prefix, routes, grpc_web);
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(&manager))),
    }
}

fn manager(
    scope: &Scope,
    place: Place,
    stat_prefix: String,
    routes: Routes,
    grpc_web: bool,
) -> hcm::HttpConnectionManager {
    let paths = scope.config.mesh.path_normalization;
    let mut manager = hcm::HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix,
        route_specifier: Some(match routes {
            Routes::Rds(name) => RouteSpecifier::Rds(hcm::Rds {
                config_source: Some(ads()),
                route_config_name: name,
            }),
            Routes::Inline(routes) => RouteSpecifier::RouteConfig(*routes),
        }),
        http_filters: http_filters(scope, place, grpc_web),
        tracing: Some(tracing_tags::tracing(&scope.node)),
        use_remote_address: Some(place == Place::Gateway),
        normalize_path: Some(paths != PathNormalization::None),
        merge_slashes: matches!(
            paths,
            PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
        ),
        path_with_escaped_slashes_action: match paths {
            PathNormalization::DecodeAndMergeSlashes => {
                PathWithEscapedSlashesAction::UnescapeAndForward
            }
            _ => PathWithEscapedSlashesAction::KeepUnchanged,
        }
        .into(),
        proxy_100_continue: true,
        stream_idle_timeout: Some(zero()),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
        request_id_extension: Some(hcm::RequestIdExtension {
            typed_config: Some(any(&UuidRequestIdConfig {
                use_request_id_for_trace_sampling: Some(true),
                ..Default::default()
            })),
        }),
        ..Default::default()
    };
    let details = |cert| SetCurrentClientCertDetails {
        subject: Some(true),
        cert,
        chain: false,
        dns: true,
        uri: true,
        ..Default::default()
    };
    match place {
        Place::Outbound => {}
        Place::Inbound { http2 } => {
            manager.server_name = "istio-envoy".to_owned();
            manager.forward_client_cert_details = ForwardClientCertDetails::AppendForward.into();
            manager.set_current_client_cert_details = Some(details(false));
            manager.http2_protocol_options = http2.then(Default::default);
        }
        Place::Gateway => {
            manager.server_name = "istio-envoy".to_owned();
            manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet.into();
            manager.set_current_client_cert_details = Some(details(true));
            manager.http_protocol_options = Some(Http1ProtocolOptions::default());
        }
    }
    manager
}

fn http_filters(scope: &Scope, place: Place, grpc_web: bool) -> Vec<hcm::HttpFilter> {
    let grpc_stats = filters::grpc_stats::v3::FilterConfig {
        emit_filter_state: true,
        per_method_stat_specifier: Some(
            filters::grpc_stats::v3::filter_config::PerMethodStatSpecifier::StatsForAllMethods(
                false,
            ),
        ),
        ..Default::default()
    };
    let mut all = Vec::new();
    if place != Place::Outbound {
        all.extend(scope.jwt_authn().cloned());
        all.extend(scope.authorization().http.iter().cloned());
    }
    if grpc_web {
        all.push(http_filter(
            "envoy.filters.http.grpc_web",
            any(&filters::grpc_web::v3::GrpcWeb::default()),
        ));
    }
    all.extend([
        http_filter("envoy.filters.http.grpc_stats", any(&grpc_stats)),
        http_filter(
            "envoy.filters.http.fault",
            any(&filters::fault::v3::HttpFault::default()),
        ),
        http_filter(
            "envoy.filters.http.cors",
            any(&filters::cors::v3::Cors::default()),
        ),
        http_filter(
            "envoy.filters.http.router",
            any(&filters::router::v3::Router::default()),
        ),
    ]);
    all
}

fn http_filter(name: &str, config: prost_types::Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}
