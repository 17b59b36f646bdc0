//! HTTP filters of a connection manager, and their per-route configuration. One file per filter.

mod buffer;
mod cors;
mod csrf;
mod fault;
pub(super) mod header_mutation;
mod jwt_authn;
mod local_rate_limit;
mod rbac;

pub(super) use rbac::rules as rbac_rules;

use std::{collections::HashMap, sync::Arc};

use mesh_core::{
    filter::{
        FilterKind, FilterOverride, HeaderMutationConfig, HeaderMutationOverride, HttpFilterConfig,
    },
    model::FilterOverrides,
};
use mesh_proto::envoy::{
    config::route::v3::FilterConfig,
    extensions::filters::{
        http::{
            buffer::v3::{Buffer, BufferPerRoute},
            cors::v3::{Cors, CorsPolicy},
            csrf::v3::CsrfPolicy,
            fault::v3::HttpFault,
            grpc_stats::v3 as grpc_stats,
            header_mutation::v3::{HeaderMutation, HeaderMutationPerRoute},
            jwt_authn::v3::{JwtAuthentication, PerRouteConfig},
            local_ratelimit::v3::LocalRateLimit,
            rbac::v3::{Rbac, RbacPerRoute},
            router::v3::Router,
        },
        network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
    },
};
use prost_types::Any;

use super::{
    any::{extension_name, unpack_checked},
    extension::without_effect,
};
use crate::problems::Problems;

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const BUFFER: &str = "envoy.extensions.filters.http.buffer.v3.Buffer";
const BUFFER_PER_ROUTE: &str = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";
const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const CSRF: &str = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy";
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const GRPC_STATS: &str = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
const HEADER_MUTATION: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
const HEADER_MUTATION_PER_ROUTE: &str =
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";
const JWT_AUTHN: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const JWT_AUTHN_PER_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
const LOCAL_RATE_LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
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
        BUFFER => {
            let config: Buffer = unpack_checked(p, config)?;
            buffer::buffer_config(p, &config).map(FilterKind::Buffer)
        }
        CORS => unpack_checked::<Cors>(p, config).map(|_| FilterKind::Cors),
        CSRF => {
            let policy: CsrfPolicy = unpack_checked(p, config)?;
            csrf::csrf_policy(p, &policy).map(|policy| FilterKind::Csrf(Arc::new(policy)))
        }
        FAULT => {
            let config: HttpFault = unpack_checked(p, config)?;
            fault::fault_config(p, &config).map(|config| FilterKind::Fault(Arc::new(config)))
        }
        HEADER_MUTATION => {
            let config: HeaderMutation = unpack_checked(p, config)?;
            let mutations = header_mutation::mutations(p, config.mutations.as_ref());
            let wins = config.most_specific_header_mutations_wins;
            let config = HeaderMutationConfig::new(mutations, wins);
            Some(FilterKind::HeaderMutation(Arc::new(config)))
        }
        JWT_AUTHN => {
            let config: JwtAuthentication = unpack_checked(p, config)?;
            jwt_authn::jwt_authn(p, &config).map(FilterKind::JwtAuthn)
        }
        LOCAL_RATE_LIMIT => {
            let config: LocalRateLimit = unpack_checked(p, config)?;
            let limit = local_rate_limit::local_rate_limit(p, &config, false)?;
            Some(FilterKind::LocalRateLimit(Arc::new(limit)))
        }
        RBAC => {
            let config: Rbac = unpack_checked(p, config)?;
            Some(FilterKind::Rbac(rbac::rbac_config(p, &config)))
        }
        GRPC_STATS => {
            p.warn("gRPC statistics are not supported yet; ignored");
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
        BUFFER_PER_ROUTE => {
            let config: BufferPerRoute = unpack_checked(p, config)?;
            buffer::buffer_override(p, &config).map(FilterOverride::Buffer)
        }
        CORS_POLICY => {
            let policy: CorsPolicy = unpack_checked(p, config)?;
            cors::cors_policy(p, &policy).map(|policy| FilterOverride::Cors(Arc::new(policy)))
        }
        CSRF => {
            let policy: CsrfPolicy = unpack_checked(p, config)?;
            csrf::csrf_policy(p, &policy).map(|policy| FilterOverride::Csrf(Arc::new(policy)))
        }
        FAULT => {
            let config: HttpFault = unpack_checked(p, config)?;
            fault::fault_config(p, &config).map(|config| FilterOverride::Fault(Arc::new(config)))
        }
        HEADER_MUTATION_PER_ROUTE => {
            let config: HeaderMutationPerRoute = unpack_checked(p, config)?;
            let mutations = header_mutation::mutations(p, config.mutations.as_ref());
            let level = HeaderMutationOverride::new(mutations);
            Some(FilterOverride::HeaderMutation(level))
        }
        JWT_AUTHN_PER_ROUTE => {
            let config: PerRouteConfig = unpack_checked(p, config)?;
            jwt_authn::jwt_authn_override(p, &config).map(FilterOverride::JwtAuthn)
        }
        LOCAL_RATE_LIMIT => {
            let config: LocalRateLimit = unpack_checked(p, config)?;
            let limit = local_rate_limit::local_rate_limit(p, &config, true)?;
            Some(FilterOverride::LocalRateLimit(Arc::new(limit)))
        }
        RBAC_PER_ROUTE => {
            let config: RbacPerRoute = unpack_checked(p, config)?;
            let rbac = config.rbac.unwrap_or_default();
            let rbac = p.field("rbac", |p| rbac::rbac_config(p, &rbac));
            Some(FilterOverride::Rbac(rbac))
        }
        FILTER_CONFIG => {
            let config: FilterConfig = unpack_checked(p, config)?;
            match &config.config {
                _ if config.disabled => Some(FilterOverride::Disabled),
                Some(inner) if inner.type_url.is_empty() => Some(FilterOverride::Enabled),
                Some(inner) => p.field("config", |p| {
                    filter_override(p, name, inner, config.is_optional)
                }),
                None => {
                    p.require("config", None::<()>);
                    None
                }
            }
        }
        // Configuration that is not known turns the filter on all the same (Envoy `PerFilterConfigs`).
        other => match without_effect(other, name) {
            Some(what) => {
                p.warn(format!("{what} ({other}) is not supported yet; ignored"));
                Some(FilterOverride::Enabled)
            }
            None if optional => {
                p.warn(format!(
                    "optional configuration {other} is not supported yet; ignored"
                ));
                Some(FilterOverride::Enabled)
            }
            None => {
                p.error(format!("filter configuration {other} is not supported yet"));
                None
            }
        },
    }
}
