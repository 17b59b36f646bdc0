//! What routes do: `RouteAction`, `RedirectAction`, `DirectResponseAction`.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use mesh_core::{
    model::{
        ClusterSpecifier, DirectResponse, Forward, MaxStreamDuration, PathRewrite, Redirect,
        RouteAction, RoutingPriority, WeightedCluster, merged_criteria,
    },
    route::{HeaderFormat, PathTemplate},
};
use mesh_proto::envoy::config::{
    core::v3 as core,
    route::v3::{
        self as proto,
        redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        route_action::{ClusterNotFoundResponseCode as NotFound, ClusterSpecifier as Cluster},
        weighted_cluster::{RandomValueSpecifier, cluster_weight},
    },
};

use super::{
    hash_policy::hash_policies,
    header_operations::header_operations,
    http_connection_manager::must_be_unique,
    http_filter::filter_overrides,
    matcher,
    mirror::{internal_redirect_policy, mirror_policies},
    rate_limit,
    retry::{hedge_on_per_try_timeout, retry_policy},
    route_rewrite as rewrite,
    scalar::{duration, duration_or, enumeration, header_name, header_value},
    subset::metadata_match,
    substitution_format::substitution_format,
};
use crate::{data_source::body, problems::Problems};

/// `RouteAction`. `template`: what matched the path, if it is one.
pub(super) fn forward(
    p: &mut Problems,
    value: &proto::RouteAction,
    template: Option<&PathTemplate>,
) -> Option<RouteAction> {
    let cluster = cluster_specifier(p, value.cluster_specifier.as_ref());
    let path_rewrite = rewrite::path(p, value, template);
    let host_rewrite = rewrite::host(p, value.host_rewrite_specifier.as_ref());
    let not_found = enumeration(
        p,
        "cluster_not_found_response_code",
        value.cluster_not_found_response_code,
    )?;
    let priority = routing_priority(p, value.priority)?;
    let retry_policy = retry_policy(p, value.retry_policy.as_ref());

    // Whatever is wrong so far, the rest is looked at too: with an error the placeholder is never used.
    let mut forward = Forward::to(cluster.unwrap_or(ClusterSpecifier::Weighted(Vec::new())));
    forward.cluster_not_found_response_code = match not_found {
        NotFound::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        NotFound::NotFound => StatusCode::NOT_FOUND,
        NotFound::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if let Some(Cluster::WeightedClusters(weighted)) = &value.cluster_specifier {
        match &weighted.random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) if !name.is_empty() => {
                forward.weighted_header = p.field("weighted_clusters", |p| {
                    p.field("header_name", |p| header_name(p, name))
                });
            }
            Some(RandomValueSpecifier::UseHashPolicy(by_hash)) => {
                forward.weighted_by_hash = *by_hash;
            }
            _ => {}
        }
    }
    forward.path_rewrite = path_rewrite;
    forward.host_rewrite = host_rewrite;
    forward.append_x_forwarded_host = value.append_x_forwarded_host;
    forward.timeout = duration_or(
        p,
        "timeout",
        value.timeout.as_ref(),
        Duration::from_secs(15),
    );
    forward.idle_timeout = duration(p, "idle_timeout", value.idle_timeout.as_ref());
    forward.max_stream_duration = value.max_stream_duration.as_ref().map(|limits| {
        p.field("max_stream_duration", |p| MaxStreamDuration {
            max_stream_duration: duration(
                p,
                "max_stream_duration",
                limits.max_stream_duration.as_ref(),
            ),
            grpc_timeout_header_max: duration(
                p,
                "grpc_timeout_header_max",
                limits.grpc_timeout_header_max.as_ref(),
            ),
            grpc_timeout_header_offset: duration(
                p,
                "grpc_timeout_header_offset",
                limits.grpc_timeout_header_offset.as_ref(),
            ),
        })
    });
    forward.max_grpc_timeout = duration(p, "max_grpc_timeout", value.max_grpc_timeout.as_ref());
    forward.grpc_timeout_offset =
        duration(p, "grpc_timeout_offset", value.grpc_timeout_offset.as_ref());
    forward.hedge_on_per_try_timeout = hedge_on_per_try_timeout(p, value.hedge_policy.as_ref());
    forward.retry_policy = retry_policy.map(Arc::new);
    forward.priority = priority;
    forward.upgrades = p.each("upgrade_configs", &value.upgrade_configs, |p, upgrade| {
        let kind = p.require_text("upgrade_type", &upgrade.upgrade_type)?;
        Some((
            kind.to_ascii_lowercase().into(),
            upgrade.enabled.unwrap_or(true),
        ))
    });
    must_be_unique(p, &forward.upgrades);
    forward.metadata_match.route = metadata_match(value.metadata_match.as_ref());
    if let Some(Cluster::WeightedClusters(weighted)) = &value.cluster_specifier
        && weighted
            .clusters
            .iter()
            .any(|entry| entry.metadata_match.is_some())
    {
        let route = &forward.metadata_match.route;
        let merged = weighted
            .clusters
            .iter()
            .map(|entry| merged_criteria(route, &metadata_match(entry.metadata_match.as_ref())));
        forward.metadata_match.weighted = merged.collect();
    }
    forward.rate_limits = p.each("rate_limits", &value.rate_limits, rate_limit::of_route);
    forward.include_vh_rate_limits = value.include_vh_rate_limits.unwrap_or(false);
    forward.hash_policies = hash_policies(p, "hash_policy", &value.hash_policy);
    forward.mirrors = mirror_policies(p, &value.request_mirror_policies);
    forward.internal_redirects = value.internal_redirect_policy.as_ref().map(|policy| {
        p.field("internal_redirect_policy", |p| {
            internal_redirect_policy(p, policy)
        })
    });
    Some(RouteAction::Forward(Box::new(forward)))
}

/// `RoutingPriority`.
pub(super) fn routing_priority(p: &mut Problems, value: i32) -> Option<RoutingPriority> {
    Some(match enumeration(p, "priority", value)? {
        core::RoutingPriority::Default => RoutingPriority::Default,
        core::RoutingPriority::High => RoutingPriority::High,
    })
}

fn cluster_specifier(p: &mut Problems, value: Option<&Cluster>) -> Option<ClusterSpecifier> {
    match value {
        Some(Cluster::Cluster(name)) => {
            let name = p.require_text("cluster", name)?;
            Some(ClusterSpecifier::Cluster(name.into()))
        }
        Some(Cluster::ClusterHeader(name)) => p
            .field("cluster_header", |p| matcher::matched_header(p, name))
            .map(ClusterSpecifier::ClusterHeader),
        Some(Cluster::WeightedClusters(weighted)) => p.field("weighted_clusters", |p| {
            let clusters = p.each("clusters", &weighted.clusters, weighted_cluster);
            let sum: u64 = weighted
                .clusters
                .iter()
                .map(|c| u64::from(c.weight.unwrap_or(0)))
                .sum();
            if !(1..=u64::from(u32::MAX)).contains(&sum) {
                p.error_at(
                    "clusters",
                    format!(
                        "the sum of weights must be from 1 to {}, it is {sum}",
                        u32::MAX
                    ),
                );
            }
            Some(ClusterSpecifier::Weighted(clusters))
        }),
        // found by the field table
        Some(Cluster::ClusterSpecifierPlugin(_) | Cluster::InlineClusterSpecifierPlugin(_)) => None,
        None => {
            p.error("must hold cluster, weighted_clusters or cluster_header");
            None
        }
    }
}

fn weighted_cluster(
    p: &mut Problems,
    value: &proto::weighted_cluster::ClusterWeight,
) -> Option<WeightedCluster> {
    let cluster_header = match (value.name.is_empty(), value.cluster_header.is_empty()) {
        (false, true) => None,
        (true, false) => Some(p.field("cluster_header", |p| {
            matcher::matched_header(p, &value.cluster_header)
        })?),
        _ => {
            p.error("must hold either name or cluster_header");
            return None;
        }
    };
    let weight = p.require("weight", value.weight)?;
    let mut cluster = WeightedCluster::new(value.name.as_str().into(), weight);
    cluster.cluster_header = cluster_header;
    cluster.headers = header_operations(
        p,
        (
            &value.request_headers_to_add,
            &value.request_headers_to_remove,
        ),
        (
            &value.response_headers_to_add,
            &value.response_headers_to_remove,
        ),
    );
    if let Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host)) =
        &value.host_rewrite_specifier
    {
        cluster.host_rewrite_literal = header_value(p, "host_rewrite_literal", host);
    }
    cluster.filter_overrides = filter_overrides(p, &value.typed_per_filter_config);
    Some(cluster)
}

/// `RedirectAction`.
pub(super) fn redirect(
    p: &mut Problems,
    value: &proto::RedirectAction,
    template: Option<&PathTemplate>,
) -> Option<RouteAction> {
    let mut redirect = Redirect::default();
    redirect.scheme = match &value.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(https)) => https.then(|| "https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => {
            Some(scheme.as_str().into())
        }
        Some(SchemeRewriteSpecifier::SchemeRedirect(_)) | None => None,
    };
    redirect.host = (!value.host_redirect.is_empty()).then(|| value.host_redirect.as_str().into());
    if value.port_redirect != 0 {
        redirect.port = p.field("port_redirect", |p| {
            let port = value.port_redirect;
            p.check(u16::try_from(port).map_err(|_| format!("{port} is not a port")))
        });
    }
    redirect.path = match &value.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => {
            Some(PathRewrite::Full(path.as_str().into()))
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            if template.is_some() {
                p.error_at("prefix_rewrite", "cannot be used with path_match_policy");
            }
            Some(PathRewrite::Prefix(prefix.as_str().into()))
        }
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
            p.field("regex_rewrite", |p| rewrite::regex(p, rewrite))
        }
        Some(PathRewriteSpecifier::PathRewrite(format)) if !format.is_empty() => {
            p.field("path_rewrite", |p| {
                let format = p.check(HeaderFormat::parse(format.as_bytes()));
                format.map(PathRewrite::Format)
            })
        }
        Some(PathRewriteSpecifier::PathRedirect(_) | PathRewriteSpecifier::PathRewrite(_))
        | None => None,
    };
    redirect.response_code = match enumeration(p, "response_code", value.response_code)? {
        RedirectResponseCode::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
        RedirectResponseCode::Found => StatusCode::FOUND,
        RedirectResponseCode::SeeOther => StatusCode::SEE_OTHER,
        RedirectResponseCode::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
        RedirectResponseCode::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
    };
    redirect.strip_query = value.strip_query;
    Some(RouteAction::Redirect(Box::new(redirect)))
}

/// `DirectResponseAction`, with a body of at most `limit` bytes.
pub(super) fn direct_response(
    p: &mut Problems,
    value: &proto::DirectResponseAction,
    limit: u32,
) -> Option<RouteAction> {
    let status = match u16::try_from(value.status)
        .ok()
        .filter(|status| (200..600).contains(status))
    {
        Some(status) => p.check(StatusCode::from_u16(status)),
        None => {
            p.error_at(
                "status",
                format!("{} is not a status from 200 to 599", value.status),
            );
            None
        }
    };
    let source = value.body.as_ref();
    let body = source.and_then(|source| p.field("body", |p| body(p, source)));
    let body = body.unwrap_or_default();
    if body.len() > limit as usize {
        p.error_at(
            "body",
            format!(
                "response body size is {} bytes; maximum is {limit}",
                body.len()
            ),
        );
    }
    let body_format = value
        .body_format
        .as_ref()
        .and_then(|format| p.field("body_format", |p| substitution_format(p, format)));
    Some(RouteAction::DirectResponse(DirectResponse {
        status: status?,
        body,
        body_format: body_format.map(Box::new),
    }))
}
