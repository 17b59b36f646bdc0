//! HTTP filters of a connection manager, and their per-route configuration.

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;
use mesh_core::{
    filter::{CorsPolicy, FaultAbort, FaultConfig, FilterKind, FilterOverride, HttpFilterConfig},
    model::FilterOverrides,
};
use mesh_proto::envoy::{
    config::route::v3::FilterConfig,
    extensions::filters::{
        common::fault::v3::fault_delay::FaultDelaySecifier,
        http::{
            cors::v3 as cors,
            fault::v3::{self as fault, fault_abort::ErrorType},
            grpc_stats::v3 as grpc_stats,
            router::v3::Router,
        },
        network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
    },
};
use prost_types::Any;

use super::{
    any::{extension_name, unpack_checked},
    extension::without_effect,
    matcher,
    scalar::{fraction, header_value, positive_duration, runtime_fraction},
};
use crate::problems::Problems;

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const GRPC_STATS: &str = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// What the router filter sets in its connection manager.
#[derive(Default)]
pub(super) struct RouterOptions {
    pub(super) suppress_envoy_headers: bool,
    pub(super) respect_expected_rq_timeout: bool,
}

/// `http_filters`: the router once, and last. Names may repeat, as in Envoy.
pub(super) fn http_filters(
    p: &mut Problems,
    list: &[HttpFilter],
) -> (Vec<HttpFilterConfig>, RouterOptions) {
    let mut options = RouterOptions::default();
    let filters = p.each("http_filters", list, |p, value| {
        http_filter(p, value, &mut options)
    });
    p.field("http_filters", |p| {
        let routers = filters
            .iter()
            .filter(|filter| matches!(filter.kind, FilterKind::Router))
            .count();
        let ends_with_router = filters
            .last()
            .is_some_and(|filter| matches!(filter.kind, FilterKind::Router));
        if p.is_ok() && (routers != 1 || !ends_with_router) {
            p.error("must end with the router filter, and hold it once");
        }
    });
    (filters, options)
}

fn http_filter(
    p: &mut Problems,
    value: &HttpFilter,
    options: &mut RouterOptions,
) -> Option<HttpFilterConfig> {
    let name = p.require_text("name", &value.name)?;
    let kind = match &value.config_type {
        Some(ConfigType::TypedConfig(config)) => {
            p.field("typed_config", |p| filter_kind(p, config, value, options))
        }
        // found by the field table
        Some(ConfigType::ConfigDiscovery(_)) => None,
        None => {
            p.require("typed_config", None::<()>);
            None
        }
    };
    let mut filter = HttpFilterConfig::new(name, kind?);
    filter.disabled = value.disabled;
    Some(filter)
}

fn filter_kind(
    p: &mut Problems,
    config: &Any,
    filter: &HttpFilter,
    options: &mut RouterOptions,
) -> Option<FilterKind> {
    let extension = extension_name(config);
    match extension.as_str() {
        ROUTER => {
            let router: Router = unpack_checked(p, config)?;
            options.suppress_envoy_headers = router.suppress_envoy_headers;
            options.respect_expected_rq_timeout = router.respect_expected_rq_timeout;
            Some(FilterKind::Router)
        }
        FAULT => {
            let config: fault::HttpFault = unpack_checked(p, config)?;
            fault_config(p, &config).map(|config| FilterKind::Fault(Arc::new(config)))
        }
        CORS => unpack_checked::<cors::Cors>(p, config).map(|_| FilterKind::Cors),
        GRPC_STATS => {
            unpack_checked::<grpc_stats::FilterConfig>(p, config).map(|_| FilterKind::GrpcStats)
        }
        other => match without_effect(other, &filter.name) {
            Some(what) => {
                p.warn(format!("{what} ({other}) is not supported yet; ignored"));
                Some(FilterKind::Ignored(config.type_url.as_str().into()))
            }
            None if filter.is_optional => {
                p.warn(format!(
                    "optional filter {other} is not supported yet; ignored"
                ));
                Some(FilterKind::Ignored(config.type_url.as_str().into()))
            }
            None => {
                p.error(format!("filter {other} is not supported yet"));
                None
            }
        },
    }
}

/// `typed_per_filter_config` of one level, by filter name.
pub(super) fn filter_overrides(p: &mut Problems, map: &HashMap<String, Any>) -> FilterOverrides {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(name, _)| name.as_str());
    p.field("typed_per_filter_config", |p| {
        let decoded = entries.into_iter().filter_map(|(name, config)| {
            let config = p.key(name, |p| filter_override(p, name, config, false))?;
            Some((name.as_str().into(), config))
        });
        decoded.collect()
    })
}

fn filter_override(
    p: &mut Problems,
    name: &str,
    config: &Any,
    optional: bool,
) -> Option<FilterOverride> {
    let extension = extension_name(config);
    match extension.as_str() {
        FAULT => {
            let config: fault::HttpFault = unpack_checked(p, config)?;
            fault_config(p, &config).map(|config| FilterOverride::Fault(Arc::new(config)))
        }
        CORS_POLICY => {
            let policy: cors::CorsPolicy = unpack_checked(p, config)?;
            cors_policy(p, &policy).map(|policy| FilterOverride::Cors(Arc::new(policy)))
        }
        FILTER_CONFIG => {
            let config: FilterConfig = unpack_checked(p, config)?;
            match &config.config {
                _ if config.disabled => Some(FilterOverride::Disabled),
                Some(inner) => p.field("config", |p| {
                    filter_override(p, name, inner, config.is_optional)
                }),
                None => None,
            }
        }
        other => {
            match without_effect(other, name) {
                Some(what) => p.warn(format!("{what} ({other}) is not supported yet; ignored")),
                None if optional => p.warn(format!(
                    "optional configuration {other} is not supported yet; ignored"
                )),
                None => p.error(format!("filter configuration {other} is not supported yet")),
            }
            None
        }
    }
}

fn fault_config(p: &mut Problems, value: &fault::HttpFault) -> Option<FaultConfig> {
    let mut config = FaultConfig::default();
    if let Some(delay) = &value.delay {
        p.field("delay", |p| {
            match &delay.fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(delay)) => {
                    config.delay = positive_duration(p, "fixed_delay", Some(delay));
                }
                Some(FaultDelaySecifier::HeaderDelay(_)) => config.header_delay = true,
                None => p.error("must hold fixed_delay or header_delay"),
            }
            config.delay_fraction = delay
                .percentage
                .as_ref()
                .and_then(|f| p.field("percentage", |p| fraction(p, f)));
        });
    }
    if let Some(abort) = &value.abort {
        p.field("abort", |p| {
            config.abort = fault_abort(p, abort.error_type.as_ref());
            config.abort_fraction = abort
                .percentage
                .as_ref()
                .and_then(|f| p.field("percentage", |p| fraction(p, f)));
        });
    }
    config.upstream_cluster = value.upstream_cluster.as_str().into();
    config.headers = matcher::headers(p, "headers", &value.headers);
    config.downstream_nodes = value
        .downstream_nodes
        .iter()
        .map(|node| node.as_str().into())
        .collect();
    config.max_active_faults = value.max_active_faults;
    Some(config)
}

fn fault_abort(p: &mut Problems, value: Option<&ErrorType>) -> Option<FaultAbort> {
    match value {
        Some(ErrorType::HttpStatus(status)) => {
            let known = u16::try_from(*status)
                .ok()
                .filter(|status| (200..600).contains(status));
            let Some(status) = known.and_then(|status| StatusCode::from_u16(status).ok()) else {
                p.error_at(
                    "http_status",
                    format!("{status} is not a status from 200 to 599"),
                );
                return None;
            };
            Some(FaultAbort::Http(status))
        }
        Some(ErrorType::GrpcStatus(status)) => Some(FaultAbort::Grpc(*status)),
        Some(ErrorType::HeaderAbort(_)) => Some(FaultAbort::Header),
        None => {
            p.error("must hold http_status, grpc_status or header_abort");
            None
        }
    }
}

fn cors_policy(p: &mut Problems, value: &cors::CorsPolicy) -> Option<CorsPolicy> {
    let mut policy = CorsPolicy::default();
    policy.allow_origins = p.each(
        "allow_origin_string_match",
        &value.allow_origin_string_match,
        matcher::string,
    );
    policy.allow_methods = header_value(p, "allow_methods", &value.allow_methods);
    policy.allow_headers = header_value(p, "allow_headers", &value.allow_headers);
    policy.expose_headers = header_value(p, "expose_headers", &value.expose_headers);
    policy.max_age = header_value(p, "max_age", &value.max_age);
    policy.allow_credentials = value.allow_credentials;
    policy.filter_enabled = value
        .filter_enabled
        .as_ref()
        .and_then(|f| p.field("filter_enabled", |p| runtime_fraction(p, f)));
    policy.forward_not_matching_preflights = value.forward_not_matching_preflights;
    Some(policy)
}
