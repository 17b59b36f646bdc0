//! The fields of a route and of a cluster that shape what happens, with their values.

use std::{fmt, time::Duration};

use http::HeaderValue;

use super::Policy;
use crate::{
    model::{
        BreakerThresholds, ClusterConfig, Forward, HeaderMutations, HeaderOperations, HostRewrite,
        OutlierDetection, PathRewrite, RetryPolicy, RoutingPriority,
    },
    route::{CompiledRoute, RouteIndex, RouteTable},
};

/// What a route asks for beside its cluster.
pub(super) fn of_route(table: &RouteTable, at: RouteIndex, route: &CompiledRoute) -> Vec<Policy> {
    let mut list = List::default();
    if let Some(forward) = route.forward() {
        list.forward(forward);
    }
    if let Some(policy) = route.retry_policy() {
        list.add("retry_policy", Retries(policy));
    }
    let host = table.virtual_host(at);
    let levels = [
        Some(&route.config().headers),
        host.map(|host| &host.headers),
        Some(&table.config().headers),
    ];
    for operations in levels.into_iter().flatten() {
        list.headers(operations);
    }
    let mut names: Vec<&str> = [
        Some(&route.config().filter_overrides),
        host.map(|host| &host.filter_overrides),
        Some(&table.config().filter_overrides),
    ]
    .into_iter()
    .flatten()
    .flatten()
    .map(|(name, _)| &**name)
    .collect();
    names.dedup();
    for name in names {
        list.add("typed_per_filter_config", name);
    }
    list.0
}

/// What a cluster asks for.
pub(super) fn of_cluster(config: &ClusterConfig) -> Vec<Policy> {
    let mut list = List::default();
    // Its name, without parameters.
    let policy = format!("{:?}", config.lb_policy);
    list.add("lb_policy", policy.split(' ').next().unwrap_or(&policy));
    list.duration("connect_timeout", config.connect_timeout);
    let default = BreakerThresholds::default();
    if config.breaker_default != default {
        list.add("circuit_breakers", Breakers(&config.breaker_default));
    }
    if config.breaker_high != default {
        list.add("circuit_breakers (HIGH)", Breakers(&config.breaker_high));
    }
    if let Some(outlier) = &config.outlier_detection {
        list.add("outlier_detection", Outlier(outlier));
    }
    if config.locality_weighted {
        list.add("locality_weighted_lb_config", "on");
    }
    list.0
}

#[derive(Default)]
struct List(Vec<Policy>);

impl List {
    fn add(&mut self, name: &'static str, value: impl fmt::Display) {
        let value = value.to_string();
        self.0.push(Policy { name, value });
    }

    fn duration(&mut self, name: &'static str, value: Duration) {
        self.add(name, Seconds(value));
    }

    fn forward(&mut self, forward: &Forward) {
        self.duration("timeout", forward.timeout);
        if let Some(timeout) = forward.idle_timeout {
            self.duration("idle_timeout", timeout);
        }
        let longest = forward
            .max_stream_duration
            .and_then(|m| m.max_stream_duration);
        if let Some(longest) = longest {
            self.duration("max_stream_duration", longest);
        }
        if forward.priority == RoutingPriority::High {
            self.add("priority", "HIGH");
        }
        match &forward.path_rewrite {
            Some(PathRewrite::Prefix(to)) => self.add("prefix_rewrite", to),
            Some(PathRewrite::Full(to)) => self.add("path_rewrite", to),
            Some(PathRewrite::Regex {
                pattern,
                substitution,
            }) => {
                let pattern = pattern.as_str();
                self.add("regex_rewrite", format_args!("{pattern} -> {substitution}"));
            }
            Some(PathRewrite::Format(_)) => self.add("path_rewrite", "a format"),
            None => {}
        }
        match &forward.host_rewrite {
            Some(HostRewrite::Literal(to)) => self.add("host_rewrite_literal", Value(to)),
            Some(HostRewrite::Auto) => self.add("auto_host_rewrite", "the endpoint's hostname"),
            Some(HostRewrite::Header(name)) => self.add("host_rewrite_header", name.as_str()),
            Some(HostRewrite::PathRegex {
                pattern,
                substitution,
            }) => {
                let pattern = pattern.as_str();
                self.add(
                    "host_rewrite_path_regex",
                    format_args!("{pattern} -> {substitution}"),
                );
            }
            Some(HostRewrite::Format(_)) => self.add("host_rewrite", "a format"),
            None => {}
        }
        if let Some(header) = &forward.weighted_header {
            self.add("weighted_clusters.header_name", header);
        }
    }

    fn headers(&mut self, operations: &HeaderOperations) {
        let mut mutations = |add, remove, mutations: &HeaderMutations| {
            for addition in &mutations.add {
                self.add(
                    add,
                    format_args!("{} ({:?})", addition.name, addition.action),
                );
            }
            for name in &mutations.remove {
                self.add(remove, name);
            }
        };
        mutations(
            "request_headers_to_add",
            "request_headers_to_remove",
            &operations.request,
        );
        mutations(
            "response_headers_to_add",
            "response_headers_to_remove",
            &operations.response,
        );
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_zero() {
            true => f.write_str("none"),
            false => write!(f, "{:?}", self.0),
        }
    }
}

struct Value<'a>(&'a HeaderValue);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

struct Retries<'a>(&'a RetryPolicy);

impl fmt::Display for Retries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.0;
        write!(f, "{} on {}", policy.num_retries, policy.retry_on)?;
        if !policy.retriable_status_codes.is_empty() {
            write!(f, " {:?}", policy.retriable_status_codes)?;
        }
        if !policy.per_try_timeout.is_zero() {
            write!(f, ", {:?} each", policy.per_try_timeout)?;
        }
        if policy.previous_hosts {
            f.write_str(", elsewhere")?;
        }
        write!(
            f,
            ", back-off {:?} to {:?}",
            policy.base_interval, policy.max_interval
        )
    }
}

struct Breakers<'a>(&'a BreakerThresholds);

impl fmt::Display for Breakers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = BreakerThresholds::default();
        let of = self.0;
        let limits = [
            (
                "max_connections",
                of.max_connections,
                default.max_connections,
            ),
            (
                "max_pending_requests",
                of.max_pending_requests,
                default.max_pending_requests,
            ),
            ("max_requests", of.max_requests, default.max_requests),
            ("max_retries", of.max_retries, default.max_retries),
        ];
        let mut limits = limits
            .into_iter()
            .filter(|(_, value, default)| value != default);
        if let Some((name, value, _)) = limits.next() {
            write!(f, "{name} {}", Limit(value))?;
        }
        for (name, value, _) in limits {
            write!(f, ", {name} {}", Limit(value))?;
        }
        match of.retry_budget {
            Some((percent, least)) => write!(f, " retry_budget {percent} %, at least {least}"),
            None => Ok(()),
        }
    }
}

struct Limit(u32);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u32::MAX => f.write_str("unlimited"),
            limit => write!(f, "{limit}"),
        }
    }
}

struct Outlier<'a>(&'a OutlierDetection);

impl fmt::Display for Outlier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.0;
        if of.enforcing_consecutive_5xx > 0 {
            write!(f, "{} times 5xx, ", of.consecutive_5xx)?;
        }
        if of.enforcing_consecutive_gateway_failure > 0 {
            write!(f, "{} times 502 to 504, ", of.consecutive_gateway_failure)?;
        }
        write!(
            f,
            "ejected {:?}, at most {} %",
            of.base_ejection_time, of.max_ejection_percent
        )
    }
}
